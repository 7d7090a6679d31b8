"""Which questions deserve another sample: those that no teacher has answered rightly yet."""

from __future__ import annotations

from collections.abc import Mapping

from qrdistill.store import Ledger
from qrdistill.tasks.base import Task
from qrdistill.types import Question, ReasoningPath


def without_right_answer(
    ledger: Ledger, tasks: Mapping[str, Task], questions: Mapping[str, Question], *, before_sample: int
) -> list[Question]:
    """Questions none of whose paths is whole and ends in the right answer.

    Args:
        ledger: holds the paths.
        tasks: grade them.
        questions: by id; the result keeps their order.
        before_sample: look at samples with a lower number only, so that a resumed stage comes to the same result.
    """
    right: set[str] = set()
    for path in ledger.iterate(ReasoningPath, "state = 'done' AND sample < ?", (before_sample,), order="question_id, id"):
        question = questions.get(path.question_id)
        if question is None or question.id in right:
            continue
        if tasks[question.task].grade(question, path.text).verdict == "match":
            right.add(question.id)
    return [question for question in questions.values() if question.id not in right]
