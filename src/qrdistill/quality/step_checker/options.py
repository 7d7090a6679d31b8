"""Restated options: "Friday is option C" must agree with the question's own list."""

from __future__ import annotations

import re
from collections.abc import Iterator

from qrdistill.quality.step_checker.finding import Finding
from qrdistill.types import Question


def check_options(question: Question, text: str) -> list[Finding]:
    """Check every place where an option's text stands right beside a label."""
    return list(_findings(question, text)) if question.choices else []


def _findings(question: Question, text: str) -> Iterator[Finding]:
    labels = "|".join(re.escape(label) for label, _ in question.choices)
    texts = "|".join(re.escape(choice) for choice in sorted({choice for _, choice in question.choices}, key=len, reverse=True))
    mark = r"(?:option|choice|answer choice|letter)"
    patterns = (
        rf"(?<![\w/])(?P<text>{texts})(?:\)| |,|\(|\"|'| is| matches| which is| that is| listed as| corresponds to)* "
        rf"?\(?{mark} \(?(?P<label>{labels})\b\)?",
        rf"\b{mark} \(?(?P<label>{labels})\b\)?(?:,|:| is| =|\(| \()? ?[\"']?(?P<text>{texts})(?![\w/])",
    )
    for pattern in patterns:
        for match in re.finditer(pattern, text, re.IGNORECASE):
            named = {choice.casefold() for label, choice in question.choices if label == match["label"].upper()}
            if named:
                is_true = match["text"].casefold() in named
                reason = "" if is_true else f"option {match['label']} is {next(iter(named))}"
                yield Finding(quote=match.group(), is_true=is_true, reason=reason)
