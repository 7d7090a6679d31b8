"""The generate stage: draw the questions, lay out the grid of requests, ask the teachers for what is missing.

Everything is in the ledger before and after: questions and intents before the first call, every reply within a second or 200
replies. A killed run therefore continues with the holes of the grid, and a changed config keeps every path whose request is
still asked for (a request's id is the hash of everything that shapes its reply).
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qrdistill.config import content_hash
from qrdistill.errors import DataError
from qrdistill.progress import SILENT, Progress
from qrdistill.store import Ledger, Run, export_records
from qrdistill.tasks.base import Task
from qrdistill.tasks.registry import load_tasks
from qrdistill.teacher.layout import ASKED, lay_out, requests_of
from qrdistill.types import (
    AnswerVerdict,
    Attempt,
    FilterDecision,
    JudgeVerdict,
    PathRequest,
    PlantedFlaw,
    Question,
    ReasoningPath,
    Record,
    Split,
)

_CHUNK = 500


def generate_paths(run: Run, *, progress: Progress | None = None) -> list[ReasoningPath]:
    """Fill the grid of reasoning paths; resumes, and does nothing when it is done.

    Returns:
        Every path of the grid, in the order of their ids.

    Raises:
        ConfigError: a task, style or teacher is not known or cannot work together.
        DataError: a question file or a recording cannot be used.
        AuthError, PausedError, ProviderError: from a teacher; what came in before is saved.
    """
    progress = progress or SILENT
    with run.owned():
        if not run.is_done("generate"):
            _generate(run, progress)
        return run.ledger.all(ReasoningPath)


def _generate(run: Run, progress: Progress) -> None:
    started_s = time.monotonic()
    run.begin("generate")
    tasks = load_tasks(run.config)
    layout = lay_out(run, tasks)
    questions = draw_questions(run, tasks)
    asked = {question.id: question for question in questions if question.split in ASKED}
    first, rest = requests_of(layout.first(asked.values())), requests_of(layout.rest(asked.values()))
    _replace_plan(run.ledger, questions, first, spared=rest)
    requests = layout.fill(run, asked, tasks, progress)
    _finish(run, requests, time.monotonic() - started_s, progress)


def draw_questions(run: Run, tasks: Mapping[str, Task]) -> list[Question]:
    """The questions of every task and split.

    Raises:
        DataError: a task cannot give that many, or two tasks share a question id.
    """
    sizes = run.config.questions
    limits: dict[Split, int] = {"train": sizes.num_train, "validation": sizes.num_validation, "test": sizes.num_test}
    questions = [
        question
        for task in tasks.values()
        for split, limit in limits.items()
        if limit
        for question in task.questions(split, limit)
    ]
    twice = [id for id, count in Counter(question.id for question in questions).items() if count > 1]
    if twice:
        owners = [question.task for question in questions if question.id == twice[0]]
        raise DataError(f"tasks {' and '.join(owners)} share the question id {twice[0]!r}; give the rows of one file other ids")
    return questions


# --- writing -----------------------------------------------------------------------------------------------------------------


def _replace_plan(
    ledger: Ledger, questions: Sequence[Question], requests: Sequence[PathRequest], *, spared: Sequence[PathRequest]
) -> None:
    """Make the ledger's questions and requests these; what hangs on a stale request goes with it, unless it is `spared`."""
    stale_questions = _ids(ledger, "questions") - {question.id for question in questions}
    known = {request.id for request in [*requests, *spared]}
    stale = (_ids(ledger, "requests") | _ids(ledger, "paths")) - known
    by_path: tuple[type[Record], ...] = (PlantedFlaw, AnswerVerdict, JudgeVerdict, FilterDecision)
    with ledger.transaction():
        _delete(ledger, Question, "id", stale_questions)
        _delete(ledger, PathRequest, "id", stale)
        _delete(ledger, ReasoningPath, "id", stale)
        for record_type in by_path:
            _delete(ledger, record_type, "path_id", stale)
        ledger.add(questions)
        ledger.add(requests)


def _ids(ledger: Ledger, table: str) -> set[str]:
    return {id for (id,) in ledger.execute(f"SELECT id FROM {table}")}


def _delete(ledger: Ledger, record_type: type[Record], column: str, ids: Iterable[str]) -> None:
    listed = sorted(ids)
    for start in range(0, len(listed), _CHUNK):
        chunk = listed[start : start + _CHUNK]
        ledger.delete(record_type, f"{column} IN ({', '.join('?' * len(chunk))})", chunk)


# --- the end -----------------------------------------------------------------------------------------------------------------


def _finish(run: Run, requests: Sequence[PathRequest], took_s: float, progress: Progress) -> None:
    ledger = run.ledger
    paths = ledger.all(ReasoningPath)
    present = {path.id for path in paths}
    tried = {path_id for (path_id,) in ledger.execute("SELECT DISTINCT path_id FROM attempts")}
    holes = [request for request in requests if request.id not in present]
    failed = sum(request.id in tried for request in holes)
    for teacher, count in sorted(Counter(request.teacher for request in holes if request.id not in tried).items()):
        progress.note(f"{teacher} has no path for {count} of {len(requests)} requests")
    if failed:
        progress.note(f"{failed} of {len(requests)} requests failed after all attempts; they stay holes")
    if not paths:
        raise DataError(
            f"none of the {len(requests)} requests got a path; "
            "check that the teacher's file or endpoint belongs to these questions"
        )
    export_records(run.exports, "questions", ledger.all(Question))
    export_records(run.exports, "paths", paths)
    summary = _summary(ledger, requests, paths, holes, failed) | {"wall_s": round(took_s, 3)}
    run.finish("generate", summary, digest=_digest(ledger, paths))


def _digest(ledger: Ledger, paths: Sequence[ReasoningPath]) -> str:
    """Hash of what later stages read: the paths and the questions they answer (test questions are evaluation's affair)."""
    asked = ledger.all(Question, "split != 'test'")
    return content_hash([[dataclasses.asdict(record) for record in records] for records in (asked, paths)])


def _summary(
    ledger: Ledger, requests: Sequence[PathRequest], paths: Sequence[ReasoningPath], holes: Sequence[PathRequest], failed: int
) -> dict[str, Any]:
    questions = ledger.execute("SELECT task, split, count(*) FROM questions GROUP BY task, split ORDER BY task, split")
    return {
        "num_questions": {f"{task}/{split}": count for task, split, count in questions},
        "num_requests": len(requests),
        "num_paths": len(paths),
        "num_holes": len(holes),
        "num_failed": failed,
        "holes_by_style": dict(sorted(Counter(request.style for request in holes).items())),
        "paths_by_state": dict(sorted(Counter(path.state for path in paths).items())),
        "paths_by_style": dict(sorted(Counter(path.style for path in paths).items())),
        "num_attempts": ledger.count(Attempt),
        "cost_usd": round(sum(path.cost_usd for path in paths), 6),
    }
