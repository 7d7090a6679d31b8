"""What a team is worth beyond its members: vote, oracle, agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from qrdistill.types import Prediction


def vote(answers: Sequence[Prediction]) -> Prediction:
    """The prediction the team stands by for one question: the commonest stated answer.

    Answers are compared as the grader read them, without case; students that stated none do not vote. A tie goes to an answer
    that was stated in the asked-for form and not cut off, then to the student that stands first in the recipe: nothing about
    the test's gold answers enters. Two students that disagree in equally good form therefore give the first one's answer.

    Args:
        answers: one prediction per student, in the recipe's order.
    """
    stated = [answer for answer in answers if answer.extracted]
    if not stated:
        return answers[0]
    counts = Counter(answer.extracted.strip().casefold() for answer in stated)
    return max(
        stated, key=lambda answer: (counts[answer.extracted.strip().casefold()], answer.is_strict, answer.finish == "stop")
    )


def oracle(answers: Sequence[Prediction]) -> bool:
    """Whether any student is right (the ceiling of any choice between them)."""
    return any(answer.verdict == "match" for answer in answers)


def agreement(rows: Sequence[Sequence[Prediction]]) -> list[list[float]]:
    """Share of questions on which students s and t are both right or both wrong, for each pair [S][S].

    Args:
        rows: per question one prediction per student, in the same order.
    """
    num_students = len(rows[0])
    right = [[answer.verdict == "match" for answer in row] for row in rows]
    return [[sum(row[s] == row[t] for row in right) / len(right) for t in range(num_students)] for s in range(num_students)]
