"""A gated pattern finds exactly what the bare one finds: its words are in every match, none is lost at the end of a line."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

from qrdistill.tasks import extract
from qrdistill.tasks.extract.gated import TAIL, Gated
from qrdistill.tasks.extract.option_verdicts import _NAMED_LAST, _NAMED_WORDS, _TURNED, _of_labels
from tasks.adversarial import attacks
from tasks.corpus.forms import mentioned, stated
from tasks.corpus.generate import generated
from tasks.corpus.rows import KINDS, hand_written

LABELS = ("A", "B", "C", "D", "E")
GATED = {
    f"{module}.{name}{f'[{kind}]' if kind else ''}": gated
    for module in (found.name for found in pkgutil.iter_modules(extract.__path__))
    for name, value in vars(importlib.import_module(f"{extract.__name__}.{module}")).items()
    for kind, gated in (value.items() if isinstance(value, dict) else [("", value)])
    if isinstance(gated, Gated)
} | {
    "option_verdicts._NAMED_LAST": _of_labels(_NAMED_LAST, _NAMED_WORDS, LABELS),
    "option_verdicts._TURNED": _of_labels(_TURNED, ("not", "isn't"), LABELS),
}

SEARCHED = {"cues._NOT_ASSERTED", "cues._UNSURE"}
"""Patterns for what stands just before a place."""


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Every response of the corpus, drawn ones, and hostile ones."""
    rows = [row.response for kind in KINDS for row in hand_written(kind)]
    rows += [row.response for row in (*stated(), *mentioned(), *generated(seed=0, per_kind=100))]
    hostile = [attack.response[:2_000] for attack in attacks(400)]
    return [*rows, *hostile, "\n".join(rows[:300])]


@pytest.mark.parametrize("name", GATED)
def test_a_gated_pattern_finds_what_the_bare_one_finds(name: str, texts: list[str]) -> None:
    gated = GATED[name]
    num_found = 0
    for text in texts:
        if name in SEARCHED:
            for before in (text[max(0, at - 90) : at] for at in range(5, len(text), 41)):
                bare = gated.pattern.search(before)
                once = gated.search(before)
                assert (once and once.span()) == (bare and bare.span()), before
                num_found += bare is not None
        else:
            spans = [found.span() for found in gated.pattern.finditer(text)]
            assert [found.span() for found in gated.finditer(text, 0, len(text))] == spans, text
            num_found += len(spans)
    assert num_found > 0, "a pattern that is never found proves nothing"


def test_words_that_are_missing_are_noticed() -> None:
    """The control: with a word left out, something is lost."""
    gated = Gated(("one",), r"one|two")
    text = "one and two\ntwo"
    assert [found.group() for found in gated.finditer(text, 0, len(text))] == ["one", "two"]
    assert len(re.findall(gated.pattern, text)) == 3


def test_bounds_lines_and_long_lower_cases() -> None:
    gated = Gated(("answer",), r"answer\s*(\w+)")
    text = "no\nthe answer\n\nred and Answer blue\nanswer green"
    assert [found.group(1) for found in gated.finditer(text, 0, len(text))] == ["red", "blue", "green"]
    assert [found.group(1) for found in gated.finditer(text, 20, len(text) - 1)] == ["blue", "gree"]
    assert [found.group(1) for found in gated.finditer("\u0130 ANSWER x", 0, 10)] == ["x"], (
        "a capital whose lower case is two letters"
    )
    assert [found.span() for found in gated.finditer("answer" + "\n" * (TAIL + 5) + "x", 0, 200)] == [], "bounded"
