"""Reading a number: the quantity a statement gives as its value, never a number that merely occurs.

Rules:

* In an equation the value is on the right of the last equals sign; what follows an approximation sign is a rounding of it, and an
  equation behind a number that it explains is none ("8, because 8 + 2 = 10").
* A clause may begin with the number ("42 apples", "$42 per day") or hold exactly one ("that she has 42 left").
* "5 or 6", "5 to 6", "5-6", "5, 6", "2 hours 30 minutes", "more than 5", "half of 10" name no single number: refused. "0.5 or
  1/2" is one number twice and fine; dollars and cents are one quantity.
* A date, a time or a version ("5:30", "10/18/1994") is no number.
* In a place that holds nothing but the answer (a box, a tag), an expression such as ``2^5`` is kept as it is and compared as one.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

from qrdistill.tasks.compare.quantity import Quantity, equal, parse_quantity, scan_quantity
from qrdistill.tasks.extract import assignments
from qrdistill.tasks.extract.explained import before_explanation, behind_calculation, is_explained_total, is_only_a_part
from qrdistill.tasks.extract.records import ADVERB, EXPLICIT, Found, Reading, Refusal, Statement
from qrdistill.tasks.extract.sentences import Sentence, is_plain_claim

_FILLER = re.compile(
    r"(?:[#\s:,*`\"'(\[{]|\\[(\[]|\$(?=[\s\\({$]|-?\d[^$\n]{0,60}\$)|\\(?:boxed|fbox|text|textbf|mathbf|mathrm|bf|bm|left"
    r"|displaystyle|quad)\b[ ]?\{?|\\[ ,;!]|[~\u2248]|\\approx|(?:(?:the[ ])?answer|either|therefore|thus|hence|so|clearly"
    r"|simply|just|indeed|exactly|precisely|now|then|that|equal[ ]to|equals|given[ ]by|as[ ]follows|is|a[ ]total[ ]of"
    r"|none[ ]other[ ]than|given[ ]by|in[ ]total|found[ ]to[ ]be|about|approximately|approx\.?|around|roughly|i[ ](?:think"
    r"|believe|get)|we[ ](?:get|have|find)|it[ ]is|it's|the[ ]number|number|the[ ]value|" + ADVERB + r")\b)+",
    re.IGNORECASE,
)
_APPROXIMATE = re.compile(r"\b(?:about|approximately|approx|around|roughly)\b|[~\u2248\u2192\u2026]|->|\\approx", re.IGNORECASE)
_NOT = re.compile(r"(?:\b(?:not|never|cannot[ ]be)|n't)\b[^\w]*(?:\w+[ ])?$", re.IGNORECASE)
_BOUND = re.compile(
    r"(?:\b(?:(?:more|less|fewer|greater|larger|smaller|higher|lower|bigger|other)[ ]than|at[ ](?:least|most)|up[ ]to|almost"
    r"|nearly|between|over"
    r"|under|above|below|from|either|close[ ]to|neither|except|without|one[ ]of|any[ ]of|both|half[ ]of|twice|double"
    r"|(?:square|cube)(?:[ ]root)?[ ]of|factorial[ ]of|log|ln|sin|cos|tan|exp)"
    r"|[<>\u2264\u2265\u00b1\u221a]|\\(?:leq?|geq?|lt|gt|pm))[ ]*(?:(?:a|the|about|approximately|around|roughly"
    r"|equal[ ]to)[ ]*)?[\s$({\\]*$",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"[\s,;($)*}\\]*(?:(?:[A-Za-z%\u00b0-]+[ ,]{1,2}){0,3}?(?P<word>or|and|as[ ]well[ ]as|to|through|plus|minus|times|versus"
    r"|vs\.?|and/or)\b"
    r"|(?P<mark>:(?=\d)|[/&\u00b1,+*x\u00d7\u00f7-]|[\u2013\u2014]|\\(?:times|cdot|div|pm))|(?P<none>))"
    r"[\s,]*(?:(?:about|maybe|perhaps|possibly|also|even|equivalently|approximately|in[ ]other[ ]words|more[ ]precisely"
    r"|it(?:'s|[ ]is)|is|the|a|another|simply|just)[ ,]{1,2}){0,3}[\s$(*\\{]*",
    re.IGNORECASE,
)
_PART_OF = re.compile(r"[ ]of[ ](?:(?:the|a|all|these|those)[ ])?[$\\(]*", re.IGNORECASE)
_EQUALS = re.compile(r"(?<![<>!=:])=(?![=>])|=>|->|\u2192|\u21d2")
_ROUNDING = re.compile(
    r"[\u2248\u2243]|\\approx|\\simeq|~=|,?[ ](?:which[ ]is|or)[ ](?:about|approximately|roughly|around)\b", re.IGNORECASE
)
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")
_GLUED_UNIT = re.compile(r"[A-Za-z]{1,8}\b(?![\d(^_])")
_SUBORDINATE = re.compile(
    r"\b(?:because|since|as|which|that|who|where|when|if|not|so|given|based|due|than|rather|instead|after|before|out|while"
    r"|though|although|means|confidence|confident|sure|is[ ]correct|is[ ]right)\b",
    re.IGNORECASE,
)
_UNSOLVED = re.compile(
    r"(?:\d[ ]?(?!x[ ]?\d)[abcknpqrtuvwxyz]|[a-z][ ]?\^|\b[a-z][ ]?[-+*/][ ]?\d|\d[ ]?[-+*/][ ]?[a-z])\b[^=,;.]*=\s*$"
)
"""An equation with a letter in a larger expression ("2x = 14") gives no value yet."""
_ALTERNATIVE = re.compile(
    r",?[ ]+(?:or|and)[ ]+(?:(?:maybe|possibly|perhaps|also|equivalently|approximately)[ ,]+)?(?=[^.\n]{0,60}=|[$\\-])",
    re.IGNORECASE,
)
_EITHER = re.compile(r"\W*either[ ]", re.IGNORECASE)
_NEGATION = re.compile(r"(?:not|n't)\b[\s$(\\]*", re.IGNORECASE)
_WHEREABOUTS = re.compile(
    r"(?:[ ][A-Za-z-]+){0,4}[ ](?:in|for|per|on|at|after|over|during|within|every|by)[ ](?:(?:the|a|an|all|each|about|those"
    r"|these|first|last|next|her|his|their)[ ])?\$?",
    re.IGNORECASE,
)
"""Between a number and one that only says where or when: "220 eggs in 5 boxes"."""
_SCOPE = re.compile(
    r"[ ](?:in[ ]total|in[ ]all|altogether)(?=[ ]|[.!]?$)|[ ](?:over|during|for|per|each|every|by)[ ](?:(?:the|these|those|all"
    r"|his|her|their|both|each|every)[ ])?(?:(?:next|first|last|same|whole|entire|two|three|four|five|six"
    r"|seven)[ ])?[A-Za-z]+[.!]?$",
    re.IGNORECASE,
)
_COUNTED_THERE = re.compile(
    r"\bthere[ ](?:are|is|were|was|will[ ]be)[ ](?:(?:a[ ]total[ ]of|exactly|now|only|still)[ ])?$", re.IGNORECASE
)
_OPERATOR = re.compile(
    r"[ ]?(?:[!^*\u00d7\u00b7\u221a\u03c0]|\+(?=[ ]?[\d\\(a-z])|/(?=[ ]?(?:[\d\\(]|[a-z]\b))|\\(?:pi|sqrt|times|cdot|frac"
    r"|div)\b|[a-z]\b)"
)
_RUN = re.compile(r"\w+(?:[.,'_]\w+)*+")
_UNIT_WORDS = re.compile(
    r"[\s$)*\\\]}%\"'`]*+(?:\\text\{)?(?:[ ]?(?!(?:is|are|was|were|has|have|had|can|will|do|does|did|be|been|gets?|so|then"
    r"|but|maybe|perhaps"
    r"|possibly|ish|or|seems?|looks?|appears?|sounds?|wrong|incorrect|false|too|not|no|works?|fails?|if|unless|only|provided|vs|than|when|that"
    r"|which|who|might|may|could|would|should|possible|impossible|plausible|for[ ](?:some|others)|in[ ](?:some|most|other))\b)"
    r"[A-Za-z\u00b0/-]+[23]?|[ ]?[(\[][A-Za-z][A-Za-z -]{0,20}[)\]]){0,4}"
    r"(?<!\bof)(?<!\bthe)(?<!\bin)(?<!\band)(?<!\bto)[\s.!,;:)$*\\\]}\"'`]*"
)
"""What may follow a number and leave it as it is: what is counted or measured."""
_PLACEHOLDER = re.compile(r"<[^<>]*>|\[[A-Za-z ]*\]|\{[A-Za-z ]*\}")
_RESULT = re.compile(r"[=\u2192\u21d2][ ]*(?=\S)")


class Token(NamedTuple):
    """A run of digits or number words in a clause. `quantity` is None when it is a date, a time or part of a formula."""

    start: int
    value_end: int
    end: int
    """Behind what is glued to the number ("12th", "42apples")."""
    quantity: Quantity | None
    is_word: bool


def read(text: str, statement: Statement) -> Found:
    """The number a statement gives."""
    if statement.source == "sentence":
        return _sentence(text, statement)
    both = assignments.pair(text, statement)
    if both is not None:
        return Refusal("more than one number is stated", both.start, both.end)
    start, end = statement.start, _before_rounding(text, statement.start, statement.end)
    end = before_explanation(text, start, end, is_announced=statement.source == "cue")
    parts = _alternatives(text, start, end, statement)
    if parts is not None:
        return parts
    if statement.source == "predicate" and _UNSOLVED.search(text, max(0, start - 40), start):
        return None
    begin = _after_equals(text, start, end)
    if begin > start and statement.source in {"line", "lead", "conclusion", "pronoun"} and _UNSOLVED.search(text, start, begin):
        return None
    found = _clause(text, start, begin, end, statement)
    if begin > start and not isinstance(found, Reading):  # "18 = 9 * 2"
        sign = _EQUALS.search(text, start, end)
        turned = _clause(text, start, start, sign.start() if sign else end, statement)
        found = turned if isinstance(turned, Reading) else found
    is_whole = statement.source in {"boxed", "tag", "json"}
    if (
        is_whole
        and (found is None or (isinstance(found, Reading) and _OPERATOR.match(text, found.end, end)))
        and re.search(r"\w", text[start:end])
        and not _PLACEHOLDER.fullmatch(text[start:end].strip())
    ):
        return Reading(text[start:end].strip(), start, end, False)
    return found


def _sentence(text: str, statement: Statement) -> Found:
    """The one number of a last sentence that is the result of the last equation before it."""
    start, end = statement.start, statement.end
    tokens = tokenize(text, start, end)
    if len(tokens) != 1 or tokens[0].quantity is None or tokens[0].is_word:
        return None
    token, quantity = tokens[0], tokens[0].quantity
    if not is_plain_claim(text, start, Sentence(start, end, "")) or not _UNIT_WORDS.fullmatch(text, token.end, end):
        return None
    results = list(_RESULT.finditer(text, max(0, start - 400), start))
    worked_out = scan_quantity(text[:start], results[-1].end()) if results else None
    if worked_out is None or not equal(worked_out[0], quantity):
        return None
    return Reading(text[token.start : token.value_end].strip(), token.start, token.value_end, False)


def _alternatives(text: str, start: int, end: int, statement: Statement) -> Found:
    """What a clause of the form "5 or x = 6" states: one number if both are equal, else a refusal; None: another clause."""
    if statement.source not in {"cue", "correction", "boxed", "tag", "json"}:
        return None
    either = _EITHER.match(text, start, end)
    start = either.end() if either else start
    for link in _ALTERNATIVE.finditer(text, start, end):
        first = read(text, Statement(start, link.start(), "correction", True))
        second = read(text, Statement(link.end(), end, "correction", True))
        if isinstance(first, Reading) and isinstance(second, Reading):
            values = [parse_quantity(first.value), parse_quantity(second.value)]
            if values[0] is not None and values[1] is not None and equal(values[0], values[1]):
                return first
            return Refusal("more than one number is stated", first.start, second.end)
    return None


def _clause(text: str, start: int, begin: int, end: int, statement: Statement) -> Found:
    """The number of text[begin:end], a clause that starts at `start`."""
    tokens = tokenize(text, begin, end)
    if not tokens:
        return None
    first = tokens[0]
    at = _skip(text, begin, first.start)
    negation = _NEGATION.match(text, at, first.start)
    if at == first.start and first.quantity is not None:
        return _leading(text, start, tokens, statement, is_strict=begin == start)
    if negation and negation.end() == first.start:
        return _after_not(text, tokens)
    if at < first.start and not statement.is_exact and statement.source in {"cue", "correction", "conclusion"}:
        return _single(text, start, tokens)
    return None


def tokenize(text: str, start: int, end: int) -> list[Token]:
    """The numbers of a clause; number words are left out where the clause has digits."""
    tokens: list[Token] = []
    clause = text[:end]
    index = start
    while index < end:
        if index > start and text[index - 1].isalnum() and text[index].isalnum():
            index += 1
            continue
        scanned = scan_quantity(clause, index) if _may_begin(clause, index) else None
        if scanned is None:
            if text[index].isdigit():
                run = _RUN.match(clause, index)
                index_end = run.end() if run else index + 1
                tokens.append(Token(index, index_end, index_end, None, False))
                index = index_end
            index += 1
            continue
        quantity, stop = scanned
        if tokens and clause[index] in "+-\u2013" and not clause[tokens[-1].end : index].strip():
            index += 1  # a sign between two numbers is an operator
            continue
        is_clean, glued = _clean_end(clause, index, stop)
        tokens.append(Token(index, stop, glued, quantity if is_clean else None, text[index].isalpha()))
        index = glued
    digits = [token for token in tokens if not token.is_word]
    return digits or tokens


def _may_begin(text: str, index: int) -> bool:
    char = text[index]
    return char.isdigit() or char.isalpha() or char in "-+.$£€¥₹₽₩₺₱฿₫₪\\–½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"


def _clean_end(text: str, start: int, stop: int) -> tuple[bool, int]:
    """Whether what is glued to a number leaves it a number ("5th", "5kg"), and where it then ends."""
    before = text[start - 1] if start else " "
    if (
        before in "^_"
        or (before in "/:" and start > 1 and text[start - 2].isdigit())
        or (before == "{" and text[start - 2 : start - 1] in {"^", "_"})
    ):
        return False, stop
    follow = text[stop : stop + 1]
    if follow == "-" and text[stop + 1 : stop + 4].isalpha() and text[start].isalpha():
        return False, stop
    if follow and follow in "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079":
        return False, stop
    if follow == "+" and not text[stop + 1 : stop + 3].strip()[:1].isalnum():
        return False, stop
    if text.startswith("ish", stop):
        return False, stop + 3
    if follow.isalpha():
        tail = _ORDINAL.match(text, stop) or _GLUED_UNIT.match(text, stop)
        return (True, tail.end()) if tail and len(text[start:stop]) and tail.end() - stop != 1 else (False, stop)
    if follow == "/" and re.match(r"/[A-Za-z]{2,}", text[stop:]):
        return True, stop
    if follow and follow in "/:^_" and text[stop + 1 : stop + 2].strip() and text[stop + 1] not in "\"'*":
        return False, stop
    return not text.startswith(("\\pi", "\\sqrt", "\\frac", "√", "π", "**"), stop) or text.startswith("** ", stop), stop


def _before_rounding(text: str, start: int, end: int) -> int:
    """`end`, or where "1/3 ≈ 0.33" turns from the value to its rounding."""
    for mark in _ROUNDING.finditer(text, start, end):
        if any(char.isdigit() for char in text[start : mark.start()]):
            return mark.start()
    return end


def _after_equals(text: str, start: int, end: int) -> int:
    """Behind the last equals sign that a number follows, or `start`."""
    begin = start
    aside = text.find("(", start, end)
    if aside >= 0 and any(char.isdigit() for char in text[start:aside]):
        end = aside  # "45 (check: 45 - 20 = 25)"
    named = behind_calculation(text, _skip(text, start, end), end)
    if named is not None and scan_quantity(text[:end], named) is not None:
        begin = named
    for sign in _EQUALS.finditer(text, begin, end):
        at = _skip(text, sign.end(), end)
        if at < end and scan_quantity(text[:end], at) is not None:
            begin = sign.end()
    return begin


def _skip(text: str, start: int, end: int) -> int:
    filler = _FILLER.match(text, start, end)
    return filler.end() if filler else start


def _leading(text: str, start: int, tokens: list[Token], statement: Statement, is_strict: bool) -> Found:
    """Accept the number a clause begins with, unless it goes on to a second one."""
    first = tokens[0]
    assert first.quantity is not None
    lead = text[start : first.start]
    if _NOT.search(lead):
        return None
    if _BOUND.search(lead):
        return Refusal("a bound or a choice of numbers, not one number", start, first.end)
    if is_only_a_part(text, first.end, statement.end):
        return Refusal("a bound or a part of a calculation, not one number", start, statement.end)
    if len(tokens) > 1:
        gap = text[first.end : tokens[1].start]
        if _is_joined(gap, first.quantity, tokens[1].quantity):
            return Refusal("more than one number is stated", first.start, statement.end)
        if any(_adds(text, first, token) for token in tokens[2:]):
            return Refusal("more than one number is stated", first.start, statement.end)
        if _PART_OF.fullmatch(gap) and (first.quantity.is_percent or first.quantity.value.denominator != 1):
            return Refusal("a part of another number", first.start, statement.end)
    if first.is_word and re.match(r"[ ](?:of|that|which|who|can|could|should|must|way|thing|more)\b", text[first.end :]):
        return None
    end = _before_scope(text, first.end, statement.end) if text[: statement.start].endswith("=") else statement.end
    if statement.source in {"line", "lead", "bold", "emphasis", "predicate"} and not _UNIT_WORDS.fullmatch(text, first.end, end):
        return None
    return Reading(
        text[first.start : first.value_end].strip(),
        first.start,
        first.value_end,
        is_strict and statement.source in EXPLICIT and not first.is_word and not _APPROXIMATE.search(lead),
    )


def _before_scope(text: str, start: int, end: int) -> int:
    """Where the words begin that say over what an equation counts ("= 366 downloads over the three months"), or `end`."""
    scope = _SCOPE.search(text, start, end)
    return scope.start() if scope else end


def _is_joined(gap: str, quantity: Quantity, other: Quantity | None) -> bool:
    """Whether a second number belongs to the answer as much as the first ("5 or 6", "5 feet 3 inches", "5, 6")."""
    link = _LINK.fullmatch(gap)
    if link is None:
        return _goes_on(gap)
    if link.group("none") is not None and "(" in gap:
        return False
    word = (link.group("word") or link.group("mark") or "").casefold()
    is_alternative = word in {"or", "/", ",", ""} and other is not None
    return not (is_alternative and other is not None and equal(quantity, other))


def _adds(text: str, first: Token, token: Token) -> bool:
    """Whether a later number of the clause is stated beside the first ("3 boxes of 12, or 36"), with nothing that explains it."""
    gap = text[first.end : token.start]
    is_same = token.quantity is not None and first.quantity is not None and equal(first.quantity, token.quantity)
    return not is_same and not _SUBORDINATE.search(gap) and _goes_on(gap)


def _goes_on(gap: str) -> bool:
    """Whether a clause adds a second statement ("$18 and the tip is $2") rather than explain its first number."""
    last = re.split(r",|\band\b|\bor\b|\bplus\b", gap)[-1]
    return last != gap and "(" not in gap and not _SUBORDINATE.search(last)


def _after_not(text: str, tokens: list[Token]) -> Found:
    """The number after the contrast of "not 5 but 7"."""
    if len(tokens) < 2 or tokens[1].quantity is None:
        return None
    gap = text[tokens[0].end : tokens[1].start]
    if re.search(r"\b(?:but|rather|instead|it's|it[ ]is|is)\b[\s$(\\]*$", gap, re.IGNORECASE):
        return Reading(text[tokens[1].start : tokens[1].value_end].strip(), tokens[1].start, tokens[1].value_end, False)
    return None


def _single(text: str, start: int, tokens: list[Token]) -> Found:
    """The one number of a clause that does not begin with it."""
    first = tokens[0]
    if first.quantity is None:
        return None
    others = () if is_explained_total(text, first.end, tokens[-1].end) else itertools.pairwise(tokens)
    for before, token in others:
        is_same = token.quantity is not None and equal(first.quantity, token.quantity)
        is_place = _COUNTED_THERE.search(text, start, first.start) and _WHEREABOUTS.fullmatch(text, before.end, token.start)
        if not is_same and not is_place:
            return None
    lead = text[start : first.start]
    if _NOT.search(lead):
        return None
    if _BOUND.search(lead):
        return Refusal("a bound or a choice of numbers, not one number", start, first.end)
    if re.search(r"[\\^_+*/=<>{(\u221a-][\s{$(]*$", lead) and not lead.rstrip().endswith(("$", "\\(", "\\[", "(", "- ")):
        return None
    return Reading(text[first.start : first.value_end].strip(), first.start, first.value_end, False)
