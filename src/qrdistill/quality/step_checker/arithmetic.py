"""Every arithmetic statement of a text, re-computed exactly.

A statement is two or more expressions joined by a relation: "3 * 8 = 24", "12 + 30 - 4 = 38", "5 x 4 is 20 legs",
"18 = 2 * 9 = 18", "24 + 8 > 30", "17 = 3 * 5 + 2". The text is cut into tokens; around each relation the longest run of tokens
that is an expression is taken on either side. A side with a variable or a word in it is not arithmetic and is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from qrdistill.quality.step_checker.finding import Finding, is_asserted

_OPERATORS = {"+": "+", "-": "-", "−": "-", "–": "-", "*": "*", "×": "*", "·": "*", "⋅": "*", "/": "/", "÷": "/", "^": "**"}
_OPERATOR_WORDS = {"plus": "+", "minus": "-", "times": "*", "mod": "%", "modulo": "%", "x": "*"}
_RELATIONS = {
    "=": "=",
    "==": "=",
    "≈": "~",
    "<": "<",
    ">": ">",
    "<=": "<=",
    ">=": ">=",
    "≤": "<=",
    "≥": ">=",
    "!=": "!=",
    "≠": "!=",
}
_RELATION_WORDS = {"is": "=", "are": "=", "equals": "=", "gives": "=", "makes": "=", "leaves": "="}
_TOKEN = re.compile(
    r"(?P<opaque>\d{1,4}[/-]\d{1,2}[/-]\d{2,4}|\d{1,2}:\d{2}(?::\d{2})?|\d+(?:st|nd|rd|th)\b|\d+%)"
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d+(?:\.\d+)?)"
    r"|(?P<relation>==|<=|>=|!=|[=≈<>≤≥≠])"
    r"|(?P<double>\*\*|//)"
    r"|(?P<operator>[-+*×·⋅/÷^−–%])"
    r"|(?P<bracket>[()])"
    r"|(?P<phrase>(?i:multiplied by|divided by|is equal to|equal to|remainder|rest)\b)"
    r"|(?P<word>[^\W\d_](?:[\w'’]|-(?=[^\W\d_]))*)"
    r"|(?P<space>[ \t]+|\$)"
    r"|(?P<other>.|\n)"
)
_PHRASES = {"multiplied by": "*", "divided by": "/"}
_MAX_SIDE = 64


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text: its kind (number, op, relation, bracket, word, stop), normalised text and span."""

    kind: str
    text: str
    start: int
    end: int


def check_arithmetic(text: str) -> list[Finding]:
    """Re-compute every arithmetic statement of a text.

    >>> [(finding.quote, finding.is_true) for finding in check_arithmetic("3 spiders: 3 * 8 = 24, then 24 + 8 = 33.")]
    [('3 * 8 = 24', True), ('24 + 8 = 33', False)]
    """
    return [finding for chain in _chains(tokenise(text)) for finding in _check_chain(chain, text)]


def tokenise(text: str) -> list[Token]:
    """Cut a text into tokens; list bullets and white space are dropped."""
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind, piece = match.lastgroup or "other", match.group()
        if kind == "space" or (kind == "operator" and _is_bullet(text, match.start())):
            continue
        kind, piece = _classify(kind, piece, tokens, text, match.end())
        tokens.append(Token(kind, piece, match.start(), match.end()))
    return tokens


def _classify(kind: str, piece: str, before: list[Token], text: str, end: int) -> tuple[str, str]:
    lowered = piece.lower()
    if kind == "number":
        return "number", piece.replace(",", "")
    if kind == "double":
        return "op", piece
    if kind == "operator":
        return "op", _OPERATORS.get(piece, piece)
    if kind == "relation":
        return "relation", _RELATIONS[piece]
    if kind == "phrase":
        return (
            ("op", _PHRASES[lowered]) if lowered in _PHRASES else ("relation", "=") if "equal" in lowered else ("word", lowered)
        )
    if kind == "word" and lowered in _OPERATOR_WORDS and _is_between_numbers(before, text, end):
        return "op", _OPERATOR_WORDS[lowered]
    if kind == "word" and lowered in _RELATION_WORDS:
        return "relation", f"{_RELATION_WORDS[lowered]}w"
    return ("bracket" if kind == "bracket" else "word" if kind == "word" else "stop"), piece


def _is_bullet(text: str, start: int) -> bool:
    line_start = text.rfind("\n", 0, start) + 1
    return text[start] in "-*+–" and not text[line_start:start].strip() and text[start + 1 : start + 2] in (" ", "\t")


