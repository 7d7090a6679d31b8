"""Places that may hold an answer without saying so: lines, bold text, the opening, a concluding sentence.

Each reader decides what it accepts there; here is only where to look. A place is offered in the order of the text, so the last
one that reads as an answer wins.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.statements import MAX_CLAUSE, Source, Statement

MAX_SENTENCES = 3
"""How far from the end a concluding sentence may stand ("I hope this helps" often follows it)."""

_CONCLUSION = re.compile(
    r"[\s*_>#-]*(?:(?:and|but|ok|okay)[ ,]+)?(?:so|therefore|thus|hence|then|in[ ]total|altogether|overall|in[ ]all"
    r"|in[ ]conclusion|finally|in[ ]summary|to[ ]conclude|to[ ]sum[ ]up|consequently|as[ ]a[ ]result|ultimately"
    r"|this[ ](?:means|gives|leaves|makes)|that[ ](?:means|gives|leaves|makes)|which[ ](?:means|gives)|(?:we|i)[ ](?:get|find"
    r"|obtain|conclude)|accordingly|based[ ]on[ ]this|given[ ]this|\u2234|\u21d2)\b[ ,:]*"
    r"(?:(?:the[ ])?(?:result|solution|total|conclusion|value)[ ](?:is|:)|(?:it|this|that)(?:'s|[ ](?:is|must[ ]be"
    r"|has[ ]to[ ]be|should[ ]be|would[ ]be))(?![ ]not))?[ ,:]*",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"[\s*_]*(?:it|that|this)(?:'s|[ ](?:is|must[ ]be|has[ ]to[ ]be|should[ ]be|would[ ]be))(?!n't|[ ]not\b)[ ,:]*", re.IGNORECASE
)
_TITLES = r"(?:final|solution|response|output|result|prediction|conclusion|verdict|value|therefore|thus|hence|so"
_ARROW = r"[\s*_#-]*(?:=>|->|\u2192|\u21d2|\u2234)[\s*_]*"
_TITLE = re.compile(rf"[\s*_>#-]*(?:A|(?:grand[ ])?total(?:[ ]\w+)?|{_TITLES}))[ ]?:[\s*_]*|{_ARROW}", re.IGNORECASE)
_CHOICE_TITLE = re.compile(rf"[\s*_>#-]*{_TITLES})[ ]?:[\s*_]*|{_ARROW}", re.IGNORECASE)
_INNER = re.compile(
    r"(?:,[ ](?:so|therefore|thus|hence|and[ ]so|but)|\b(?:sure|think|believe|guess|say|confident)(?:[ ]that)?)[ ](?:it|this"
    r"|that)(?:'s|[ ](?:is|must[ ]be|should[ ]be))(?!n't|[ ]not\b)[ ]",
    re.IGNORECASE,
)
_OPENINGS: tuple[tuple[re.Pattern[str], Source], ...] = ((_CONCLUSION, "conclusion"), (_PRONOUN, "pronoun"))
_SENTENCE_STOP = re.compile(r"(?<!\d)[.!?](?=[\s\"')*\]]|$)|(?<=\d)[.!?](?=\s|$)|\n+")


def places(text: str, start: int, end: int, bold: list[tuple[int, int]], is_choice: bool) -> list[Statement]:
    """The lenient places of text[start:end], in order."""
    found = _lines(text, start, end, is_choice)
    found += _bold(text, start, end, bold)
    found += _conclusions(text, start, end)
    found.sort(key=lambda statement: (statement.start, statement.end))
    return found


def _bold(text: str, start: int, end: int, bold: list[tuple[int, int]]) -> list[Statement]:
    """Bold text that ends a line or a sentence, and (as "emphasis") the only bold text in the last line."""
    inside = [(first, last) for first, last in bold if start <= first and last <= end]
    found = [Statement(first, last, "bold", True) for first, last in inside if _ends_something(text, last, end)]
    last_line = text.rfind("\n", start, start + len(text[start:end].rstrip())) + 1
    in_last_line = [(first, last) for first, last in inside if first >= last_line]
    if len(in_last_line) == 1 and not _ends_something(text, in_last_line[0][1], end):
        found.append(Statement(*in_last_line[0], "emphasis", True))
    return found


def _ends_something(text: str, stop: int, end: int) -> bool:
    """Bold text that goes on into a sentence is emphasis, not an answer."""
    line_end = text.find("\n", stop, end)
    rest = text[stop : end if line_end < 0 else line_end]
    return not rest.strip(" *_.!:)\"'$") or rest.lstrip(" *_\"')")[:1] in {".", "!"}


def _lines(text: str, start: int, end: int, is_choice: bool) -> list[Statement]:
    """The first and the last line that are not empty (one and the same is offered as both).

    A title such as "Total:" or "A:" before the value is left out (in a choice question "A:" is a label).
    """
    lines = [
        (line.start(), line.end())
        for line in re.compile(r"[^\n]*\S[^\n]*").finditer(text, start, end)
        if not line.group().strip(" `*-=_#").startswith("json")
    ]
    lines = [(first, last) for first, last in lines if text[first:last].strip(" `*-=_#~")]
    if not lines:
        return []
    first, last = lines[-1]
    title = (_CHOICE_TITLE if is_choice else _TITLE).match(text, first, last)
    lead_start, lead_end = lines[0]
    return [
        Statement(lead_start, min(lead_end, lead_start + MAX_CLAUSE), "lead"),
        Statement(title.end() if title else max(first, last - MAX_CLAUSE), last, "line"),
    ]


def last_conclusion(text: str, start: int, end: int) -> Statement | None:
    """The last sentence of text[start:end] as a conclusion, if it is one."""
    sentences = _sentences(text, start, end)
    found = _openings(text, sentences[-1:])
    return found[-1] if found else None


def _sentences(text: str, start: int, end: int) -> list[tuple[int, int, str]]:
    """(start, end, stop mark) of each sentence or line."""
    found, begin = [], start
    for stop in _SENTENCE_STOP.finditer(text, start, end):
        if text[begin : stop.start()].strip():
            found.append((begin, stop.start(), stop.group()))
        begin = stop.end()
    if text[begin:end].strip():
        found.append((begin, end, ""))
    return found


def _openings(text: str, sentences: list[tuple[int, int, str]]) -> list[Statement]:
    """Sentences that open with a conclusion; one that asks a question does not conclude."""
    found = []
    for first, last, stop_mark in sentences:
        if stop_mark == "?":
            continue
        for pattern, source in _OPENINGS:
            opening = pattern.match(text, first, last)
            if opening and opening.end() < last:
                found.append(Statement(opening.end(), last, source))
                break
        else:
            inner = _INNER.search(text, first, last)
            if inner and inner.end() < last:
                found.append(Statement(inner.end(), last, "pronoun"))
    return found


def _conclusions(text: str, start: int, end: int) -> list[Statement]:
    """Concluding sentences among the last few, and the very last sentence as a place of its own."""
    sentences = _sentences(text, start, end)
    found = _openings(text, sentences[-MAX_SENTENCES:])
    if not sentences:
        return found
    first, last, stop_mark = sentences[-1]
    is_within_line = text[text.rfind("\n", start, first) + 1 : first].strip()
    if len(sentences) > 1 and stop_mark != "?" and is_within_line:
        found.append(Statement(first, last, "bold", True))
    if stop_mark not in {"?", ""}:
        found.append(Statement(first, last, "sentence"))
    return found
