"""Verdicts: does the final answer stated in a response equal the gold answer?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qrdistill.tasks.answers import extract
from qrdistill.tasks.compare.quantity import equal, parse_quantity
from qrdistill.tasks.extract.statements import Refusal
from qrdistill.types import AnswerKind, Verdict

GRADER_VERSION = "1"
"""Changes whenever any rule of extraction or comparison changes; saved with every verdict."""

Choices = Sequence[tuple[str, str]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """A verdict with the text it rests on. `start`/`end` is the character span that was read (-1 when nothing was)."""

    verdict: Verdict
    extracted: str = ""
    start: int = -1
    end: int = -1
    reason: str = ""
    is_strict: bool = False
    """True when the answer was explicitly stated in the asked-for form, False when lenient rules were needed."""


def grade_response(kind: AnswerKind, gold: str, choices: Choices, response: str) -> Grade:
    """Compare the final answer stated in `response` with `gold`."""
    found = extract(kind, choices, response)
    if found is None:
        return Grade(verdict="unparsed", reason="no final answer was stated")
    if isinstance(found, Refusal):
        return Grade(verdict="unparsed", start=found.start, end=found.end, reason=found.reason)
    return Grade(
        verdict="match" if _equal(kind, gold, found.value) else "differ",
        extracted=found.value,
        start=found.start,
        end=found.end,
        reason="compared",
        is_strict=found.is_strict,
    )


def _equal(kind: AnswerKind, gold: str, value: str) -> bool:
    if kind in ("number", "math"):
        first, second = parse_quantity(gold), parse_quantity(value)
        if first and second:
            return equal(first, second)
    return gold.strip().casefold() == value.strip().casefold()


def grade(*, kind: AnswerKind, gold: str, choices: Choices, response: str) -> Verdict:
    """The verdict alone: "match", "differ", "unparsed" or "timeout"."""
    return grade_response(kind, gold, choices, response).verdict
