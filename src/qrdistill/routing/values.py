"""Which characters of a path carry values its answer depends on.

A path is only as good as the values in it that had to be worked out. Numbers copied from the question are given; a number that
is never used again (a branch that is dropped) does not determine the answer. What is left, and the final answer itself, are the
answer-determining spans (METHOD section 4, utility `value`).
"""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def answer_determining_spans(question: str, path: str, answer_start: int, answer_end: int) -> tuple[tuple[int, int], ...]:
    """Character spans of `path` that hold derived numbers used later, and the final answer.

    Args:
        question: the question's text; numbers in it are givens.
        path: the path's text.
        answer_start: start of the final answer as the grader read it (-1: none).
        answer_end: its end.

    >>> path = "2 spiders: 2 * 8 = 16. 16 + 4 = 20. The answer is 20."
    >>> [path[a:b] for a, b in answer_determining_spans("How many legs do 2 spiders and 4 ...", path, 50, 52)]
    ['16', '20', '20']
    """
    givens = set(_NUMBER.findall(question))
    numbers = [(match.start(), match.end(), match.group()) for match in _NUMBER.finditer(path)]
    last_use = {text: start for start, _, text in numbers}
    seen: set[str] = set()
    spans = []
    for start, end, text in numbers:
        is_answer = start < answer_end and end > answer_start
        is_first = text not in seen
        seen.add(text)
        if not is_answer and text not in givens and is_first and last_use[text] > start:
            spans.append((start, end))
    if answer_start >= 0:
        spans.append((answer_start, answer_end))
    return tuple(spans)