def _is_between_numbers(before: list[Token], text: str, end: int) -> bool:
    """An "x" (or "times") is an operator only between two numbers or brackets; otherwise it is a variable or a word."""
    after = text[end:].lstrip(" $")
    return bool(before) and (before[-1].kind == "number" or before[-1].text == ")") and after[:1] in tuple("0123456789(-$")


@dataclass(frozen=True, slots=True)
class _Side:
    source: str
    value: Fraction
    num_operators: int
    decimals: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Chain:
    """Sides joined by relations; None where a side is not arithmetic. `remainder` is set for "= 3 remainder 1"."""

    sides: tuple[_Side | None, ...]
    relations: tuple[str, ...]
    remainder: int | None
    end: int


def _chains(tokens: list[Token]) -> Iterator[_Chain]:
    position = 0
    while position < len(tokens):
        if tokens[position].kind != "relation":
            position += 1
            continue
        sides, relations = [_left_side(tokens, position)], []
        remainder, end = None, tokens[position].end
        while position < len(tokens) and tokens[position].kind == "relation":
            relations.append(tokens[position].text)
            side, position, remainder = _right_side(tokens, position + 1)
            sides.append(side)
            end = tokens[position - 1].end
        yield _Chain(tuple(sides), tuple(relations), remainder, end)


def _left_side(tokens: list[Token], relation: int) -> _Side | None:
    """The longest expression that ends right before a relation; units after its numbers are skipped."""
    run: list[Token] = []
    position = relation - 1
    while position >= 0 and len(run) < _MAX_SIDE:
        token = tokens[position]
        if token.kind in ("number", "op", "bracket"):
            run.insert(0, token)
        elif not (token.kind == "word" and _is_unit(tokens, position) and (not run or run[0].kind == "op")):
            break
        position -= 1
    before = tokens[position] if position >= 0 else None
    for first in range(len(run)):
        side = _side(run[first:])
        if side is not None:
            follows_word = before is not None and before.kind == "word" and run[0].kind == "op"
            is_whole = first == 0 and not (follows_word and not _is_sign(tokens, position + 1))
            is_cut = first > 0 and run[first - 1].kind == "op"
            return side if (is_whole or first > 0) and not is_cut else None
    return None


def _right_side(tokens: list[Token], start: int) -> tuple[_Side | None, int, int | None]:
    """The longest expression that begins right after a relation, where reading goes on, and a remainder after it."""
    run: list[Token] = []
    position = start
    while position < len(tokens) and len(run) < _MAX_SIDE:
        token = tokens[position]
        if token.kind in ("number", "op", "bracket"):
            if run and run[-1].kind == "number" and token.kind == "number":
                break
            run.append(token)
        elif not (token.kind == "word" and run and run[-1].kind == "number" and _unit_goes_on(tokens, position)):
            break
        position += 1
    following = tokens[position] if position < len(tokens) else None
    remainder = _remainder(tokens, position)
    end = position
    for last in range(len(run), 0, -1):
        side = _side(run[:last])
        if side is not None:
            is_cut = last < len(run) and run[last].kind == "op" and not _is_dangling(run[last:])
            touches_word = (
                last == len(run) and following is not None and following.kind == "word" and _is_glued(run[-1], following)
            )
            is_open = is_cut or touches_word or (last == len(run) and run[-1].kind == "op")
            return (None if is_open else side), max(end, start + 1 if start < len(tokens) else start), remainder
    return None, max(end, start), remainder


def _is_dangling(rest: list[Token]) -> bool:
    """A dash or bracket after an expression that leads to nothing ("= 24 - so ...")."""
    return all(token.kind == "op" and token.text == "-" for token in rest)


def _is_sign(tokens: list[Token], position: int) -> bool:
    """Whether an operator is the sign of a number ("We get -8 / 2"), not a subtraction ("total - 8")."""
    sign, number, before = tokens[position], tokens[position + 1], tokens[position - 1]
    return sign.end == number.start and before.end < sign.start


def _is_glued(number: Token, word: Token) -> bool:
    return word.start == number.end


def _is_unit(tokens: list[Token], position: int) -> bool:
    """Whether a word is a unit after a number ("24 legs + 8 legs")."""
    before = tokens[position - 1] if position else None
    word = tokens[position]
    if before is None or before.end == word.start or len(word.text) == 1:
        return False
    return before.kind == "number" or (before.kind == "word" and position >= 2 and tokens[position - 2].kind == "number")


