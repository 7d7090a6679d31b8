"""Cutting a text into numbers, operators, relations, words and stops."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

TokenKind = Literal["number", "op", "bracket", "relation", "word", "stop"]
LIKE_WORDS = "w"
"""Mark of a relation that was written as a word ("is"); such a one is an equation only where its sides look like one."""

_OPERATORS = {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "^": "**"}
_OPERATOR_WORDS = {"plus": "+", "minus": "-", "times": "*", "mod": "%", "modulo": "%", "x": "*"}
_PHRASES = {"multiplied by": "*", "divided by": "/"}
_RELATIONS = {"==": "=", "≈": "~", "≤": "<=", "≥": ">=", "≠": "!="}
_RELATION_WORDS = ("is", "are", "equals", "gives", "makes", "leaves", "is equal to", "equal to")
_BLOCKING_WORDS = frozenset(
    {"squared", "cubed", "tens", "dozen", "hundred", "thousand", "million", "billion", "percent", "factorial"}
)
_LATEX = {"\\times": "×", "\\cdot": "·", "\\div": "÷", "\\leq": "≤", "\\geq": "≥", "\\neq": "≠", "\\approx": "≈"}
_BOLD = re.compile(r"(?<![\w)])(?<![\w)] )\*\*|\*\*(?! ?[\w(-])")
_TOKEN = re.compile(
    r"(?P<opaque>\d{1,4}[/-]\d{1,2}[/-]\d{2,4}|\d{1,2}:\d{2}(?::\d{2})?|\d+(?:st|nd|rd|th)\b|\d+(?:\.\d+)?%|\.\.\.)"
    r"|(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d+(?:\.\d+)?)"
    r"|(?P<relation>==|<=|>=|!=|[=≈<>≤≥≠])"
    r"|(?P<op>\*\*|//|[-+*×·⋅/÷^−–%])"
    r"|(?P<bracket>[()])"
    r"|(?P<phrase>(?i:multiplied by|divided by|is equal to|equal to)\b)"
    r"|(?P<word>[^\W\d_](?:[\w'’]|-(?=[^\W\d_]))*)"
    r"|(?P<space>[ \t]+|\$)"
    r"|(?P<other>.|\n)"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text: its kind, its normalised text and its span."""

    kind: TokenKind
    text: str
    start: int
    end: int


def plain_marks(text: str) -> str:
    """The text with LaTeX operators as single characters and without the asterisks of bold print; its length stays."""
    text = _BOLD.sub("  ", text)
    for command, character in _LATEX.items():
        text = text.replace(command, character.ljust(len(command)))
    return text


def tokenise(text: str) -> list[Token]:
    """Cut a text into tokens; list bullets, dollar signs and white space are dropped.

    >>> [token.text for token in tokenise("5 x 4 is 20")]
    ['5', '*', '4', '=w', '20']
    """
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        group, piece = match.lastgroup or "other", match.group()
        if group == "space" or (group == "op" and _is_bullet(text, match.start())):
            continue
        if group == "op" and piece == "-" and text[match.end() : match.end() + 1] == ">":
            group = "other"  # an arrow
        kind, piece = _classify(group, piece, tokens, text, match.end())
        tokens.append(Token(kind, piece, match.start(), match.end()))
    return tokens


def _classify(group: str, piece: str, before: list[Token], text: str, end: int) -> tuple[TokenKind, str]:
    lowered = piece.lower()
    if group == "number":
        return "number", piece.replace(",", "")
    if group == "op":
        return "op", _OPERATORS.get(piece, piece)
    if group == "relation":
        return "relation", _RELATIONS.get(piece, piece)
    if lowered in _PHRASES:
        return "op", _PHRASES[lowered]
    if lowered in _RELATION_WORDS:
        return "relation", f"={LIKE_WORDS}"
    if group == "word":
        if lowered in _OPERATOR_WORDS and _is_between_numbers(before, text, end):
            return "op", _OPERATOR_WORDS[lowered]
        return ("stop" if lowered in _BLOCKING_WORDS else "word"), piece
    return ("bracket" if group == "bracket" else "stop"), piece


def _is_bullet(text: str, start: int) -> bool:
    line_start = text.rfind("\n", 0, start) + 1
    return text[start] in "-*+–" and not text[line_start:start].strip() and text[start + 1 : start + 2] in (" ", "\t")


def _is_between_numbers(before: list[Token], text: str, end: int) -> bool:
    """An "x" (or "times") is an operator only between two numbers or brackets; otherwise it is a variable or a word."""
    after = text[end : end + 8].lstrip(" $")
    return bool(before) and (before[-1].kind == "number" or before[-1].text == ")") and after[:1] in tuple("0123456789(-")
