"""Expressions on either side of a relation: finding them among the tokens, and evaluating them exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from qrdistill.quality.step_checker.tokens import Token

MAX_TOKENS = 64
"""Longest side that is read."""
MAX_DIGITS = 40

_CALLS = frozenset({"twice", "double", "triple", "thrice", "half", "sqrt", "root", "log", "f"})
"""Words that change the number after them."""
_PARTS = frozenset({"half", "third", "quarter", "fourth", "fifth", "tenth", "percent"})
_COUNTERS = frozenset(
    {"step", "idea", "option", "case", "part", "line", "reading", "candidate", "method", "way", "approach", "day"}
)
_MIXED = ("hour", "minute", "second", "day", "week", "month", "year", "foot", "feet", "inch", "yard", "pound", "ounce", "meter")


@dataclass(frozen=True, slots=True)
class Side:
    """An expression: its tokens as text, its value, and what is needed to compare it."""

    source: str
    value: Fraction
    num_operators: int
    decimals: int
    start: int
    end: int


def left_side(tokens: Sequence[Token], relation: int) -> Side | None:
    """The longest expression that ends right before a relation; None where it is cut off or part of something else.

    Units after numbers are skipped ("24 legs + 8 legs").
    """
    run: list[Token] = []
    position = relation - 1
    while position >= 0 and len(run) < MAX_TOKENS:
        token = tokens[position]
        if token.kind in ("number", "op", "bracket"):
            run.insert(0, token)
        elif not (_is_unit(tokens, position) and (not run or run[0].kind == "op")):
            break
        position -= 1
    before = tokens[position] if position >= 0 else None
    run = _without_counter(run, before)
    for first in range(len(run)):
        side = _side(run[first:])
        if side is not None:
            if first > 0:
                return None if run[first - 1].kind == "op" else side
            return None if _belongs_to(run[0], before, tokens, position) else side
    return None


def right_side(tokens: Sequence[Token], start: int) -> tuple[Side | None, int]:
    """The longest expression that begins right after a relation (None where it goes on as something else), and its end."""
    run: list[Token] = []
    position = start
    while position < len(tokens) and len(run) < MAX_TOKENS:
        token = tokens[position]
        if token.kind in ("number", "op", "bracket"):
            if run and run[-1].kind == "number" and token.kind == "number":
                break
            run.append(token)
        elif not (run and run[-1].kind == "number" and _unit_goes_on(tokens, position)):
            break
        position += 1
    for last in range(len(run), 0, -1):
        side = _side(run[:last])
        if side is not None:
            is_cut = last < len(run) and run[last].kind == "op" and not _is_dash(run[last:])
            is_open = is_cut or (last == len(run) and _is_continued(tokens, position))
            return (None if is_open else side), position
    return None, position


def _side(run: Sequence[Token]) -> Side | None:
    if not run or run[-1].kind == "op":
        return None
    value = evaluate(run)
    if value is None:
        return None
    last = run[-1]
    decimals = len(last.text.partition(".")[2]) if len(run) <= 2 else 0
    num_operators = sum(token.kind == "op" for token in run) - (run[0].kind == "op")
    return Side(" ".join(token.text for token in run), value, num_operators, decimals, run[0].start, last.end)


def _without_counter(run: list[Token], before: Token | None) -> list[Token]:
    """Drop the number of a step: "Step 2 - 5 + 3 = 8", "Option 1 (3 + 4 = 7)"."""
    if before is None or before.text.lower() not in _COUNTERS or len(run) < 3 or run[0].kind != "number":
        return run
    return run[2:] if run[1].text in ("-", "(") else run


def _belongs_to(first: Token, before: Token | None, tokens: Sequence[Token], position: int) -> bool:
    """Whether what stands before an expression makes it a part of something else."""
    if before is None:
        return False
    word = before.text.lower()
    if first.kind == "op":
        is_sign = tokens[position + 2].start == first.end and before.end < first.start
        return not (is_sign and len(word) > 1) and before.text not in ("\n", ":", ",", ";", ".", "=", "=w")
    if before.kind == "word" and (word in _CALLS or (first.text == "(" and before.end == first.start)):
        return True
    if word == "of" and position > 0:
        part = tokens[position - 1]
        return part.text.endswith("%") or part.text.lower().rstrip("s") in _PARTS or part.kind == "number"
    return before.text in ("√", "∛", "|", "_", "{", "[", "\\")


def _is_unit(tokens: Sequence[Token], position: int) -> bool:
    """Whether a word is a unit after a number."""
    word, before = tokens[position], tokens[position - 1] if position else None
    if word.kind != "word" or before is None or before.end == word.start or len(word.text) == 1:
        return False
    return before.kind == "number" or (before.kind == "word" and position >= 2 and tokens[position - 2].kind == "number")


def _unit_goes_on(tokens: Sequence[Token], position: int) -> bool:
    """Whether after one or two unit words the expression goes on with an operator or another relation."""
    for ahead in range(position, min(position + 2, len(tokens) - 1)):
        word, following = tokens[ahead], tokens[ahead + 1]
        if word.kind != "word" or len(word.text) == 1 or word.text == "remainder":
            return False
        if following.kind == "op" or following.text in ("=", "<", ">", "<=", ">="):
            return True
    return False


def _is_dash(rest: Sequence[Token]) -> bool:
    """A dash after an expression that leads to nothing ("= 24 - so ...")."""
    return all(token.kind == "op" and token.text == "-" for token in rest)


def _is_continued(tokens: Sequence[Token], position: int) -> bool:
    """Whether the words after a number make it another quantity: "24x", "5 million", "1 hour 30 minutes"."""
    if position >= len(tokens):
        return False
    number, following = tokens[position - 1], tokens[position]
    if following.kind == "stop":
        return following.text not in ".,;:!?)]}\n\"'`*" and following.text not in ("→", "✓", "✗", "—")
    if following.kind != "word":
        return False
    after = [token for token in tokens[position + 1 : position + 4] if token.text != "and"]
    is_mixed = len(after) > 1 and after[0].kind == "number" and after[1].text.lower().startswith(_MIXED)
    return following.start == number.end or (is_mixed and following.text.lower().startswith(_MIXED))


def evaluate(run: Sequence[Token]) -> Fraction | None:
    """The exact value of an expression, or None when the tokens are none (or too large)."""
    parser = _Parser(run)
    try:
        value = parser.sum()
    except (ValueError, ZeroDivisionError, IndexError):
        return None
    return value if parser.is_at_end else None


class _Parser:
    def __init__(self, run: Sequence[Token]) -> None:
        self._run = run
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._run)

    def sum(self) -> Fraction:
        value = self._product()
        while self._peek() in ("+", "-"):
            value = value + self._product() if self._take().text == "+" else value - self._product()
        return value

    def _product(self) -> Fraction:
        value = self._power()
        while self._peek() in ("*", "/", "//", "%"):
            operator, other = self._take().text, self._power()
            if operator == "*":
                value *= other
            elif operator == "/":
                value /= other
            else:
                value = Fraction(value // other) if operator == "//" else value % other
        return value

    def _power(self) -> Fraction:
        if self._peek() in ("-", "+"):
            return -self._power() if self._take().text == "-" else self._power()
        value = self._atom()
        if self._peek() != "**":
            return value
        self._take()
        exponent = self._power()
        if exponent.denominator != 1 or abs(exponent) > 64 or abs(value) > 10**6:
            raise ValueError("a power that is too large")
        return Fraction(value ** int(exponent))

    def _atom(self) -> Fraction:
        token = self._take()
        if token.text == "(":
            value = self.sum()
            if self._take().text != ")":
                raise ValueError("brackets do not match")
            return value
        if token.kind != "number" or len(token.text) > MAX_DIGITS:
            raise ValueError("not a number")
        return Fraction(token.text)

    def _peek(self) -> str:
        return "" if self.is_at_end else self._run[self._at].text

    def _take(self) -> Token:
        self._at += 1
        return self._run[self._at - 1]