def _unit_goes_on(tokens: list[Token], position: int) -> bool:
    """Whether after one or two unit words the expression goes on with an operator or another relation."""
    for ahead in range(position, min(position + 2, len(tokens))):
        if tokens[ahead].kind != "word" or len(tokens[ahead].text) == 1 or tokens[ahead].text in ("remainder", "rest"):
            return False
        following = tokens[ahead + 1] if ahead + 1 < len(tokens) else None
        if following is not None and (
            following.kind == "op" or (following.kind == "relation" and not following.text.endswith("w"))
        ):
            return True
    return False


def _remainder(tokens: list[Token], position: int) -> int | None:
    """The number in "remainder 1", "with a remainder of 1", "R 1" right after an expression."""
    for ahead in range(position, min(position + 4, len(tokens))):
        token = tokens[ahead]
        if token.kind != "word" and token.text != ",":
            return None
        if token.text in ("remainder", "rest", "R"):
            following = [after for after in tokens[ahead + 1 : ahead + 3] if after.text != "of"]
            return int(float(following[0].text)) if following and following[0].kind == "number" else None
    return None


def _side(run: list[Token]) -> _Side | None:
    """The run of tokens as an expression, or None."""
    if not run or run[-1].kind == "op":
        return None
    parsed = _Parser(run).parse()
    if parsed is None:
        return None
    last = run[-1]
    decimals = len(last.text.partition(".")[2]) if len(run) <= 2 and last.kind == "number" else 0
    operators = sum(token.kind == "op" for token in run) - (run[0].kind == "op")
    return _Side(" ".join(token.text for token in run), parsed, operators, decimals, run[0].start, last.end)


class _Parser:
    """Exact evaluation of tokens by precedence; None when they are no expression, or too large."""

    def __init__(self, run: list[Token]) -> None:
        self._run = run
        self._at = 0

    def parse(self) -> Fraction | None:
        try:
            value = self._sum()
        except (ValueError, ZeroDivisionError, IndexError):
            return None
        return value if self._at == len(self._run) else None

    def _peek(self) -> str:
        return self._run[self._at].text if self._at < len(self._run) else ""

    def _take(self) -> Token:
        self._at += 1
        return self._run[self._at - 1]

    def _sum(self) -> Fraction:
        value = self._product()
        while self._peek() in ("+", "-"):
            value = value + self._product() if self._take().text == "+" else value - self._product()
        return value

    def _product(self) -> Fraction:
        value = self._power()
        while self._peek() in ("*", "/", "//", "%"):
            operator = self._take().text
            other = self._power()
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
        if self._peek() in ("**", "^"):
            self._take()
            exponent = self._power()
            if exponent.denominator != 1 or abs(exponent) > 64 or abs(value) > 10**6:
                raise ValueError("power out of bounds")
            value = value ** int(exponent)
        return value

    def _atom(self) -> Fraction:
        token = self._take()
        if token.text == "(":
            value = self._sum()
            if self._take().text != ")":
                raise ValueError("unbalanced brackets")
            return value
        if token.kind != "number" or len(token.text) > 40:
            raise ValueError("not a number")
        return Fraction(token.text)


def _check_chain(chain: _Chain, text: str) -> Iterator[Finding]:
    sides = chain.sides
    for left, relation, right in zip(sides, chain.relations, sides[1:], strict=False):
        if left is None or right is None or not (left.num_operators or right.num_operators or len(sides) > 2):
            continue
        if relation.endswith("w") and not (left.num_operators and not right.num_operators):
            continue
        if not is_asserted(text, left.start, right.end):
            continue
        is_true = _holds(left, relation.removesuffix("w"), right, chain.remainder)
        quote = text[left.start : right.end]
        yield Finding(quote=quote, is_true=is_true, reason="" if is_true else f"{left.source} is {_shown(left.value)}")


def _holds(left: _Side, relation: str, right: _Side, remainder: int | None) -> bool:
    a, b = left.value, right.value
    if relation == "=" and remainder is not None and "/" in left.source:
        dividend, _, divisor = left.source.rpartition(" / ")
        try:
            return Fraction(divisor) * b + remainder == Fraction(dividend) and 0 <= remainder < abs(Fraction(divisor))
        except (ValueError, ZeroDivisionError):
            return True
    if relation in ("=", "~"):
        decimals = max(left.decimals, right.decimals)
        slack = Fraction(1, 10**decimals) if decimals and a != b else Fraction(0)
        return abs(a - b) < slack if slack else a == b or (relation == "~" and abs(a - b) * 20 <= abs(a))
    return {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b, "!=": a != b}[relation]


def _shown(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):.6g}"
