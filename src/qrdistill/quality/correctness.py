"""The final-answer check of every path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qrdistill.progress import SILENT, Progress
from qrdistill.quality.judge import Work
from qrdistill.tasks.base import Task
from qrdistill.tasks.verify import GRADER_VERSION
from qrdistill.teacher.streams import asked
from qrdistill.types import AnswerVerdict, Question, ReasoningPath, Verdict


def check_answer(task: Task, question: Question, path: ReasoningPath) -> AnswerVerdict:
    """Grade the answer a path states, for the question it answers (a stream may bring its own)."""
    what = asked(question, path, "")
    if what.problem or not what.has_answer:
        verdict: Verdict = "unparsed" if what.problem else "match"
        reason = what.problem or "states no answer, and is not meant to"
        return AnswerVerdict(path_id=path.id, verdict=verdict, reason=reason, grader_version=GRADER_VERSION)
    grade = task.grade(what.question, what.path.text)
    return AnswerVerdict(
        path_id=path.id,
        verdict=grade.verdict,
        extracted=grade.extracted,
        start=grade.start + what.offset if grade.start >= 0 else -1,
        end=grade.end + what.offset if grade.end >= 0 else -1,
        reason=grade.reason,
        is_strict=grade.is_strict,
        grader_version=GRADER_VERSION,
    )


def check_answers(
    tasks: Mapping[str, Task],
    questions: Mapping[str, Question],
    paths: Sequence[ReasoningPath],
    progress: Progress = SILENT,
    *,
    num_workers: int = 0,
) -> dict[str, AnswerVerdict]:
    """Grade every path that is done; verdicts by path id. With `num_workers`, Ray actors do it; the verdicts are the same."""
    verdicts: dict[str, AnswerVerdict] = {}
    work = [(questions[path.question_id], path) for path in paths if path.state == "done"]
    progress.start(len(work), "checking answers")
    try:
        for found in _graded(tasks, work, num_workers):
            verdicts.update((verdict.path_id, verdict) for verdict in found)
            progress.advance(len(found))
    finally:
        progress.stop()
    return verdicts


def _graded(tasks: Mapping[str, Task], work: Sequence[Work], num_workers: int) -> Iterable[Sequence[AnswerVerdict]]:
    if num_workers and work:
        from qrdistill.quality.ray_grading import grade_all

        return grade_all(check_answer, tasks, work, num_workers=num_workers)
    return ([check_answer(tasks[question.task], question, path)] for question, path in work)
