"""The text an answer is read from: hidden thinking, markup and run-on turns out of the way, every offset kept.

A response is turned into a *view*: the same text with look-alike characters made plain (full-width and Arabic-Indic digits,
Unicode minus, curly quotes, no-break spaces) and with everything that is not the reply proper blanked out by spaces. Each
character of the view knows where it came from, so a span found in the view is a span of the raw response.

Rules:

* Thinking is not an answer. `<think>...</think>` and its relatives are blanked; a block that never closes hides the rest; a
  closing tag without an opening one hides what precedes it (chat templates often put the opening tag into the prompt).
* Only the last :data:`MAX_CHARS` characters are read; a final answer is at the end.
* Emoji are blanked, except ticks and crosses, which may mark an option.
* A response ends where the model starts to play the next turn; see :mod:`qrdistill.tasks.extract.turns`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MAX_CHARS = 40_000
"""Longest tail of a response that is read; bounds the work on hostile input."""

_THINK_OPEN = re.compile(
    r"<(?:think(?:ing)?|thought|reasoning|reflection|scratchpad|analysis)>|\[THINK\]|<\|begin_of_thought\|>"
    r"|<\|channel\|>(?:analysis|commentary)(?:<\|message\|>)?|<unused94>thought",
    re.IGNORECASE,
)
_THINK_CLOSE = re.compile(
    r"</(?:think(?:ing)?|thought|reasoning|reflection|scratchpad|analysis)>|\[/THINK\]|<\|end_of_thought\|>"
    r"|<\|channel\|>final(?:<\|message\|>)?|<unused95>",
    re.IGNORECASE,
)
_LINE_BREAK = re.compile(r"<br[ ]?/?>", re.IGNORECASE)
_SMILEY = re.compile(r"(?<![^\s.!])[:;]-?[)(D](?![^\s])")
_CALCULATOR = re.compile(r"<<[^<>\n]{0,80}>>")


@dataclass(frozen=True, slots=True)
class View:
    """Plain text with the raw offset of every character (`origin[i]`; empty when they are equal)."""

    text: str
    origin: Sequence[int]
    shift: int
    """Raw offset of the first character that was kept."""

    def raw_span(self, start: int, end: int) -> tuple[int, int]:
        """Raw offsets of view[start:end]."""
        if self.origin:
            first = self.origin[start] if start < len(self.origin) else self.origin[-1] + 1
            return first + self.shift, self.origin[end - 1] + 1 + self.shift if end > start else first + self.shift
        return start + self.shift, end + self.shift


def view(response: str) -> View:
    """The view of a response (see the module's rules)."""
    kept, shift = response, 0
    if len(response) > MAX_CHARS:
        if "think" in response.lower() or "<|channel|>" in response:
            kept = _hide_thinking(response)
        shift = len(response) - MAX_CHARS
        kept = kept[shift:]
    if "\r" in kept or "\t" in kept:
        kept = kept.replace("\r\n", " \n").replace("\r", "\n").replace("\t", " ")
    origin: Sequence[int] = ()
    if not kept.isascii():
        kept, origin = _plain(kept)
    if "<" in kept or "[" in kept:
        kept = _hide_thinking(kept)
        if "<<" in kept:
            kept = _CALCULATOR.sub(lambda found: " " * len(found.group()), kept)
        kept = _LINE_BREAK.sub(lambda found: "\n".ljust(len(found.group())), kept)
    if ":" in kept or ";" in kept:
        kept = _SMILEY.sub(lambda found: " " * len(found.group()), kept)
    return View(kept, origin, shift)


def blank(text: str, start: int, end: int) -> str:
    """The text with [start, end) replaced by spaces (newlines stay)."""
    hidden = "".join("\n" if char == "\n" else " " for char in text[start:end])
    return text[:start] + hidden + text[end:]


def _hide_thinking(text: str) -> str:
    """Blank thinking blocks. Work is linear: each pass moves behind the block it has hidden."""
    opened = _THINK_OPEN.search(text)
    closed = _THINK_CLOSE.search(text)
    if closed and (opened is None or closed.start() < opened.start()):
        text = blank(text, 0, closed.end())
        opened = _THINK_OPEN.search(text, closed.end())
    while opened:
        closed = _THINK_CLOSE.search(text, opened.end())
        end = closed.end() if closed else len(text)
        text = blank(text, opened.start(), end)
        opened = _THINK_OPEN.search(text, end)
    return text


_MADE_PLAIN = {
    "\u2212": "-",  # minus sign
    "\ufe63": "-",
    "\uff0d": "-",
    "\u2010": "-",
    "\u2011": "-",
    "\u00a0": " ",
    "\u2009": " ",
    "\u202f": " ",
    "\u2007": " ",
    "\u2008": " ",
    "\u2003": " ",
    "\u2002": " ",
    "\u3000": " ",
    "\u2018": "'",
    "\u2019": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u00ab": '"',
    "\u00bb": '"',
    "\u2044": "/",
    "\u2215": "/",
    "\u066b": ".",  # Arabic decimal separator
    "\u066c": ",",
    "\u066a": "%",
    "\u3002": ".",
    "\uff0c": ",",
    "\u3001": ",",
    "\u3010": "[",  # lenticular brackets
    "\u3011": "]",
    "\u300c": '"',
    "\u300d": '"',
    "\u2028": "\n",
    "\u2029": "\n",
    "\u0085": "\n",
}
_REMOVED = frozenset(
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0f\u200e\u200f\u2061\u2062\u2063\u20e3\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
)
TICK, CROSS = "\u2713", "\u2717"
_MADE_PLAIN |= dict.fromkeys("\u2705\u2714\u2611\U0001f5f8", TICK) | dict.fromkeys("\u274c\u2718\u2716\u274e", CROSS)
_MADE_PLAIN |= dict.fromkeys(
    map(chr, [0x27F9, 0x27F6, 0x21D2, 0x2794, *range(0x2798, 0x27B0), *range(0x27B1, 0x27BF), 0x27F6]), "\u2192"
)
_KEPT_SYMBOLS = frozenset("\u00b0\u2713\u2717\u00a9\u00ae")


@lru_cache(maxsize=4096)
def _plain_char(char: str) -> str:
    """One character made plain: "" drops it. Super- and subscripts keep their meaning, so they stay."""
    if char in _REMOVED:
        return ""
    if char in _MADE_PLAIN:
        return _MADE_PLAIN[char]
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.digit(char))
    decomposition = unicodedata.decomposition(char)
    if decomposition.startswith(("<wide>", "<font>", "<circle>", "<narrow>")):
        folded = unicodedata.normalize("NFKC", char)
        return folded if len(folded) == 1 else char
    is_picture = unicodedata.category(char) == "So" and not decomposition and char not in _KEPT_SYMBOLS
    return " " if is_picture else char


def _plain(text: str) -> tuple[str, list[int]]:
    chars: list[str] = []
    origin: list[int] = []
    for index, char in enumerate(text):
        plain = char if char < "\x80" else _plain_char(char)
        if plain:
            chars.append(plain)
            origin.append(index)
    return "".join(chars), origin
