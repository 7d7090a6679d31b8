"""Places that may hold an answer without saying so: lines, bold text, the opening, a concluding sentence.

Each reader decides what it accepts there; here is only where to look. A place is offered in the order of the text, so the last
one that reads as an answer wins.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.statements import Statement

MAX_SENTENCES = 3
"""How far from the end a concluding sentence may stand ("I hope this helps" often follows it)."""

_BOLD = re.compile(
    r"(?<![\w*])\*\*(?=[^\s*])(?P<bold>[^*\n]{1,200}?)(?<=[^\s*])\*\*(?![\w*])|(?<!\w)__(?=[^\s_])(?P<under>[^_\n]{1,200}?)(?<=[^\s_])__(?!\w)"
)
_ITALIC = re.compile(
    r"(?<![\w*\\])\*(?=[^\s*])(?P<star>[^*\n]{1,200}?)(?<=[^\s*])\*(?![\w*])|`(?P<tick>[^`\n]{1,200})`|(?<![\w\\}])_(?=[^\s_])(?P<line>[^_\n]{1,80}?)(?<=[^\s_])_(?![\w{])"
)
_CONCLUSION = re.compile(
    r"[\s*_>#-]*(?:(?:and|but|ok|okay)[ ,]+)?(?:so|therefore|thus|hence|then|in[ ]total|altogether|overall|in[ ]all|in[ ]conclusion|finally|in[ ]summary|to[ ]conclude|to[ ]sum[ ]up|consequently|as[ ]a[ ]result|ultimately"
    r"|this[ ](?:means|gives|leaves|makes)|that[ ](?:means|gives|leaves|makes)|which[ ](?:means|gives)|(?:we|i)[ ](?:get|find|obtain|conclude)|accordingly|based[ ]on[ ]this|given[ ]this|\u2234|\u21d2)\b[ ,:]*"
    r"(?:(?:the[ ])?(?:result|solution|total|conclusion|value)[ ](?:is|:)|(?:it|this|that)(?:'s|[ ](?:is|must[ ]be|has[ ]to[ ]be|should[ ]be|would[ ]be))(?![ ]not))?[ ,:]*",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"[\s*_]*(?:it|that|this)(?:'s|[ ](?:is|must[ ]be|has[ ]to[ ]be|should[ ]be|would[ ]be))(?!n't|[ ]not\b)[ ,:]*", re.IGNORECASE
)
_SENTENCE_STOP = re.compile(r"(?<!\d)[.!?](?=[\s\"')*\]]|$)|(?<=\d)[.!?](?=\s|$)|\n+")


def emphasis(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text with its bold, italic and code marks blanked, and the spans of what was bold."""
    spans = []
    if "**" in text or "__" in text:
        for bold in _BOLD.finditer(text):
            spans.append(bold.span(bold.lastgroup or 0))
        text = _BOLD.sub(lambda found: "  " + found.group(found.lastgroup or 0) + "  ", text)
    if "*" in text or "`" in text or "_" in text:
        text = _ITALIC.sub(lambda found: " " + found.group(found.lastgroup or 0) + " ", text)
    return text, spans


def places(text: str, start: int, end: int, bold: list[tuple[int, int]]) -> list[Statement]:
    """The lenient places of text[start:end], in order."""
    found = _lines(text, start, end)
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


def _lines(text: str, start: int, end: int) -> list[Statement]:
    """The first and the last line that are not empty (one and the same is offered as both)."""
    lines = [
        (line.start(), line.end())
        for line in re.compile(r"[^\n]*\S[^\n]*").finditer(text, start, end)
        if not line.group().strip(" `*-=_#").startswith("json")
    ]
    lines = [(first, last) for first, last in lines if text[first:last].strip(" `*-=_#~")]
    if not lines:
        return []
    return [Statement(*lines[0], "lead"), Statement(*lines[-1], "line")]


def _conclusions(text: str, start: int, end: int) -> list[Statement]:
    """Concluding sentences among the last few; one that asks a question does not conclude."""
    found, begin = [], start
    sentences: list[tuple[int, int, str]] = []
    for stop in _SENTENCE_STOP.finditer(text, start, end):
        if text[begin : stop.start()].strip():
            sentences.append((begin, stop.start(), stop.group()))
        begin = stop.end()
    if text[begin:end].strip():
        sentences.append((begin, end, ""))
    if (
        len(sentences) > 1
        and sentences[-1][2] != "?"
        and text[text.rfind("\n", start, sentences[-1][0]) + 1 : sentences[-1][0]].strip()
    ):
        found.append(Statement(sentences[-1][0], sentences[-1][1], "bold", True))
    if sentences and sentences[-1][2] not in {"?", ""}:
        found.append(Statement(sentences[-1][0], sentences[-1][1], "sentence"))
    for first, last, stop_mark in sentences[-MAX_SENTENCES:]:
        opening = _CONCLUSION.match(text, first, last) or _PRONOUN.match(text, first, last)
        if opening and stop_mark != "?" and opening.end() < last:
            found.append(Statement(opening.end(), last, "conclusion"))
    return found
