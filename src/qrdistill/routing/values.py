"""Which characters of a path carry values its answer depends on.

A path is only as good as the values in it that had to be worked out. Numbers of the question are given, and a repeated number is
a copy; what counts is the first place of each new number. A branch that is dropped does not determine the answer: counting starts
from the statement that holds the answer and goes on to every statement that shares a new number with one already reached
(METHOD section 4, utility `value`).
"""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_STATEMENT = re.compile(r"[^;\n.]+(?:\.(?!\s|$)[^;\n.]*)*")


def answer_determining_spans(question: str, path: str, answer_start: int, answer_end: int) -> tuple[tuple[int, int], ...]:
    """Character spans of `path` that hold the first occurrence of each derived number the answer depends on.

    An answer that is not stated before its final place (a letter, or a number nobody worked out in the text) counts there.

    Args:
        question: the question's text; numbers in it are givens.
        path: the path's text.
        answer_start: start of the final answer as the grader read it (-1: none).
        answer_end: its end.

    >>> path = "2 spiders: 2 * 8 = 16. 16 + 4 = 20. The answer is 20."
    >>> [path[a:b] for a, b in answer_determining_spans("How many legs do 2 spiders and 4 ...", path, 50, 52)]
    ['8', '16', '20']
    """
    if answer_start < 0:
        return ()
    givens = set(_NUMBER.findall(question))
    first: dict[str, tuple[int, int]] = {}
    statements: list[set[str]] = []
    answer_statement: set[str] = set()
    for statement in _STATEMENT.finditer(path):
        new = set()
        for match in _NUMBER.finditer(path, statement.start(), statement.end()):
            if match.group() not in givens:
                first.setdefault(match.group(), match.span())
                new.add(match.group())
        statements.append(new)
        if statement.start() <= answer_start < statement.end():
            answer_statement = new
    reached = set(answer_statement)
    while grown := {number for new in statements if new & reached for number in new} - reached:
        reached |= grown
    spans = sorted(first[number] for number in reached)
    is_stated_before = any(start < answer_end and _NUMBER.search(path, answer_start, answer_end) for start, _ in spans)
    return tuple(spans) if is_stated_before else (*spans, (answer_start, answer_end))
