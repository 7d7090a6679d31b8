"""From graded predictions to scores with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from qrdistill.evaluation.stats import wilson
from qrdistill.evaluation.team import oracle, vote
from qrdistill.types import Prediction, Question, Score


def score_predictions(
    predictions: Sequence[Prediction], questions: Mapping[str, Question], students: Sequence[str]
) -> list[Score]:
    """Scores per arm, per student (and "vote", "oracle" for a team), per task and over all tasks ("all").

    A prediction whose check timed out is not counted as right, and neither as wrong: it is left out of n.
    """
    grouped: dict[tuple[str, str], dict[str, Prediction]] = defaultdict(dict)
    for prediction in predictions:
        grouped[prediction.arm, prediction.student][prediction.question_id] = prediction
    scores: list[Score] = []
    for arm in sorted({prediction.arm for prediction in predictions}, reverse=True):
        columns = {student: grouped[arm, student] for student in students if grouped[arm, student]}
        for student, column in columns.items():
            scores += _by_task(arm, student, [(p, p.verdict == "match") for p in column.values()], questions)
        if len(columns) > 1:
            shared = [qid for qid in next(iter(columns.values())) if all(qid in column for column in columns.values())]
            rows = [[column[qid] for column in columns.values()] for qid in shared]
            votes = [vote(row) for row in rows]
            scores += _by_task(arm, "vote", [(p, p.verdict == "match") for p in votes], questions)
            best = [next((p for p in row if p.verdict == "match"), v) for row, v in zip(rows, votes, strict=True)]
            scores += _by_task(arm, "oracle", [(b, oracle(row)) for b, row in zip(best, rows, strict=True)], questions)
    return scores


def _by_task(arm: str, student: str, graded: Sequence[tuple[Prediction, bool]], questions: Mapping[str, Question]) -> list[Score]:
    tasks = sorted({questions[prediction.question_id].task for prediction, _ in graded})
    return [
        _score(arm, student, task, [pair for pair in graded if task in ("all", questions[pair[0].question_id].task)])
        for task in [*tasks, "all"]
    ]


def _score(arm: str, student: str, task: str, graded: Sequence[tuple[Prediction, bool]]) -> Score:
    counted = [(prediction, is_right) for prediction, is_right in graded if prediction.verdict != "timeout"]
    n = len(counted)
    num_correct = sum(is_right for _, is_right in counted)
    low, high = wilson(num_correct, n)
    return Score(
        arm=arm,
        student=student,
        task=task,
        n=n,
        num_correct=num_correct,
        accuracy=num_correct / n if n else 0.0,
        low=low,
        high=high,
        unparsed_frac=sum(p.verdict == "unparsed" for p, _ in counted) / n if n else 0.0,
        truncated_frac=sum(p.finish == "length" for p, _ in counted) / n if n else 0.0,
    )
