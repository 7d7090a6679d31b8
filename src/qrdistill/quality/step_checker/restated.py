"""What a path repeats of its question: options beside their labels, and how many animals there are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qrdistill.quality.step_checker.finding import Finding, is_asserted
from qrdistill.tasks.facts import LEGS, plural
from qrdistill.types import Question

_ANIMAL = "|".join(sorted((name for animal in LEGS for name in (plural(animal), animal)), key=len, reverse=True))
_ASKED_COUNT = re.compile(rf"\b(\d+) ({_ANIMAL})\b", re.IGNORECASE)
_TOLD_COUNT = re.compile(rf"(?:^|[.;,:(\n]\s?|\b[Tt]he )(\d+) ({_ANIMAL})(?=:| have\b| has\b| give| make)", re.IGNORECASE)
_MARK = r"(?:option|choice|letter)"
_BETWEEN = r"(?:\)| |,|\(|\"|'|\bis\b|\bmatches\b|\bwhich\b|\bthat\b|\blisted as\b|\bcorresponds to\b){0,6}"


def check_restated(question: Question, text: str) -> list[Finding]:
    """Check every restatement of the question's own data."""
    return [*_counts(question, text), *(_options(question, text) if question.choices else ())]


def _counts(question: Question, text: str) -> Iterator[Finding]:
    asked: dict[str, set[int]] = {}
    for count, animal in _ASKED_COUNT.findall(question.text):
        asked.setdefault(_singular(animal), set()).add(int(count))
    for match in _TOLD_COUNT.finditer(text):
        counts = asked.get(_singular(match[2]), set())
        if len(counts) == 1:
            is_true = int(match[1]) in counts
            reason = "" if is_true else f"the question says {next(iter(counts))} {match[2]}"
            yield Finding(quote=f"{match[1]} {match[2]}", is_true=is_true, reason=reason)


def _singular(name: str) -> str:
    lowered = name.lower()
    return next((animal for animal in LEGS if lowered in (animal, plural(animal))), lowered)


def _options(question: Question, text: str) -> Iterator[Finding]:
    labels = "|".join(re.escape(label) for label, _ in question.choices)
    texts = "|".join(re.escape(choice) for choice in sorted({choice for _, choice in question.choices}, key=len, reverse=True))
    patterns = (
        rf"(?<![\w/])(?P<text>{texts}){_BETWEEN}\b{_MARK} \(?(?P<label>{labels})\b\)?",
        rf"\b{_MARK} \(?(?P<label>{labels})\b\)?(?:,|:| is| =|\(| \()? ?[\"']?(?P<text>{texts})(?![\w/])",
    )
    for pattern in patterns:
        for match in re.finditer(pattern, text, re.IGNORECASE):
            named = {choice.casefold() for label, choice in question.choices if label.casefold() == match["label"].casefold()}
            if is_asserted(text, *match.span()):
                is_true = match["text"].casefold() in named
                reason = "" if is_true else f"option {match['label']} is {sorted(named)[0]}"
                yield Finding(quote=match.group(), is_true=is_true, reason=reason)
