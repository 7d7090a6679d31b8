"""Text from models and data sets, made safe to look at.

Everything shown in a report or a terminal passes `visible`: characters that a reader cannot see but that change what is shown
(terminal escapes, bidirectional overrides, NUL, line separators, lone surrogates) become a readable name such as ⟨U+202E⟩.
"""

from __future__ import annotations

import re
from typing import Literal

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)

Mark = Literal["", "answer", "step"]
"""Why a stretch of a path is marked: the final answer that was read, or the step a judge found false."""


def visible(text: str) -> str:
    r"""Name every character that cannot be seen; line ends become plain newlines.

    >>> visible("a\x1b[31mb\u202ec\r\nd")
    'a⟨U+001B⟩[31mb⟨U+202E⟩c\nd'
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text.replace("\r\n", "\n"))


def as_text(cell: object) -> str:
    """A text cell of the ledger as read by plain SQL (text with lone surrogates is stored as bytes)."""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogatepass")
    return "" if cell is None else str(cell)


def as_cell(text: str) -> str | bytes:
    """A text as the ledger stores it, to be compared in a query: the opposite of `as_text`."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def one_line(text: str, limit: int) -> str:
    r"""The text on one line, cut with an ellipsis after `limit` characters.

    >>> one_line("a  b\nc", 10), one_line("abcdef", 4)
    ('a b c', 'abc…')
    """
    line = " ".join(visible(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def marked(text: str, *, answer: tuple[int, int] = (-1, -1), step: str = "") -> list[tuple[str, Mark]]:
    """Cut a path's text into stretches, marking the span the answer was read from and the step a judge quoted.

    The stretches, joined, are the raw text; pass each through `visible` when showing it. Where both marks meet, the step wins.

    >>> marked("1+1=3. So 3", answer=(10, 11), step="1+1=3")
    [('1+1=3', 'step'), ('. So ', ''), ('3', 'answer')]
    """
    found = text.find(step) if step else -1
    start, end = answer
    if found >= 0 and start < found + len(step) and found < end:
        start, end = -1, -1
    spans: list[tuple[int, int, Mark]] = []
    if 0 <= start < end <= len(text):
        spans.append((start, end, "answer"))
    if found >= 0:
        spans.append((found, found + len(step), "step"))
    pieces: list[tuple[str, Mark]] = []
    position = 0
    for first, last, mark in sorted(spans):
        pieces += [(text[position:first], ""), (text[first:last], mark)]
        position = last
    pieces.append((text[position:], ""))
    return [(piece, mark) for piece, mark in pieces if piece]
