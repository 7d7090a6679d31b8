"""The final-answer check of every path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qrdistill.tasks.base import Task
from qrdistill.tasks.verify import GRADER_VERSION
from qrdistill.types import AnswerVerdict, Question, ReasoningPath


def check_answer(task: Task, question: Question, path: ReasoningPath) -> AnswerVerdict:
    """Grade the answer a path states."""
    grade = task.grade(question, path.text)
    return AnswerVerdict(
        path_id=path.id,
        verdict=grade.verdict,
        extracted=grade.extracted,
        start=grade.start,
        end=grade.end,
        reason=grade.reason,
        is_strict=grade.is_strict,
        grader_version=GRADER_VERSION,
    )


def check_answers(
    tasks: Mapping[str, Task], questions: Mapping[str, Question], paths: Iterable[ReasoningPath]
) -> list[AnswerVerdict]:
    """Grade every path that is done."""
    return [
        check_answer(tasks[questions[path.question_id].task], questions[path.question_id], path)
        for path in paths
        if path.state == "done"
    ]
