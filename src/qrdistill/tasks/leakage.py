"""Leaks: training questions, and passages of reasoning paths, that give a test question away.

A question leaks a test question when

- its words (and options, in any order) are the same but for case, white space, punctuation and Unicode form ("the same"), or
- it repeats the test question's words in runs of `n` or more, has its numbers and its answer ("nearly the same").

A path leaks a test question when it repeats that question's words in runs of `n` or more where its own question does not.

Runs that many test questions share are a template ("What is the date tomorrow in MM/DD/YYYY?") and prove nothing: what counts is
the share of a test question's *own* words that is covered by repeated runs, which must reach `coverage`. So a reworded word, a
sentence in front or behind, or shuffled options do not hide a leak, and two questions of one family are not taken for one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qrdistill.types import Question

RUN_WORDS = 5
COVERAGE = 0.7
TEMPLATE_SHARE, TEMPLATE_MIN = 0.02, 3
"""A run that more than this share of the test questions holds (and more than so many) belongs to a template."""

_WORD = re.compile(r"\d+(?:[.,:/]\d+)*|[^\W\d_]+|[-+*/=<>^%]")
Gram = tuple[str, ...]


def words(text: str) -> Gram:
    r"""Words, numbers and operators of a text, in one spelling.

    >>> words("What is 1,200 * 3\u2026 TODAY?")
    ('what', 'is', '1,200', '*', '3', 'today')
    """
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


@dataclass(frozen=True, slots=True)
class Leak:
    """Which test question is given away, and how."""

    question_id: str
    how: str


@dataclass(frozen=True, slots=True)
class _Test:
    id: str
    words: Gram
    grams: tuple[Gram, ...]
    """The run that begins at each word, as far as one fits (a question shorter than a run is one run)."""
    own: frozenset[int]
    """Positions of the words that are not only part of a template."""
    numbers: Counter[str]
    answer: Gram


class LeakIndex:
    """Every test question, ready to be looked for.

    Args:
        tests: the test questions.
        run_words: shortest run of words that counts as repeated.
        coverage: share of a test question's own words that must be repeated.
    """

    def __init__(self, tests: Iterable[Question], *, run_words: int = RUN_WORDS, coverage: float = COVERAGE) -> None:
        self._run, self._coverage = run_words, coverage
        listed = list(tests)
        texts = [words(question.text) for question in listed]
        frequency = Counter(gram for text in texts for gram in set(self._grams(text)))
        limit = max(TEMPLATE_MIN, TEMPLATE_SHARE * len(listed))
        self._same: dict[tuple[Gram, ...], str] = {}
        self._tests: list[_Test] = []
        self._by_gram: dict[Gram, list[int]] = defaultdict(list)
        for question, text in zip(listed, texts, strict=True):
            self._same.setdefault(_key(question), question.id)
            grams = self._grams(text)
            rare = {gram for gram in grams if frequency[gram] <= limit}
            own = _covered(grams, rare) or frozenset(range(len(text)))
            self._tests.append(_Test(question.id, text, grams, own, _numbers(text), words(_answer(question))))
            for gram in rare or set(grams):
                self._by_gram[gram].append(len(self._tests) - 1)
        self._sizes = sorted({len(gram) for gram in self._by_gram})

    def question(self, question: Question) -> Leak | None:
        """The test question a training question gives away, if any."""
        if same := self._same.get(_key(question)):
            return Leak(same, "the question is the same as the test question")
        text = words(question.text)
        grams, numbers, answer = self._runs(text), _numbers(text), words(_answer(question))
        for test in self._candidates(grams):
            is_near = test.answer == answer and test.numbers <= numbers
            if is_near and self._share(_covered(test.grams, grams), test.own) >= self._coverage:
                return Leak(test.id, "the question is nearly the same as the test question")
        return None

    def path(self, question: Question, text: str) -> Leak | None:
        """The test question that the text of a path gives away where its own question does not, if any."""
        grams = self._runs(words(text))
        asked = self._runs(words(question.text))
        for test in self._candidates(grams):
            known = _covered(test.grams, asked)
            new = test.own - known
            found = _covered(test.grams, grams)
            is_whole = len(found) == len(test.words) > len(known)
            if is_whole or (len(new) >= self._run and self._share(found, new) >= self._coverage):
                return Leak(test.id, "the path repeats the test question")
        return None

    def _grams(self, text: Gram) -> tuple[Gram, ...]:
        if len(text) < self._run:
            return (text,) if len(text) >= 3 else ()
        return tuple(text[start : start + self._run] for start in range(len(text) - self._run + 1))

    def _runs(self, text: Gram) -> set[Gram]:
        return {text[start : start + size] for size in self._sizes for start in range(len(text) - size + 1)}

    def _candidates(self, grams: set[Gram]) -> list[_Test]:
        found = {index for gram in grams if gram in self._by_gram for index in self._by_gram[gram]}
        return [self._tests[index] for index in sorted(found)]

    @staticmethod
    def _share(covered: frozenset[int], wanted: frozenset[int]) -> float:
        return len(covered & wanted) / len(wanted) if wanted else 0.0


def _covered(grams: Sequence[Gram], known: set[Gram]) -> frozenset[int]:
    """Positions of a text that a known run covers."""
    return frozenset(place for start, gram in enumerate(grams) if gram in known for place in range(start, start + len(gram)))


def _key(question: Question) -> tuple[Gram, ...]:
    """What makes two questions the same; where a text has no words (other scripts do), its characters."""
    text = words(question.text) or tuple(unicodedata.normalize("NFKC", question.text).split())
    return (text, *sorted(words(option) for _, option in question.choices))


def _answer(question: Question) -> str:
    return dict(question.choices).get(question.gold, question.gold)


def _numbers(text: Gram) -> Counter[str]:
    return Counter(word for word in text if word[0].isdigit())
