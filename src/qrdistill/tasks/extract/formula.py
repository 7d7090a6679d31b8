r"""Reading a mathematical answer: the formula, number or word a statement gives, as written.

Rules:

* A box, a tag or a JSON value is the answer as a whole. Boxes joined by nothing but "and", "or" or commas are one answer with
  several values.
* After a cue: the formula in ``$...$``, ``\(...\)`` or ``\[...\]``; formulas joined by "and", "or" or commas are one answer. With
  several formulas in running text only one that the clause ends in counts ("the value of $x$ is $5$").
* Without delimiters: the clause if it is a formula ("x = 5", "2*sqrt(3)", "(1, 5)") or at most four words ("Evelyn", "all real
  numbers"); a number in a sentence is read as :mod:`qrdistill.tasks.extract.number` does.
* Without an explicit statement: a last line that is only a formula, a bold one that stands alone, a concluding sentence with one.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract import assignments, number
from qrdistill.tasks.extract.explained import before_explanation
from qrdistill.tasks.extract.records import ADVERB, Found, Reading, Refusal, Statement

_FILLER = re.compile(
    r"(?:[\s:,=*`\"'>\u2026\u2192]|->|(?:therefore|thus|hence|so|clearly|simply|just|indeed|exactly|then|that|equal[ ]to"
    r"|given[ ]by|as[ ]follows|of[ ]course|in[ ]fact|this|the[ ]following|none[ ]other[ ]than|to[ ]be|is|are|found[ ]to[ ]be"
    r"|i[ ](?:think|believe)|"
    + ADVERB
    + r"|about|approximately|roughly|(?:the[ ])?(?:value|values|expression|interval|set|solution[ ]set|point"
    r"|ordered[ ](?:pair|triple)|matrix|vector|equation|polynomial|function|fraction|coordinates|pair|triple|number|numbers"
    r"|solutions?|roots?)(?![ ]of\b))\b)+",
    re.IGNORECASE,
)
_OPENERS = {"\\[": "\\]", "\\(": "\\)", "$$": "$$", "$": "$"}
_OPEN = re.compile(r"\\\[|\\\(|\$\$|(?<!\\)\$")
_JOIN = re.compile(
    r"[ ]?(?:,?[ ]?(?:and|or|and/or|as[ ]well[ ]as)[ ]|,[ ])(?:(?:also|either|even|possibly|maybe|perhaps)[ ])?", re.IGNORECASE
)
_VALUE_NEXT = re.compile(r"(?:\\|-?\d|-?[a-zA-Z]\b|[(\[{√π])")
_STOP = re.compile(
    r"[ ,;]{1,6}(?:i\.e|that[ ]is|because|since|as|which|where|when|after|if|for"
    r"|although|though|even[ ]though|but|however|given|based|due|while"
    r"|whereas|so|therefore|rather|instead|not"
    r"|by|obtained|with|in[ ]the|i[ ](?:think|believe|guess)|it[ ]is|\((?:since|because|as|or|see|if))\b"
    r"|[ ][\u2014\u2013-]{1,2}[ ](?=[a-z])|;(?=[ ][A-Za-z]{2})",
    re.IGNORECASE,
)
_FUNCTION = re.compile(
    r"\\(?:begin|end)\{[a-z*]+\}|\\(?:text|mathrm|textrm|mbox|mathbf|textbf|operatorname)\{[^{}]*\}|\\[A-Za-z]+|(?<![A-Za-z])(?:sqrt|pi|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|infinity|inf|infty|or|and|union|cup|theta|frac|abs|max|min|cbrt|mod|DNE"
    r"|cm|mm|km|kg|square|cubic|units?|degrees?|inches|feet|meters|metres|miles|dollars|cents|percent|hours|minutes|seconds|days|years)(?![A-Za-z])"
)
_DATE = re.compile(
    r"(?:the[ ])?(?:\d{1,2}(?:st|nd|rd|th)?[ ](?:of[ ])?)?(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?"
    r"|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_OR_BOX = re.compile(
    r"(?:\beither\b[^.\n]{0,80}|(?:\$|\\\)|\\\]|\d)[ ]?,?[ ])\bor[ ](?:(?:possibly|maybe|perhaps)[ ])?(?:\$+|\\\("
    r"|\\\[)?[ ]?\\(?:boxed|fbox)[ ]?\{$",
    re.IGNORECASE,
)
_BOX_OR = re.compile(
    r"\}(?:[\s$]|\\\)|\\\])*,?[ ]?\bor[ ](?:(?:possibly|maybe|perhaps)[ ,]{1,2})?(?:\$|\\\(|\\\[|-?\d|[a-z][ ]?=)", re.IGNORECASE
)
_COMPUTES = re.compile(r"[*^+\u00d7\u00b7\u221a!\u00b2\u00b3\u2070-\u2079]|\\(?:sqrt|times|cdot|frac)|sqrt")
_GLUED = re.compile(r"\d[a-z]\b|\d[ ]?(?:\u03c0|\\pi)|\b[a-z]\d")
_ALTERNATIVES = re.compile(r",|:|=|\d/\d+/\d|\b(?:or|and)\b")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_UNITS_ONLY = re.compile(
    r"[ ]*(?:(?!(?:is|are|was|were|has|have|or|and|then|so|seems?|looks?|appears?|wrong|incorrect|not|works?|fails?|if|unless"
    r"|only|provided|can|might|may|could|would|should|vs|than|in|for)\b)[A-Za-z\u00b0]+[ ]?){0,3}(?<!\bof)[\s.,;:*_`!\"']*"
)
_NAMED = re.compile(r"\s*(?:\\text\w*\{\s*)?(?:the[ ])?(?:final[ ])?answer(?:[ ]is\b|[ ]?:)[ :]*\}?", re.IGNORECASE)
_NEGATED = re.compile(r"(?:not|n't|never|neither|cannot[ ]be)\b", re.IGNORECASE)
_TURNED = re.compile(r"\b(?:but|rather|it's|it[ ]is|instead)\b(?![ ]of)[ ]*", re.IGNORECASE)
_ONE_TERM = re.compile(
    r"[\s$(]*(?:\\sqrt\s*\{?\d+\}?|\u221a\d+|sqrt\(\d+\)|\d+\s*(?:\^|\*\*)\s*\{?\d+\}?|\d+[\u00b2\u00b3]|\d+!)[\s$).]*"
)
"""A power, a root or a factorial that stands alone in a reply to a question for a number."""
_NAME = re.compile(r"(?:[A-Za-z]{2,20}[ ]){0,2}[A-Za-z]{2,20}")
_NO_ANSWER = re.compile(
    r".*\b(?:is|are|was|the|this|that|it|we|i|and|of|to)\b|(?:yes|no|sure|ok(?:ay)?|hello|hi|sorry|thanks?|done|solution"
    r"|answers?|final|result|note|conclusion|proof|hint|step|explanation|verification|question|problem|check|qed|none"
    r"|nothing)\b",
    re.IGNORECASE,
)
_ABSTAINS = re.compile(
    r"(?:unknown|unclear|cannot[ ]be[ ]determined|can't[ ]be[ ]determined|not[ ]\w+|i[ ]don't[ ]know|n/?a|as[ ]follows"
    r"|the[ ]following|given|stated|provided|here|shown|correct|wrong|found|obtained|below|above)\b",
    re.IGNORECASE,
)


def merge_boxes(text: str, statements: list[Statement]) -> list[Statement]:
    """Boxes that follow each other as parts of one answer become one statement that spans them."""
    merged: list[Statement] = []
    for statement in statements:
        last = merged[-1] if merged else None
        if last and last.source == statement.source == "boxed" and _BETWEEN_BOXES.fullmatch(text, last.end, statement.start):
            merged[-1] = Statement(last.start, statement.end, "boxed", True)
        else:
            merged.append(statement)
    return merged


_BETWEEN_BOXES = re.compile(
    r"\}(?:\\[,; ]|[\s$]|\\[()\[\]]|\\q?quad)*(?:,|;|&|(?:,[ ]?)?(?:\\text\{)?[ ]?(?:and|or)[ ]?\}?(?:[ ]?(?:possibly|maybe"
    r"|perhaps)[ ]?)?)(?:\\[,; ]|[\s$]|\\[()\[\]]|\\q?quad)*(?:[a-zA-Z](?:_\{?\w\}?)?[ ]?=[ ]?)?\\(?:boxed|fbox)[ ]?\{"
)


def is_hedged_box(text: str, start: int, box: Statement, end: int) -> bool:
    """Whether a box is one of two alternatives, the other of which stands outside: "$3$ or [4]", "[3], or maybe $4$"."""
    before = text[max(start, box.start - 120) : box.start]
    return _OR_BOX.search(before) is not None or _BOX_OR.match(text, box.end, end) is not None


def read(text: str, statement: Statement) -> Found:
    """The answer a statement gives, as written."""
    if statement.source == "sentence":
        return number.read(text, statement)
    start, end = statement.start, statement.end
    if statement.source in {"boxed", "tag", "json"}:
        named = _NAMED.match(text, start, end)
        start = named.end() if named else start
        end -= text.endswith("}", start, end) and text.count("{", start, end) < text.count("}", start, end)
        return _whole(text, start, end, statement.source)
    both = assignments.pair(text, statement)
    if both is not None:
        return Reading(both.value, both.start, both.end, False)
    if statement.source in {"line", "lead", "bold", "emphasis", "predicate"}:
        return _alone(text, statement)
    filler = _FILLER.match(text, start, end)
    at = filler.end() if filler else start
    negated = _NEGATED.match(text, at, end)
    if negated:
        turned = _TURNED.search(text, negated.end(), end)
        return read(text, Statement(turned.end(), end, statement.source)) if turned else None
    opened = _OPEN.match(text, at)
    if opened and (content := _formula(text, opened)) is not None:
        return _joined(text, content, end, is_strict=statement.source == "cue")
    inner = _segments(text, at, end) if statement.source != "pronoun" else []
    if inner:
        return _last_of(text, inner, end)
    return _plain(text, at, end, statement)


def read_number(text: str, statement: Statement) -> Found:
    r"""A number, or where a cue is followed by a formula that computes one ("$\sqrt{16}$", "2^5") that formula."""
    found = number.read(text, statement)
    if isinstance(found, Reading) or statement.source in {"sentence", "emphasis", "pronoun"}:
        return found
    if statement.source in {"line", "lead", "bold", "predicate"} and not _ONE_TERM.fullmatch(
        text, statement.start, statement.end
    ):
        return found
    computed = read(text, statement)
    if (
        isinstance(computed, Reading)
        and (_COMPUTES.search(computed.value) or _GLUED.search(computed.value))
        and is_formula(computed.value)
        and not _ALTERNATIVES.search(computed.value)
        and not any(char.isdigit() for char in text[statement.start : computed.start] + text[computed.end : statement.end])
    ):
        return Reading(computed.value, computed.start, computed.end, False)
    return found


def _whole(text: str, start: int, end: int, source: str) -> Found:
    value = _BETWEEN_BOXES.sub(", ", text[start:end]) if source == "boxed" else text[start:end]
    if source == "json":
        value = value.replace("\\\\", "\\")
    return Reading(value.strip(), start, end, True) if value.strip(" $.{}") else None


def _formula(text: str, opened: re.Match[str]) -> tuple[int, int, int] | None:
    """(start, end, end of the delimiter) of the formula behind an opening delimiter."""
    close = text.find(_OPENERS[opened.group()], opened.end(), opened.end() + 2000)
    if opened.group() == "$":
        while close > 0 and text[close - 1] == "\\":
            close = text.find("$", close + 1, opened.end() + 2000)
    if close < 0 or not text[opened.end() : close].strip():
        return None
    return opened.end(), close, close + len(opened.group())


def _segments(text: str, start: int, end: int) -> list[tuple[int, int, int]]:
    found, at = [], start
    while (opened := _OPEN.search(text, at, end)) is not None:
        content = _formula(text, opened)
        if content is None or content[2] > end + 2000:
            break
        found.append(content)
        at = content[2]
    return found


def _joined(text: str, content: tuple[int, int, int], end: int, is_strict: bool) -> Found:
    """The formula at the head of a clause, with those joined to it."""
    start, close, after = content
    if re.compile(r"[ ]?/[ ]?[$\\\d(]").match(text, after):
        return Refusal("more than one answer is stated", start, end)
    parts = [text[start:close].strip()]
    while (join := _JOIN.match(text, after)) is not None:
        opened = _OPEN.match(text, join.end())
        following = _formula(text, opened) if opened else None
        if following is not None:
            parts.append(text[following[0] : following[1]].strip())
            close, after = following[1], following[2]
        elif _VALUE_NEXT.match(text, join.end(), end) and re.match(r"[^A-Za-z]*[.,]?$", text[join.end() : end]):
            parts.append(text[join.end() : end].strip())
            close = after = end
        else:
            break
    value = ", ".join(parts)
    percent = re.compile(r"[ ]?(?:\\?%|percent\b)").match(text, after, end)
    return Reading(value + "\\%" if percent else value, start, close, is_strict)


def _last_of(text: str, inner: list[tuple[int, int, int]], end: int) -> Found:
    """The formula a clause of words ends in."""
    start, close, after = inner[-1]
    first = len(inner) - 1
    while first and _JOIN.fullmatch(text, inner[first - 1][2], text.rindex(_opener(text, inner[first][0]), 0, inner[first][0])):
        first -= 1
    if first < len(inner) - 1:
        lead = text[inner[first - 1][2] if first else 0 : inner[first][0]].rstrip("\\($[ ")
        if not re.search(r"(?:\b(?:is|are|equals|be)|=|:)$", lead):
            return None
        return Reading(", ".join(text[begin:stop].strip() for begin, stop, _ in inner[first:]), inner[first][0], close, False)
    if len(inner) > 1:
        between = text[inner[-2][2] : start].rstrip("\\($[ ")
        if not re.search(r"(?:\b(?:is|are|equals|be|of)|=|:)$", between):
            return None
    elif re.match(r"[ ]*(?:[-+=/]|times\b|plus\b)", text[after:end]):
        return None
    return Reading(text[start:close].strip(), start, close, False)


def _plain(text: str, start: int, end: int, statement: Statement) -> Found:
    """A clause without formula delimiters."""
    end = before_explanation(text, start, end, is_announced=statement.source == "cue")
    stop = _STOP.search(text, start, end)
    if stop and text.startswith("as well as", stop.start() + 1):
        return Refusal("more than one answer is stated", start, end)
    close = stop.start() if stop and stop.start() > start else end
    value = text[start:close].strip(" ,;:*_`\"'\u2026\u2192=>").rstrip(".")
    value = value.lstrip(".") if not re.match(r"\.\d", value) else value
    value = value.rstrip("}") if value.count("}") > value.count("{") else value
    if not value:
        return None
    if _is_cut_off(value):
        return None
    if is_formula(value):
        return Reading(value, start, start + len(text[start:close].rstrip()), statement.source == "cue")
    if _DATE.match(value) and statement.source == "cue":
        return Reading(value, start, start + len(text[start:close].rstrip()), False)
    if any(char.isdigit() for char in value):
        return number.read(text, Statement(start, end, statement.source, False))
    if _ABSTAINS.match(value):
        return (
            Refusal("no value is given", start, close)
            if value.casefold().startswith(("unknown", "unclear", "can", "i don"))
            else None
        )
    if len(value.split()) <= 4 and any(char.isalnum() for char in value) and statement.source == "cue":
        return Reading(value, start, close, False)
    return number.read(text, Statement(start, end, statement.source, False))


def _opener(text: str, start: int) -> str:
    """The delimiter that opens the formula whose content begins at `start`."""
    return next(opener for opener in _OPENERS if text.endswith(opener, 0, start))


def _without_closer(value: str) -> str:
    r"""A part of a formula without the delimiter that closes the whole ("2 \]" of "\[ x = 1 + 1 = 2 \]")."""
    for opener, closer in _OPENERS.items():
        if value.endswith(closer) and (value.count("$") % 2 if "$" in closer else opener not in value):
            return value.removesuffix(closer).rstrip(" .")
    return value


def _is_cut_off(value: str) -> bool:
    """Whether a formula breaks off: a bracket that never closes, an operator with nothing behind it."""
    return (
        value.count("(") > value.count(")") + value.count("]")
        or value.count("{") > value.count("}")
        or value[-1:] in {"=", "+", "*", "^", "/"}
    )


def is_formula(value: str) -> bool:
    """Whether a text holds nothing but mathematics (functions and units included)."""
    return not _WORDS.search(_FUNCTION.sub(" ", value)) and any(
        char.isalnum() or char in "\\\u221e\u2205\u211d\u03c0" for char in value
    )


def _is_bare_name(text: str, start: int, value: str, is_bold: bool) -> bool:
    """Whether a name ("Evelyn") is all of a reply, or all of its last line and bold."""
    if not _NAME.fullmatch(value) or _ABSTAINS.match(value) or _NO_ANSWER.match(value):
        return False
    line = text.rfind("\n", 0, start) + 1
    is_last = not text[start + len(value) :].strip(" \n*_.`")
    return is_last and not text[line:start].strip(" *_`") and (is_bold or not text[:line].strip())


def _alone(text: str, statement: Statement) -> Found:
    """A line or bold text that is a formula and nothing else."""
    value = text[statement.start : statement.end].strip(" ,;:!*_`\"'").rstrip(" .!")
    if statement.source == "predicate":
        closed = re.search(r"\$|\\\)|\\\]", value)
        if closed and _UNITS_ONLY.fullmatch(value, closed.end()):
            value = value[: closed.start()].rstrip()
        value = _without_closer(value)
    start = text.index(value, statement.start) if value else statement.start
    opened = _OPEN.match(text, start)
    if opened and (content := _formula(text, opened)) is not None:
        is_whole = _UNITS_ONLY.fullmatch(text, content[2], statement.end)
        return Reading(text[content[0] : content[1]].strip(), content[0], content[1], False) if is_whole else None
    if _is_bare_name(text, start, value, is_bold=statement.source == "bold"):
        return Reading(value, start, start + len(value), False)
    if not value or not is_formula(value) or _is_cut_off(value) or re.match(r"(?:step\b|\d{1,2}[.)]$)", value, re.IGNORECASE):
        return None
    if any(char.isdigit() for char in value) or "=" in value:
        return Reading(value, start, start + len(value), False)
    return None
