"""Patterns that are searched only where they can match: in lines that hold one of a few words.

A pattern of many alternatives is tried at every character of a reply, which takes most of the time of a verdict; finding a word
does not. A test holds every pattern's words against the whole corpus, with and without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

TAIL = 120
"""How far a match may go on behind the line it begins in."""


class Gated:
    """A pattern every match of which begins in a line that holds one of `words` (in lower case)."""

    def __init__(self, words: tuple[str, ...], pattern: str, flags: int = re.IGNORECASE) -> None:
        self.words = words
        self.pattern = re.compile(pattern, flags)

    def finditer(self, text: str, start: int, end: int) -> Iterator[re.Match[str]]:
        """As of the pattern."""
        behind = start
        for first, last in _lines(text, start, end, self.words):
            for found in self.pattern.finditer(text, max(first, behind), min(end, last + TAIL)):
                if found.start() > last:
                    break
                yield found
                behind = max(found.end(), found.start() + 1)

    def search(self, text: str) -> re.Match[str] | None:
        """As of the pattern, in a short text."""
        lower = text.lower()
        return self.pattern.search(text) if any(word in lower for word in self.words) else None


@lru_cache(maxsize=8)
def _lower(text: str) -> str:
    return text.lower()


def _lines(text: str, start: int, end: int, words: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Spans of the lines of text[start:end] that hold a word."""
    lower = _lower(text)
    if len(lower) != len(text):  # a few letters of other scripts have a longer lower case
        yield start, end
        return
    behind = start
    for place in sorted({place for word in words for place in _places(lower, word, start, end)}):
        if place >= behind:
            line_end = text.find("\n", place, end)
            last = end if line_end < 0 else line_end
            yield text.rfind("\n", start, place) + 1 or start, last
            behind = last + 1


def _places(lower: str, word: str, start: int, end: int) -> Iterator[int]:
    """Where a word first stands in each line that holds it."""
    place = lower.find(word, start, end)
    while place >= 0:
        yield place
        line_end = lower.find("\n", place, end)
        place = lower.find(word, line_end, end) if line_end >= 0 else -1
