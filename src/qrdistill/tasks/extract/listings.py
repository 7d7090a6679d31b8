"""Lists that claim nothing: the options of a question written out again, several values one below the other."""

from __future__ import annotations

import re
from collections.abc import Callable

from qrdistill.tasks.compare.quantity import equal, parse_quantity
from qrdistill.tasks.extract.options import Options, label_pattern
from qrdistill.tasks.extract.records import MAX_CLAUSE, Found, Reading, Statement
from qrdistill.types import AnswerKind

MIN_LISTED = 3
"""So many options in a row are a list; fewer are one only if they are all there is."""
MAX_LINES = 40
"""How many lines a list of values may have; bounds the work on hostile input."""
_LABEL_AT = r"(?<![\w(\[])[(\[]?(?P<label>LABEL)[)\].:]+[\s*_]{0,8}"
_BETWEEN = re.compile(r"[\s,;/|.*_>\u2022-]*(?:(?:and|or)[\s*_]+)?[(\[]?")
_MARKS = " \t*_`$.,;>\u2022#"
_EMPTY = " \t\r*_`#-"
_LINE = re.compile(r"[^\n]+")
_BULLET = re.compile(r"\s*(?:[-*\u2022>#]+[ ]+)?")
_TITLE = re.compile(r"[*_`$]*(?:(?:[A-Za-z]|\d{1,2})[).:][ ]+|[A-Za-z][ ]?=[ ]?)")


def options_listed(text: str, start: int, end: int, options: Options) -> tuple[int, int] | None:
    """Where options stand in a row, each with its label and whole text, in their order; None where none do."""
    labels = re.compile(_LABEL_AT.replace("LABEL", label_pattern(options.labels)))
    best = (0, 0, 0)
    count, first, last, row = 0, 0, 0, -1
    for found in labels.finditer(text, start, end):
        index = options.labels.index(options.canonical(found["label"]))
        close = found.end() + len(options.texts[index])
        if text[found.end() : close].lower() != options.texts[index].lower():
            continue
        is_next = count > 0 and index == row + 1 and _BETWEEN.fullmatch(text, last, found.start()) is not None
        first, count = (first, count + 1) if is_next else (found.start(), 1)
        row, last = index, close
        best = max(best, (count, first, last))
    count, first, last = best
    is_all = count > 1 and not (text[start:first] + text[last:end]).strip(_MARKS + "\n")
    return (first, last) if count >= MIN_LISTED or is_all else None


def lists_values(text: str, start: int, end: int, kind: AnswerKind, read: Callable[[Statement], Found]) -> bool:
    """Whether all that is there is lines with one answer each ("yes", "no"; "x = 3", "y = 4"), and they differ."""
    lines = [line for line in _LINE.finditer(text, start, end) if line.group().strip(_EMPTY)]
    if not 1 < len(lines) <= MAX_LINES or any(len(line.group()) > MAX_CLAUSE for line in lines):
        return False
    values = []
    for line in lines:
        bullet = _BULLET.match(text, *line.span())
        begin = bullet.end() if bullet else line.start()
        found = read(Statement(begin, line.end(), "line"))
        title = _TITLE.match(text, begin, line.end())
        whole = {text[at : line.end()].strip(_MARKS) for at in (begin, title.end() if title else begin)}
        if not isinstance(found, Reading) or text[found.start : found.end].strip(_MARKS) not in whole:
            return False
        values.append(found.value)
    if kind not in {"number", "math"}:
        return len(set(values)) > 1
    numbers = [parse_quantity(value.rpartition("=")[2]) for value in values]
    known = [number for number in numbers if number is not None]
    return len(known) == len(values) and any(not equal(known[0], other) for other in known[1:])
