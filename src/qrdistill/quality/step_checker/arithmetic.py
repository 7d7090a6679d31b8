"""Every arithmetic statement of a text, re-computed exactly.

A statement is two or more expressions joined by a relation: "3 * 8 = 24", "12 + 30 - 4 = 38", "5 x 4 is 20 legs",
"18 = 2 * 9 = 18", "24 + 8 > 30", "17 = 3 * 5 + 2", "17 / 5 = 3 remainder 2". Around each relation the longest expression is
taken on either side; a side with a variable, a percentage, a date or anything else that is not plain arithmetic is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from qrdistill.quality.step_checker.expressions import Side, left_side, right_side
from qrdistill.quality.step_checker.finding import Finding, is_asserted
from qrdistill.quality.step_checker.tokens import LIKE_WORDS, Token, plain_marks, tokenise

_COMPARED = frozenset({"more", "less", "fewer", "greater", "times", "than", "of", "or", "to"})
"""Words after "is NUMBER" that make it no equation ("5 + 2 is 3 more than 4")."""
_CLOSE = Fraction(1, 20)
"""Relative error that "≈" allows."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """Sides joined by relations; None where a side is not arithmetic. `remainder` is set for "= 3 remainder 1"."""

    sides: tuple[Side | None, ...]
    relations: tuple[str, ...]
    remainder: int | None


def check_arithmetic(text: str) -> list[Finding]:
    """Re-compute every arithmetic statement of a text.

    >>> [(finding.quote, finding.is_true) for finding in check_arithmetic("3 spiders: 3 * 8 = 24, then 24 + 8 = 33.")]
    [('3 * 8 = 24', True), ('24 + 8 = 33', False)]
    """
    return [finding for chain in _chains(tokenise(plain_marks(text))) for finding in _check_chain(chain, text)]


def _chains(tokens: Sequence[Token]) -> Iterator[_Chain]:
    position = 0
    while position < len(tokens):
        if tokens[position].kind != "relation":
            position += 1
            continue
        sides, relations = [left_side(tokens, position)], []
        while position < len(tokens) and tokens[position].kind == "relation":
            relations.append(tokens[position].text)
            side, position = right_side(tokens, position + 1)
            if relations[-1].endswith(LIKE_WORDS) and position < len(tokens) and tokens[position].text.lower() in _COMPARED:
                side = None
            sides.append(side)
        yield _Chain(tuple(sides), tuple(relations), _remainder(tokens, position))


def _remainder(tokens: Sequence[Token], position: int) -> int | None:
    """The number in "remainder 1", "with a remainder of 1", "R 1" right after an expression."""
    for ahead in range(position, min(position + 4, len(tokens))):
        token = tokens[ahead]
        if token.kind == "word" and token.text[0] == "R" and token.text[1:].isdigit():
            return int(token.text[1:])
        if token.text in ("remainder", "R"):
            following = [after for after in tokens[ahead + 1 : ahead + 3] if after.text != "of"]
            is_number = bool(following) and following[0].kind == "number" and following[0].text.isdigit()
            return int(following[0].text) if is_number else None
        if token.kind != "word" and token.text != ",":
            return None
    return None


def _check_chain(chain: _Chain, text: str) -> Iterator[Finding]:
    sides = chain.sides
    for left, relation, right in zip(sides, chain.relations, sides[1:], strict=False):
        if left is None or right is None or not (left.num_operators or right.num_operators or len(sides) > 2):
            continue
        if relation.endswith(LIKE_WORDS) and not (left.num_operators and not right.num_operators):
            continue
        if not is_asserted(text, left.start, right.end):
            continue
        is_true = _holds(left, relation.removesuffix(LIKE_WORDS), right, chain.remainder)
        reason = "" if is_true else f"{left.source} is {_shown(left.value)}"
        yield Finding(quote=text[left.start : right.end], is_true=is_true, reason=reason)


def _holds(left: Side, relation: str, right: Side, remainder: int | None) -> bool:
    a, b = left.value, right.value
    if relation == "=" and remainder is not None and left.num_operators == 1 and " / " in left.source:
        dividend, divisor = (Fraction(part) for part in left.source.split(" / "))
        return divisor * b + remainder == dividend and 0 <= remainder < abs(divisor)
    if relation in ("=", "~"):
        decimals = max(left.decimals, right.decimals)
        if a == b or (decimals and abs(a - b) < Fraction(1, 10**decimals)):
            return True
        return relation == "~" and abs(a - b) <= _CLOSE * abs(a)
    return {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b, "!=": a != b}[relation]


def _shown(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):.6g}"
