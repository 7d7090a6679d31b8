"""What stands around a number and decides whether it is the value of its clause.

=====================================================  =======================================
"8, because 8 + 2 = 10"                                8; the equation explains it
"9 * 2, which is 18"                                   18; the result of the calculation
"12 eggs left after giving away 4"                     12; a total and where it comes from
"18 squared", "18 + x", "18 or more", "18 short of"    none; a part of a calculation, a bound
=====================================================  =======================================
"""

from __future__ import annotations

import re

_NUMBER = r"[$]?\d\w*+(?:[.,]\d+)*+[%)$*]*+(?:[ ](?!(?:is|are|as|for|with|so|and|but)\b)[A-Za-z-]+){0,3}?"
_REASON = r"[,;]?[ ](?:because|since|as|given|where|whose|so[ ]that)\b"
_REMARK = (
    r"[,;]?[ ](?:giving|which(?![ ](?:is[ ]|equals[ ])?=))\b|,[ ](?:for|with|and[ ]with)\b"
    r"|[;:][ ]|[ ][\u2014\u2013-]+[ ](?=[A-Za-z]{3})"
)
_EXPLAINED = re.compile(rf"[^=\d\n]*{_NUMBER}(?P<reason>{_REASON})[^=\n]*=")
_CHECKED = re.compile(rf"[^=\w\n]*{_NUMBER}(?P<reason>{_REASON}|{_REMARK})[^=\n]*=")
_ARROW = re.compile(rf"[^=\w\n]*{_NUMBER}(?P<reason>[ ]?(?:=>|->|\u2192|\u21d2))")
_CALCULATION = re.compile(
    r"(?:[$(]?\d[\d.,]*%?[ ]?(?:[-+*/x\u00d7\u00f7^]|times|plus|minus|divided[ ]by|multiplied[ ]by|of)[ ]?[$(]?\d[^.=;\n]{0,40}?"
    r"|(?![$(]?\d)(?:the|a)[ ](?:sum|total|product|difference|quotient|ratio|number)[ ]of[ ][^.=;\n]{1,60}?)"
    r"(?:,?[ ]which[ ](?:is|equals|makes|gives|comes[ ]to)|,[ ](?:i\.?e\.?|that[ ]is|or|so),?)[ ]"
    r"(?=[$]?\d[\d.,]*%?(?:[ ][A-Za-z]+){0,3}[\s.]*$)",
    re.IGNORECASE,
)
_TOTAL = re.compile(
    r"(?:[ ][A-Za-z-]+){0,4}?[ ](?:left|remaining|in[ ]total|in[ ]all|altogether)"
    r"(?:(?:,?[ ](?:after|because|since)|[ ]\()[^;]*|,[ ]\d+[ ](?:[a-z]+[ ])?(?:in|on|for|from|per|each)\b[^;]*)"
)
_OPERAND = re.compile(
    r"[$)*]*[ ]?(?:[+*/^\u00d7\u00b7][ ]?[a-z]\b|-[ ]?[b-hj-z](?=[\s.,;)$]*$)"
    r"|\b(?:squared|cubed|doubled|tripled|halved|factorial)\b"
    r"|(?:mod|modulo|minus|divided[ ]by|multiplied[ ]by|raised[ ]to|choose|(?:less|more|fewer|greater)[ ]than"
    r"|short[ ]of|subtracted[ ]from|taken[ ]from|added[ ]to|over|into|remainder)[ ][$(]?\d)"
)
_OR_MORE = re.compile(
    r"[$)*%]*(?:[ ](?!or\b|and\b)[A-Za-z]+){0,2}[ ](?:or|and)[ ]"
    r"(?:more|less|fewer|greater|higher|lower|above|below|over|under|up|older|younger)\b",
    re.IGNORECASE,
)
_CHANGES = re.compile(r"(?:[ ][A-Za-z]+){0,2}[ ]before\b[^.\n]*\bafter\b[^.\n]*\d", re.IGNORECASE)
"""A number before a change and one after it ("18 before tax; after tax it is 16")."""


def before_explanation(text: str, start: int, end: int, is_announced: bool) -> int:
    """Where the words begin that explain the first number of a clause by an equation, or `end`.

    Behind a number that is announced as the answer a remark is one too, but no conclusion: "3 each, so 3 * 4 = 12" says 12.
    """
    found = (_CHECKED.match(text, start, end) or _ARROW.match(text, start, end)) if is_announced else None
    found = found or _EXPLAINED.match(text, start, end)
    return found.start("reason") if found else end


def behind_calculation(text: str, start: int, end: int) -> int | None:
    """Where the result stands that the words behind a calculation name ("9 * 2, which is"); it ends the clause."""
    found = _CALCULATION.match(text, start, end)
    return found.end() if found else None


def is_explained_total(text: str, at: int, end: int) -> bool:
    """Whether the number that ends at `at` is a total, and what follows it up to `end` says how it comes about."""
    return _TOTAL.match(text, at, end) is not None


def is_only_a_part(text: str, at: int, end: int) -> bool:
    """Whether the number that ends at `at` is a part of a calculation, a bound or one of two numbers."""
    return any(pattern.match(text, at, end) for pattern in (_OPERAND, _OR_MORE, _CHANGES))
