"""The options of a choice question and how their labels and texts are recognised."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from qrdistill.tasks.compare.quantity import equal, parse_quantity

CONNECTIVE = (
    r"(?:because|depending|remains?|since|as|which|due|given|based|according|so|where|while|whereas|rather|instead|but|if|with|for|in|on|from|here|that|who|not|by|than|also|would|"
    r"is|was|being|and|or|to|most|likely|probably|clearly|definitely|obviously|certainly|right|correct|best|at|after|again|indeed|over|when|therefore|thus|hence|although|though|it|this|these|they|he|she|we|you|i|the)"
)
"""Words that may follow an answer without making it a different phrase ("B because", "Paris, which")."""

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?|[$€£%^=<>+/°√*×÷]|-(?=[\d.$]|\s\d)")
_SUBSCRIPTS = str.maketrans("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789")
_ARTICLES = frozenset({"a", "an", "the"})
_CLOSERS = r"[\s\"'*`>)\]}$\\]*"
_AFTER_TEXT = re.compile(rf"{_CLOSERS}(?:$|[.,;:!?()\n\u2014\u2013-]|\\[)\]]|{CONNECTIVE}\b)", re.IGNORECASE)
_GOES_ON = re.compile(r"[ ]?[-\u2013+*/\u00d7\u00f7^][ ]?[$(]?\d")
"""A calculation goes on behind a number: in "18 - 3" no 18 is named."""
_ENDS = re.compile(rf"{_CLOSERS}(?:$|[.,;!)\n])")


class Token(NamedTuple):
    """A comparable piece of text: a word, a number or a sign."""

    text: str
    start: int
    end: int


def tokens(text: str, start: int, end: int, limit: int = sys.maxsize) -> list[Token]:
    """The first pieces of text[start:end] that option texts are compared by; case, punctuation and markup are left out."""
    found: list[Token] = []
    text = text if text.isascii() else text[:start] + text[start:end].translate(_SUBSCRIPTS)
    for piece in _TOKEN.finditer(text, start, end):
        if len(found) == limit:
            break
        word = piece.group().casefold()
        if word[0].isdigit() and "," in word and re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", word):
            word = word.replace(",", "")
        found.append(Token(word, piece.start(), piece.end()))
    return found


@lru_cache(maxsize=64)
def label_pattern(labels: tuple[str, ...]) -> str:
    """A regular expression for any of the labels, letters in either case."""
    spellings = {spelling for label in labels for spelling in (label, label.swapcase() if len(label) == 1 else label)}
    return "(?:" + "|".join(re.escape(spelling) for spelling in sorted(spellings, key=lambda s: (-len(s), s))) + ")"


@lru_cache(maxsize=64)
def _label_regex(labels: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<open>[(\[])?[ ]?(?P<label>{label_pattern(labels)})(?![\w%\u00b0^]|'\w|-\w|\.[A-Za-z](?![a-z])|[.,:/]\d"
        rf"|[ ]?[+*][ ]?\w)(?P<close>[ ]?[)\]])?"
    )


@dataclass(frozen=True, slots=True)
class Options:
    """The (label, text) pairs of a question."""

    labels: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, choices: Sequence[tuple[str, str]]) -> Options:
        """Options from (label, text) pairs."""
        labels = tuple(clean_label(label) for label, _ in choices)
        texts = tuple(text for _, text in choices)
        return cls(labels, tuple(_words(text) for text in texts), texts)

    def canonical(self, spelling: str) -> str:
        """The label as the question spells it."""
        return (
            spelling
            if spelling in self.labels
            else next((label for label in self.labels if label.casefold() == spelling.casefold()), spelling)
        )

    def label_at(self, text: str, at: int, end: int) -> re.Match[str] | None:
        """A label written at `at` as a label: in brackets, before a stop, or before a word that cannot belong to a phrase."""
        found = _label_regex(self.labels).match(text, at, end)
        if found is None:
            return None
        label, stop = found.group("label"), found.end()
        if found.group("close"):
            return found
        equals = re.compile(r"[ ]?=[ ]?").match(text, stop, end)
        if equals:
            equal_text = self.text_at(text, equals.end(), end)
            return found if equal_text and self.labels[equal_text[0]] == self.canonical(label) else None
        if re.match(rf"{_CLOSERS}(?:$|[.,;:!?/|&\n]|\\[)\]]|[ ]?[(\[\u2014\u2013-])", text[stop : min(end, stop + 40)]):
            return found
        follow = re.match(rf"{_CLOSERS}{CONNECTIVE}\b", text[stop : stop + 40])
        if label.lower() in {"a", "i"}:
            follow = follow and re.match(
                rf"{_CLOSERS}(?:because|since|as|which|due|given|based|according|is|and|or|rather|instead)\b",
                text[stop : stop + 40],
            )
            if label.islower():
                follow = None
        own = self.text_at(text, stop, end)
        if follow or (own is not None and self.labels[own[0]] == self.canonical(label) and label.lower() != "a"):
            return found
        return None

    def text_at(self, text: str, at: int, end: int) -> tuple[int, int] | None:
        """(index, end) of the longest option whose whole text is written at `at`; None when two options share it."""
        longest = max(map(len, self.words), default=0)
        pieces = tokens(text, at, min(end, at + 600), longest + 1)  # and an article
        best, best_end, best_length = -1, -1, 0
        for skipped in (0, 1):
            if skipped and not (pieces and pieces[0].text in _ARTICLES):
                break
            rest = pieces[skipped:]
            for index, words in enumerate(self.words):
                size = len(words)
                if size <= best_length or size == 0 or len(rest) < size or rest[size - 1].text != words[-1]:
                    continue
                if all(piece.text == word for piece, word in zip(rest, words, strict=False)) and _AFTER_TEXT.match(
                    text, rest[size - 1].end, end
                ):
                    best, best_end, best_length = index, rest[size - 1].end, size
        if best < 0 or self.words.count(self.words[best]) > 1:
            return None
        if self.words[best][-1][0].isdigit() and _GOES_ON.match(text, best_end, end):
            return None
        return best, best_end

    def number_at(self, text: str, start: int, end: int) -> int | None:
        """The one option whose text is the number that is the whole of text[start:end] ("0.5" for "1/2")."""
        written = text[start:end].strip(" .*`\"'()")
        written = written.strip("$") if written.count("$") > 1 else written.rstrip("$")
        stated = parse_quantity(written) or parse_quantity(re.sub(r"(?<=\d)(?:[ ][A-Za-z]+){1,2}$", "", written))
        if stated is None:
            return None
        options = [parse_quantity(option) for option in self.texts]
        same = [index for index, option in enumerate(options) if option is not None and equal(option, stated)]
        return same[0] if len(same) == 1 else None

    def other_text_follows(self, text: str, at: int, end: int, label: str) -> bool:
        """Whether, right behind a label, the whole text of another option is written as if it were that label's."""
        begin = re.compile(r"[\s\"'*`)\]}.:,(\u2014\u2013-]*").match(text, at, end)
        found = self.text_at(text, begin.end() if begin else at, end)
        return found is not None and self.labels[found[0]] != label and bool(_ENDS.match(text, found[1], end))


def clean_label(label: str) -> str:
    """A label without the brackets or stop some datasets put around it."""
    return label.strip().strip("()[].: ")


def _words(text: str) -> tuple[str, ...]:
    words = tuple(token.text for token in tokens(text, 0, len(text)))
    return words[1:] if len(words) > 1 and words[0] in _ARTICLES else words
