"""The final-answer check of every path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qrdistill.progress import SILENT, Progress
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
    tasks: Mapping[str, Task],
    questions: Mapping[str, Question],
    paths: Sequence[ReasoningPath],
    progress: Progress = SILENT,
) -> dict[str, AnswerVerdict]:
    """Grade every path that is done; verdicts by path id."""
    verdicts: dict[str, AnswerVerdict] = {}
    progress.start(len(paths), "checking answers")
    try:
        for path in paths:
            question = questions[path.question_id]
            if path.state == "done":
                verdicts[path.id] = check_answer(tasks[question.task], question, path)
            progress.advance(1)
    finally:
        progress.stop()
    return verdicts
