r"""Markup out of the way: what was bold or boxed is remembered, the marks themselves are removed.

Bold, italic and code marks go in every kind of answer. The LaTeX wrappers ``\boxed{...}``, ``\text{...}`` and their like go
too, except where the answer is mathematics and they may mean something. What is struck through is gone, ticks and crosses are
remembered. What is left reads like plain text ("The answer is B or C."), so the rules of reading need not know about markup.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from qrdistill.tasks.extract.text import CROSS, TICK

Span = tuple[int, int]

_BOLD = re.compile(
    r"(?<![\w*])\*{2,3}(?=[^\s*])(?P<bold>[^*\n]{1,200}?)(?<=[^\s*])\*{2,3}(?![\w*])"
    r"|(?<!\w)__(?=[^\s_])(?P<under>[^_\n]{1,200}?)(?<=[^\s_])__(?!\w)"
)
_ITALIC = re.compile(
    r"(?<![\w*\\])\*(?=[^\s*])(?P<star>[^*\n]{1,200}?)(?<=[^\s*])\*(?![\w*])"
    r"|`(?P<tick>[^`\n]{1,200})`"
    r"|(?<![\w\\}])_(?=[^\s_])(?P<line>[^_\n]{1,80}?)(?<=[^\s_])_(?![\w{])"
)
_WRAPPER = re.compile(
    r"\\(?P<name>boxed|fbox|framebox|text|textbf|textit|textrm|textsf|texttt|emph|mathbf|mathrm|mathit|mathsf|mathtt|bm"
    r"|boldsymbol|mbox)[ ]?\{"
)
_HTML = re.compile(
    r"</?(?:[biup]|(?i:strong|em|span|div|code|mark|center|h[1-6]|ul|ol|li|details"
    r"|summary))(?:[ ][^<>\n]{0,80})?/?>"
)
_STRUCK = re.compile(r"~~(?=\S)[^~\n]{1,200}?~~")
_MARKS = re.compile(f"[{TICK}{CROSS}]")
_BOX_NAMES = frozenset({"boxed", "fbox", "framebox"})
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stripped:
    """A text without its markup. `removed` holds the spans (of the text before) that were taken out."""

    text: str
    removed: Sequence[Span]
    bold: list[Span]
    boxes: list[Span]
    ticks: Sequence[tuple[int, bool]] = ()
    """Where ticks (True) and crosses (False) stood."""

    def before(self, index: int) -> int:
        """The offset in the text before of a character of the stripped text."""
        for start, end in self.removed:
            if start > index:
                break
            index += end - start
        return index


def strip(text: str, is_math: bool) -> Stripped:
    """The text without markup (LaTeX wrappers stay in mathematics)."""
    bold_marks = list(_BOLD.finditer(text)) if "**" in text or "__" in text else []
    marks = bold_marks + (list(_ITALIC.finditer(text)) if "*" in text or "`" in text or "_" in text else [])
    removed: list[Span] = []
    for mark in marks:
        first, last = mark.span(mark.lastgroup or 0)
        removed += [(mark.start(), first), (last, mark.end())]
    removed += [
        mark.span() for pattern, sign in ((_HTML, "<"), (_STRUCK, "~~")) if sign in text for mark in pattern.finditer(text)
    ]
    ticks = [] if text.isascii() else list(_MARKS.finditer(text))
    removed += [tick.span() for tick in ticks]
    boxes: list[Span] = []
    if not is_math and "\\" in text:
        wrappers, boxes = _wrappers(text)
        removed += wrappers
    if not removed:
        return Stripped(text, (), [], [])
    removed = _disjoint(removed)
    kept, end = [], 0
    for start, stop in removed:
        kept.append(text[end:start])
        end = stop
    kept.append(text[end:])
    bold = [mark.span(mark.lastgroup or 0) for mark in bold_marks]
    places = _shifted([tick.span() for tick in ticks], removed)
    marked = [(place[0], tick.group() == TICK) for place, tick in zip(places, ticks, strict=True)]
    return Stripped("".join(kept), removed, _shifted(bold, removed), _shifted(boxes, removed), marked)


def closing_braces(text: str, start: int, end: int) -> dict[int, int]:
    """Offset of each opening brace -> offset of the brace that closes it. Escaped braces are text."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for brace in _BRACE.finditer(text, start, end):
        if brace.group() == "{":
            opened.append(brace.start())
        elif brace.group() == "}" and opened:
            closing[opened.pop()] = brace.start()
    return closing


def _wrappers(text: str) -> tuple[list[Span], list[Span]]:
    """(spans of the commands and their braces, contents of the boxes); a wrapper that never closes stays."""
    found = list(_WRAPPER.finditer(text))
    closing = closing_braces(text, 0, len(text)) if found else {}
    removed: list[Span] = []
    boxes: list[Span] = []
    for wrapper in found:
        close = closing.get(wrapper.end() - 1)
        if close is None:
            continue
        removed += [wrapper.span(), (close, close + 1)]
        if wrapper.group("name") in _BOX_NAMES:
            boxes.append((wrapper.end(), close))
    return removed, boxes


def _disjoint(spans: list[Span]) -> list[Span]:
    """Sorted spans with overlaps merged."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _shifted(spans: list[Span], removed: list[Span]) -> list[Span]:
    """Spans of the text before, in offsets of the stripped text."""
    starts = [start for start, _ in removed]
    lengths = [0]
    for start, end in removed:
        lengths.append(lengths[-1] + end - start)

    def shift(index: int) -> int:
        position = bisect_left(starts, index)
        inside = position and removed[position - 1][1] > index
        return (removed[position - 1][0] if inside else index) - lengths[position - 1 if inside else position]

    return [(shift(first), shift(last)) for first, last in spans]
