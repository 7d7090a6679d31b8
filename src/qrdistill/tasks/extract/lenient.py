"""Places that may hold an answer without saying so: lines, bold text, the opening, a concluding sentence.

Each reader decides what it accepts there; here is only where to look. A place is offered in the order of the text, so the last
one that reads as an answer wins.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.cues import is_unsure
from qrdistill.tasks.extract.records import MAX_CLAUSE, Source, Statement
from qrdistill.tasks.extract.sentences import Sentence, is_asserted, predicate, sentences
from qrdistill.types import AnswerKind

MAX_TITLE = 120
"""How far a title with its marks may reach; bounds the work on a long line of marks."""
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
    r"[\s*_]*(?:(?:it|that|this)(?:'s|[ ](?:is|must[ ]be|has[ ]to[ ]be|should[ ]be|would[ ]be))(?!n't|[ ]not\b)"
    r"|(?:(?:it|this)[ ])?(?:looks|seems)[ ]like|must[ ]be)[ ,:]*",
    re.IGNORECASE,
)
_ADVERB = re.compile(
    r"[\s*_]*(?:clearly|obviously|definitely|probably|certainly|surely|evidently|naturally|undoubtedly|(?:most|very)[ ]\w+ly"
    r"|all[ ]things[ ]considered|after[ ]all|on[ ]balance|in[ ]short|in[ ]other[ ]words|long[ ]story[ ]short|all[ ]in[ ]all"
    r"|in[ ]sum|in[ ]brief|to[ ]be[ ](?:precise|exact|clear)|from[ ](?:here|this|the[ ]above)"
    r"|namely|precisely|exactly|simply|just|only|specifically|finally|lastly|by[ ]\w+(?:[ ]of[ ]\w+)?"
    r"|i[ ](?:think|believe|guess|suppose|reckon)(?:[ ]that)?)\b[ ,:]+",
    re.IGNORECASE,
)
_ARROW = r"[\s*_#-]*(?:={0,3}>|-{1,3}>|=|\u2192|\u21d2|\u2234)[\s*_]*"
_NO_TITLE = (
    r"(?:note|definitions?|examples?|e\.g|for[ ]example|options(?=[ ]?:)|possible|choices|candidates?|hint"
    r"|given|known|let|where|question"
    r"|problem|q|premise|hypothesis|context|source|references?"
    r"|see|page|figure|table|grade|vitamin|section|part|chapter|group|team|plan|type|version|date|time|year|confidence|score|difficulty|wrong|incorrect|not|distractors?"
    r"|alternatives?|second|other|user|human|system|input|title|topic|subject|keywords?|rejected|excluded|eliminated)\b"
)
_TITLE = re.compile(
    rf"[\s*_>#-]*+(?!{_NO_TITLE})(?:[^\s:|{{\"'][^:|?!.\n]{{1,60}}?)[*_]*[ ]?(?<!\d[ ]):[*_]*[ ]+[*_]*|[\s*_>#-]*A[ ]?:[ ]*|"
    + _ARROW,
    re.IGNORECASE,
)
"""What may stand before the value in a last line: "Total cost:", "In short:", "A:", an arrow."""
_ASIDE_LINE = re.compile(rf"[\s*_>#-]*{_NO_TITLE}[^:\n]{{0,40}}:|[\s*_>#-]*(?:for[ ]example|e\.g)\b", re.IGNORECASE)
"""A line that is about something else than the answer."""
_BULLET = re.compile(r"\s*(?:(?:[-*\u2022+\u2013\u2014]|>{1,3}|#{1,6}|\d{1,2}\))[ ]+)*")
_ASKED = re.compile(r"(?:^|\n)\W{0,4}(?:q|question)\b[^\n:]{0,8}:", re.IGNORECASE)
_REPLY = re.compile(r"[\s*_>#-]*A[ ]?:[ ]*")
_ASKED_LINE = re.compile(r"[^.!?]*\?[\s*_\"')]*")
"""A line that is one question."""
_LETTER = re.compile(r"\W{0,4}[A-Za-z]\W{0,6}")
"""A letter as in "D. a dog": the stop behind it ends no sentence."""
_ONE_SIGN = re.compile(r"\W{0,4}\w\W{0,6}")
_RESULT_ROW = re.compile(
    r"answer|total|result|final|sum\b|label|verdict|overall|altogether|combined|remaining|left\b|difference|average|profit|correct|conclusion|so\b|therefore",
    re.IGNORECASE,
)
_TITLED_NUMBER = re.compile(r"[^:\n]{1,60}:[^\d\n]{0,6}\d[\d.,]*(?:[ ][A-Za-z]+){0,3}[\s.*_]*$", re.MULTILINE)
_INNER = re.compile(
    r"(?:,[ ](?:so|therefore|thus|hence|and[ ]so|but)|\b(?:i|we)(?:'m|'d|[ ]am|[ ]are|[ ]would)?[ ](?:\w+[ ]){0,2}(?:sure"
    r"|think|believe|guess|say|confident|certain)"
    r"(?:[ ]that)?)[ ](?:it|this|that)(?:'s|[ ](?:is|must[ ]be|should[ ]be))(?!n't|[ ]not\b)[ ]",
    re.IGNORECASE,
)
_SO = re.compile(r"[,;][ ](?:and[ ])?(?:so|therefore|thus|hence)[ ,]{1,2}(?!that\b|many\b|much\b|far\b|called\b)", re.IGNORECASE)
"""A conclusion within a sentence: "9 * 60 = 540, so James runs 540 m"."""
_OPENINGS: tuple[tuple[re.Pattern[str], Source], ...] = ((_CONCLUSION, "conclusion"), (_PRONOUN, "pronoun"))


def places(text: str, start: int, end: int, bold: list[tuple[int, int]], kind: AnswerKind) -> list[Statement]:
    """The lenient places of text[start:end], in order."""
    found = _lines(text, start, end, kind)
    found += _bold(text, start, end, bold)
    found += _conclusions(text, start, end)
    found = [place for place in found if not _ASIDE_LINE.match(text, _sentence_begin(text, start, place.start), place.end)]
    found.sort(key=lambda statement: (statement.start, statement.end))
    return found


def _sentence_begin(text: str, start: int, at: int) -> int:
    return max(
        start, *(text.rfind(stop, start, at) + len(stop) for stop in ("\n", ". ", "! ", "? ") if stop in text[start:at]), start
    )


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


def _lines(text: str, start: int, end: int, kind: AnswerKind) -> list[Statement]:
    """The first and the last line that are not empty (one and the same is offered as both).

    The last one is offered without a title such as "Total:" too (in a choice question "A:" is a label), of a table its last cell.
    """
    lines = [
        (line.start(), line.end())
        for line in re.compile(r"[^\n]*\S[^\n]*").finditer(text, start, end)
        if not line.group().strip(" `*-=_#").startswith("json")
    ]
    lines = [(first, last) for first, last in lines if text[first:last].strip(" `*-=_#~")]
    if not lines:
        return []
    lines = [(_BULLET.match(text, first, last).end(), last) for first, last in lines]  # type: ignore[union-attr]
    first, last = lines[-1]
    lead_start, lead_end = lines[0]
    found = [
        Statement(lead_start, min(lead_end, lead_start + MAX_CLAUSE), "lead"),
        Statement(max(first, last - MAX_CLAUSE), last, "line"),
    ]
    found = [place for place in found if not _ASKED_LINE.fullmatch(text, place.start, place.end)]
    title = _TITLE.match(text, first, min(last, first + MAX_TITLE))
    reply = _REPLY.match(text, first, last) if kind == "choice" else None
    if reply and (_ASKED.search(text, 0, first) or _ONE_SIGN.fullmatch(text, reply.end(), last)):
        title = reply
    if title is not reply or reply is None:
        title = _last_title(text, first, last, kind) or title
    if title and len(lines) > 1 and _TITLED_NUMBER.match(text, *lines[-2]) and not _RESULT_ROW.search(title.group()):
        title = None  # an entry of a list
    is_label = kind == "choice" and title and title.re is _TITLE and title.group().strip(" *_>#-").startswith("A:")
    if title and not is_label:
        found.append(Statement(title.end(), last, "line", True))
    row = text[first:last].strip()
    if row.startswith("|") and row.endswith("|") and row.count("|") > 1:
        header = text[lines[max(0, len(lines) - 3)][0] : first]
        if kind in {"yesno", "nli"} or _RESULT_ROW.search(row.split("|")[1] + header):
            close = text.rindex("|", first, last)
            found.append(Statement(text.rindex("|", first, close) + 1, close, "line", True))
    return found


def _last_title(text: str, first: int, last: int, kind: AnswerKind) -> re.Match[str] | None:
    """The title of the last sentence of a line, if the line has several; of numbers only one that names a result."""
    parts = sentences(text, first, last)
    title = _TITLE.match(text, parts[-1].start, min(last, parts[-1].start + MAX_TITLE)) if len(parts) > 1 else None
    if title and text[first:last].split()[0] == title.group().split()[0]:
        return None  # an entry of a list
    is_result = title and (kind not in {"number", "math"} or _RESULT_ROW.search(title.group()))
    return title if is_result else None


def last_conclusion(text: str, start: int, end: int) -> Statement | None:
    """The last sentence of text[start:end] as a conclusion, if it is one."""
    found = _openings(text, sentences(text, start, end)[-1:])
    return found[-1] if found else None


def _openings(text: str, parts: list[Sentence]) -> list[Statement]:
    """Sentences that open with a conclusion; one that asks a question does not conclude."""
    found = []
    for first, last, stop in parts:
        if stop == "?":
            continue
        for pattern, source in _OPENINGS:
            opening = pattern.match(text, first, last)
            if opening and opening.end() < last:
                found.append(Statement(opening.end(), last, source))
                break
        else:
            inner = _INNER.search(text, first, last)
            if inner and inner.end() < last and not is_unsure(text, inner.end(), first):
                found.append(Statement(inner.end(), last, "pronoun"))
            elif not inner and (turns := list(_SO.finditer(text, first, last))) and is_asserted(text, first, turns[-1].start()):
                found.append(Statement(turns[-1].end(), last, "conclusion"))
    return found


def _conclusions(text: str, start: int, end: int) -> list[Statement]:
    """Concluding sentences among the last few, and the very last sentence: as a whole, and what it says of its subject."""
    parts = sentences(text, start, end)
    found = _openings(text, parts[-MAX_SENTENCES:])
    if not parts:
        return found
    first, last, stop = parts[-1]
    line_begin = text.rfind("\n", start, first) + 1
    is_within_line = text[line_begin:first].strip() and not _LETTER.fullmatch(text, line_begin, first)
    if len(parts) > 1 and stop != "?" and is_within_line:
        found.append(Statement(first, last, "bold", True))
    if stop != "?":
        found.append(Statement(first, last, "sentence", is_exact=len(parts) == 1))
    adverb = _ADVERB.match(text, first, last)
    if adverb and adverb.end() < last and stop != "?":
        found.append(Statement(adverb.end(), last, "predicate", True))
    said = predicate(text, start, parts[-1])
    if said is not None:
        found.append(Statement(*said, "predicate", True))
    return found
