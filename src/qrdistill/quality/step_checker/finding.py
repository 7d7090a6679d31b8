"""What a check of one statement found, and whether the text asserts the statement at all."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOT_ASSERTED_BEFORE = re.compile(
    r"(?i)\b(?:whether|if|neither|nor|unless|suppose|assum(?:e|ing)|pretend|would|mistaken(?:ly)?|wrong(?:ly)?|one might)\b"
)
_NOT_ASSERTED_AFTER = re.compile(
    r"(?i)^\s*(?:\?|,? (?:which|but that|but this|and that) (?:is|would be) (?:wrong|false|incorrect|not))"
)

_CLAUSE = 120
"""So far back a clause is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement that could be re-computed. `quote` is its text, `reason` says what is right where it is false."""

    quote: str
    is_true: bool
    reason: str = ""


def is_asserted(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is said to be so, not asked, supposed or rejected in the same clause.

    >>> text = "Whether 1900 is a leap year does not matter."
    >>> is_asserted(text, 8, 27), is_asserted(text, 0, 7)
    (False, True)
    """
    reach = max(0, start - _CLAUSE)
    clause = max(reach - 1, *(text.rfind(mark, reach, start) for mark in (".", "\n", ";", ":", "!"))) + 1
    return not _NOT_ASSERTED_BEFORE.search(text[clause:start]) and not _NOT_ASSERTED_AFTER.match(text[end : end + 40])
