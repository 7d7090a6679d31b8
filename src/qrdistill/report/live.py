"""What a run that is under way looks like at this moment, read from its folder alone; nothing is written or locked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from qrdistill.report.reading import has_ledger, metrics, rows, student_names, total, whole
from qrdistill.report.text import as_text, one_line
from qrdistill.store import STAGES, Run
from qrdistill.teacher.client.classify import UNSENT
from qrdistill.teacher.client.costs import Spent, spent_before
from qrdistill.types import ReasoningPath

SHOWN_PATHS = 8
_TAIL_BYTES = 400_000
"""The end of the metrics file that is read: some hundred steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The last steps of training: newest step and epoch, and by student the losses of those steps and the newest gates."""

    step: int
    epoch: float
    losses: Mapping[str, tuple[float, ...]]
    """Weighted mean loss of routed label tokens, nats."""
    loads: Mapping[str, float]
    """Mean gate probability."""
    rates: Mapping[str, Mapping[str, float]]
    """Student -> style -> share of the newest step's paths that were routed."""
    label_tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run at one moment."""

    name: str
    seed: int
    folder: str
    owner: int
    """The process that works on it; 0: none."""
    stages: Mapping[str, str]
    """Stage -> finished, under way, begun (and nobody works on it) or waiting."""
    num_requests: int
    num_paths: int
    num_kept: int
    num_dropped: int
    num_judged: int
    num_answers: int
    calls: Mapping[str, int]
    """Calls by how they ended; "sent" are under way, or were when their process died."""
    teachers: Spent
    judges: Spent
    cap_usd: float
    """Hard cap of the whole run; 0: none."""
    training: Training | None
    latest: tuple[ReasoningPath, ...]
    """The paths that came last, the newest first."""

    @property
    def is_finished(self) -> bool:
        """Whether every stage is done."""
        return set(self.stages.values()) == {"finished"}


def snapshot(run: Run) -> Snapshot:
    """Look at a run; cheap enough for every other second of a run with 100,000 paths."""
    owner = _owner(run)
    has_books = has_ledger(run)
    return Snapshot(
        name=run.config.name,
        seed=run.config.seed,
        folder=str(run.folder),
        owner=owner,
        stages=_stages(run, owner) if has_books else dict.fromkeys(STAGES, "waiting"),
        num_requests=total(run, "SELECT count(*) FROM requests"),
        num_paths=total(run, "SELECT count(*) FROM paths"),
        num_kept=total(run, "SELECT count(*) FROM decisions WHERE is_kept"),
        num_dropped=total(run, "SELECT count(*) FROM decisions WHERE NOT is_kept"),
        num_judged=total(run, "SELECT count(DISTINCT path_id) FROM judgements WHERE path_id NOT GLOB 'control/*'"),
        num_answers=total(run, "SELECT count(*) FROM predictions"),
        calls={
            as_text(name): whole(num) for name, num in rows(run, "SELECT outcome, count(*) FROM attempts GROUP BY 1 ORDER BY 1")
        },
        teachers=spent_before(run.ledger) if has_books else Spent(),
        judges=spent_before(run.ledger, owner="*") if has_books else Spent(),
        cap_usd=run.config.budget.run_usd,
        training=_training(run),
        latest=_latest(run),
    )


def _owner(run: Run) -> int:
    """The pid in the lock file, if such a process lives on this machine. (To try the lock itself could get in a writer's way.)"""
    try:
        pid = int((run.folder / "lock").read_text(encoding="ascii"))
        os.kill(pid, 0)
    except PermissionError:  # somebody else's process
        return pid
    except (OSError, ValueError, OverflowError):
        return 0
    return pid


def _stages(run: Run, owner: int) -> dict[str, str]:
    """By what is noted, without hashing the run's data: a stage that is done for another recipe counts as finished."""
    states: dict[str, str] = {}
    for stage in STAGES:
        is_finished = run.ledger.noted(f"stage/{stage}") is not None
        has_begun = run.ledger.noted(f"begun/{stage}") is not None
        states[stage] = "finished" if is_finished else "waiting" if not has_begun else "under way" if owner else "begun"
    return states


def _latest(run: Run) -> tuple[ReasoningPath, ...]:
    if not has_ledger(run):
        return ()
    newest = rows(
        run,
        "SELECT path_id FROM attempts WHERE path_id NOT GLOB 'judge/*' AND outcome NOT IN ('sent', ?) "
        f"ORDER BY finished_s DESC LIMIT {4 * SHOWN_PATHS}",
        (UNSENT,),
    )
    order = {as_text(path_id): number for number, (path_id,) in reversed(list(enumerate(newest)))}
    found = run.ledger.all(ReasoningPath, f"id IN ({', '.join('?' * len(order))})", list(order))
    return tuple(sorted(found, key=lambda path: order[path.id]))[:SHOWN_PATHS]


def _training(run: Run) -> Training | None:
    steps = metrics(run, last_bytes=_TAIL_BYTES).steps
    if not steps:
        return None
    newest, students = steps[-1], student_names(run)
    losses = {name: tuple(step[key] for step in steps if key in step) for name in students for key in [f"loss/sft/{name}"]}
    return Training(
        step=int(newest["step"]),
        epoch=newest.get("epoch", 0.0),
        losses={name: values for name, values in losses.items() if values},
        loads={name: newest[key] for name in students if (key := f"routing/load/{name}") in newest},
        rates={name: _rates(newest, name) for name in students},
        label_tokens={name: int(newest[key]) for name in students if (key := f"train/label_tokens/{name}") in newest},
    )


def _rates(step: Mapping[str, float], student: str) -> dict[str, float]:
    head = f"routing/rate/{student}/"
    return {one_line(key.removeprefix(head), 24): value for key, value in step.items() if key.startswith(head)}
