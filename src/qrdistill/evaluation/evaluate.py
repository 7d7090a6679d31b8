"""The evaluation stage: greedy answers of every student to the test questions, before and after training, and their scores.

Raw text is saved as it is produced; grading is a pure function of it and can be redone (`regrade`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from qrdistill.config import content_hash
from qrdistill.evaluation.answers import Arm, answer_questions, graded
from qrdistill.evaluation.score import score_predictions
from qrdistill.progress import SILENT, Progress
from qrdistill.store import Run, export_records
from qrdistill.tasks import load_tasks
from qrdistill.tasks.verify import GRADER_VERSION
from qrdistill.types import Prediction, Question, Score


def evaluate(run: Run, *, progress: Progress | None = None) -> list[Score]:
    """Decode, grade and score every student on the test questions; resumes, and does nothing when it is done.

    Args:
        run: a run whose train stage is done.
        progress: told what is going on.

    Returns:
        Scores per arm, student (and the team's vote and oracle) and task.

    Raises:
        UsageError: the train stage is not done.
    """
    progress = progress or SILENT
    with run.owned():
        run.require("train")
        if run.is_done("evaluate"):
            return run.ledger.all(Score)
        run.begin("evaluate")
        arms: list[Arm] = ["zero_shot", "trained"] if run.config.evaluation.is_zero_shot else ["trained"]
        wanted = set(_answers(run, arms, progress))
        stale = sorted(id for (id,) in run.ledger.execute("SELECT id FROM predictions") if id not in wanted)
        with run.ledger.transaction():
            for id in stale:
                run.ledger.delete(Prediction, "id = ?", (id,))
        regrade(run)
        return _finish(run)


def answer_zero_shot(run: Run, *, progress: Progress | None = None) -> list[Prediction]:
    """The students' answers before training (needs only the generate stage); `evaluate` finds them later.

    Raises:
        UsageError: the generate stage is not done.
    """
    return _answer_arm(run, "zero_shot", progress or SILENT)


def answer_trained(run: Run, *, progress: Progress | None = None) -> list[Prediction]:
    """The trained students' answers; `evaluate` finds them later.

    Raises:
        UsageError: the train stage is not done.
    """
    return _answer_arm(run, "trained", progress or SILENT)


def _answer_arm(run: Run, arm: Arm, progress: Progress) -> list[Prediction]:
    with run.owned():
        run.require("generate" if arm == "zero_shot" else "train")
        ids = set(_answers(run, [arm], progress))
        return [prediction for prediction in _predictions(run) if prediction.id in ids]


def _answers(run: Run, arms: Sequence[Arm], progress: Progress) -> list[str]:
    return answer_questions(run, arms, _test_questions(run), load_tasks(run.config), progress=progress)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """An answer whose verdict changed when it was graded again, with what was read as its final answer then and now."""

    question_id: str
    student: str
    arm: str
    before: str
    after: str
    read_before: str = ""
    read_after: str = ""


def regrade(run: Run) -> list[Flip]:
    """Grade the saved answers again where the grader has changed since; nothing is decoded.

    Where the evaluation was done, scores and exports are written anew.

    Returns:
        Every answer whose verdict flipped.
    """
    with run.owned():
        tasks = load_tasks(run.config)
        questions = {question.id: question for question in _test_questions(run)}
        changed: list[tuple[Prediction, Prediction]] = []
        for old in _predictions(run):
            if old.grader_version != GRADER_VERSION and old.question_id in questions:
                question = questions[old.question_id]
                changed.append((old, graded(old, question, tasks[question.task])))
        is_done = run.is_done("evaluate")
        with run.ledger.transaction():
            if changed and is_done:  # who is killed between here and the end finds the stage undone, not old scores
                run.ledger.forget("stage/evaluate")
            run.ledger.add(new for _, new in changed)
        if changed and is_done:
            _finish(run)
        return [_flip(old, new) for old, new in changed if old.verdict != new.verdict]


def _flip(old: Prediction, new: Prediction) -> Flip:
    return Flip(
        question_id=old.question_id,
        student=old.student,
        arm=old.arm,
        before=old.verdict,
        after=new.verdict,
        read_before=old.extracted,
        read_after=new.extracted,
    )


def _finish(run: Run) -> list[Score]:
    """Score the answers in the ledger, export, and mark the stage as done."""
    predictions = _predictions(run)
    questions = {question.id: question for question in _test_questions(run)}
    scores = score_predictions(predictions, questions, [student.name for student in run.config.students])
    with run.ledger.transaction():
        run.ledger.delete(Score)
        run.ledger.add(scores)
    scores = run.ledger.all(Score)
    export_records(run.exports, "predictions", predictions)
    export_records(run.exports, "scores", scores)
    summary = {"num_answers": len(predictions), "accuracy": _headline(scores)}
    left = [[dataclasses.asdict(record) for record in records] for records in (predictions, scores)]
    run.finish("evaluate", summary, digest=content_hash(left))
    return scores


def _predictions(run: Run) -> list[Prediction]:
    return run.ledger.all(Prediction, order="student, arm DESC, question_id, id")


def _test_questions(run: Run) -> list[Question]:
    return run.ledger.all(Question, "split = 'test'", order="id")


def _headline(scores: Iterable[Score]) -> dict[str, float]:
    return {f"{score.student}/{score.arm}": round(score.accuracy, 4) for score in scores if score.task == "all"}
