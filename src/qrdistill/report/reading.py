"""Reading a run folder for the report: the ledger by plain SQL, and the metrics file. Nothing here is written."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qrdistill.errors import DataError
from qrdistill.report.text import as_cell, as_text, visible
from qrdistill.store import Run
from qrdistill.types import Question

TEAM = ("vote", "oracle")
"""Names of scores that belong to the whole team."""
MAX_NAMES = 24
"""Styles, students or teachers one table can show; only replayed data can hold more, and then the rest is counted together."""
MAX_TRUNCATED = 0.02
"""Above this share of cut-off answers a score is marked as not comparable (RELIABILITY G1)."""


def has_ledger(run: Run) -> bool:
    """Whether the run has begun at all."""
    try:
        return run.ledger is not None
    except DataError:
        return False


def rows(run: Run, sql: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
    """Rows of one SQL query; none where the run has no ledger yet."""
    return run.ledger.execute(sql, parameters) if has_ledger(run) else []


def total(run: Run, sql: str) -> int:
    """The one whole number a query answers; 0 where there is nothing."""
    found = rows(run, sql)
    return whole(found[0][0]) if found else 0


def whole(cell: object) -> int:
    """An integer cell (NULL is 0)."""
    assert cell is None or isinstance(cell, int | float), cell
    return int(cell or 0)


def real(cell: object) -> float:
    """A number cell (NULL is NaN)."""
    assert cell is None or isinstance(cell, int | float), cell
    return math.nan if cell is None else float(cell)


def some_question(run: Run) -> str:
    """The id of a question worth looking at: one that lost a path, else one with paths or answers; before that a placeholder."""
    for place in ("decisions WHERE NOT is_kept", "paths", "predictions"):
        for (name,) in rows(run, f"SELECT question_id FROM {place} ORDER BY 1 LIMIT 1"):
            return shlex.quote(visible(as_text(name)))
    return "QUESTION_ID"


def questions_of(run: Run, ids: Sequence[str]) -> list[Question]:
    """The questions with these ids, in key order."""
    return run.ledger.all(Question, f"id IN ({', '.join('?' * len(ids))})", [as_cell(name) for name in ids])


def student_names(run: Run) -> list[str]:
    """The students in the order of the recipe."""
    return [student.name for student in run.config.students]


def task_names(run: Run) -> list[str]:
    """The tasks in the order of the recipe."""
    return [task.name for task in run.config.questions.tasks]


def in_order(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Distinct names, the known ones first and in their order, the others sorted."""
    present = set(names)
    return [name for name in dict.fromkeys(known) if name in present] + sorted(present - set(known))


def few(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Like `in_order`, but no more than a table can show."""
    return in_order(names, known)[:MAX_NAMES]


def place(name: str, known: Sequence[str]) -> tuple[int, str]:
    """Sorting key: known names in their order, others after them by name."""
    return (known.index(name) if name in known else len(known), name)


def labels(runs: Sequence[Run]) -> list[str]:
    """A name for each run that tells them apart: the recipe's name, with the seed and a number where needed."""
    names = [run.config.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.config.name}, seed {run.config.seed}" for run in runs]
    return [f"{name} ({names[: index + 1].count(name)})" if names.count(name) > 1 else name for index, name in enumerate(names)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the results need to know of one prediction. `is_right` is None where the check did not finish."""

    arm: str
    student: str
    question_id: str
    task: str
    is_right: bool | None
    said: str


def answers(run: Run) -> list[Answer]:
    """Every student's answers to the test questions, without their texts."""
    sql = (
        "SELECT p.arm, p.student, p.question_id, q.task, p.verdict, p.extracted FROM predictions p "
        "JOIN questions q ON q.id = p.question_id ORDER BY p.question_id, p.arm, p.student, p.id"
    )
    return [
        Answer(
            as_text(arm),
            as_text(student),
            as_text(question),
            as_text(task),
            None if verdict == "timeout" else verdict == "match",
            as_text(said) if verdict in ("match", "differ") else "",
        )
        for arm, student, question, task, verdict, said in rows(run, sql)
    ]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The training metrics: one mapping a step, later lines replacing earlier ones of the same step."""

    steps: tuple[Mapping[str, float], ...]
    num_unreadable: int

    def keys(self, prefix: str) -> list[str]:
        """Keys that are `prefix` or, when it ends with a slash, start with it; sorted."""
        found = {key for step in self.steps for key in step if key == prefix or (prefix.endswith("/") and key.startswith(prefix))}
        return sorted(found)

    def series(self, key: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Steps and values of a key where both are finite."""
        points = [(step["step"], step[key]) for step in self.steps if math.isfinite(step.get(key, math.nan))]
        return tuple(x for x, _ in points), tuple(y for _, y in points)


def metrics(run: Run, *, last_bytes: int = 0) -> Metrics:
    """Read the metrics file, or only its last bytes.

    Lines that are no JSON object with a step (a crash may leave one) are counted, not used.
    """
    if not run.metrics.is_file():
        return Metrics((), 0)
    by_step: dict[float, Mapping[str, float]] = {}
    num_unreadable = 0
    with run.metrics.open("rb") as handle:
        if last_bytes:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - last_bytes))
        for raw in handle:
            line = raw.decode("utf-8", "replace")
            numbers = _numbers(line)
            if "step" in numbers and math.isfinite(numbers["step"]):
                by_step[numbers["step"]] = numbers
            elif line.strip():
                num_unreadable += 1
    return Metrics(tuple(by_step[step] for step in sorted(by_step)), num_unreadable)


def _numbers(line: str) -> dict[str, float]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {key: float(item) for key, item in value.items() if isinstance(item, int | float) and not abs(item) > 1e300}
