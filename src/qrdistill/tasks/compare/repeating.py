r"""Decimals that repeat without end: ``0.1\overline{6}``, "0.1666...", "0.(6)"."""

from __future__ import annotations

import re
from fractions import Fraction

_MARKED = re.compile(
    r"(?P<whole>\d{0,30})\.(?P<fixed>\d{0,30})[ ]?(?:\\(?:overline|bar|dot)[ ]?\{[ ]?(?P<line>\d{1,30})[ ]?\}"
    r"|\((?P<paren>\d{1,30})\))"
)
_DOTTED = re.compile(r"(?P<whole>\d{0,30})\.(?P<digits>\d{3,60})[ ]?(?:\.{2,3}|\u2026|\\[lc]?dots(?![a-z]))")


def repeating_at(text: str, start: int) -> tuple[Fraction, int] | None:
    """(value, end) of the repeating decimal written at `start`, or None.

    Before dots the period must be written out twice (a single digit three times), so "3.14159..." is none.

    >>> repeating_at("0.1666...", 0)
    (Fraction(1, 6), 9)
    """
    marked = _MARKED.match(text, start)
    if marked:
        return _value(marked.group("whole"), marked.group("fixed"), marked.group("line") or marked.group("paren")), marked.end()
    dotted = _DOTTED.match(text, start)
    if dotted is None:
        return None
    digits = dotted.group("digits")
    for size in range(1, len(digits) // 2 + 1):
        period, times = digits[-size:], 3 if size == 1 else 2
        if digits.endswith(period * times):
            return _value(dotted.group("whole"), digits[: len(digits) - size], period), dotted.end()
    return None


def _value(whole: str, fixed: str, period: str) -> Fraction:
    places = 10 ** len(fixed)
    return (
        Fraction(int(whole or "0"))
        + Fraction(int(fixed or "0"), places)
        + Fraction(int(period), places * (10 ** len(period) - 1))
    )
