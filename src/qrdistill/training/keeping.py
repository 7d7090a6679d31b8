"""What a training leaves on disk: routes and metrics of each step, checkpoints, and the trained team."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from qrdistill.errors import DataError
from qrdistill.progress import Progress
from qrdistill.store import export_records, write_text
from qrdistill.students.pieces import is_piece
from qrdistill.training.checkpoint import (
    Checkpoint,
    SavedCheckpoint,
    clear_checkpoints,
    load_checkpoint,
    restore_student,
    save_checkpoint,
    student_tensors,
    told,
)
from qrdistill.training.pool import StepWork
from qrdistill.training.step import StepResult
from qrdistill.training.trainer import Trainer
from qrdistill.types import Route


def record(trainer: Trainer, work: StepWork, result: StepResult, seconds: float, log: Any) -> None:
    """Write the step's routes to the ledger and its metrics as one line; without a log (ranks after the first) only count."""
    step = trainer.step
    epoch = (step - 1) // trainer.steps_per_epoch
    names = [student.name for student in trainer.team.students]
    trainer.label_tokens = [used + new for used, new in zip(trainer.label_tokens, result.label_tokens, strict=True)]
    if log is None:
        return
    trainer.run.ledger.add(
        Route(
            step=step,
            epoch=epoch,
            path_id=path.path.id,
            student=name,
            prob=round(float(result.routing.prob_PS[row, column]), 6),
            is_routed=bool(result.routing.gate_PS[row, column]),
            utility=round(float(result.utility_PS[row, column]), 6),
        )
        for row, path in enumerate(work.paths)
        for column, name in enumerate(names)
    )
    record_line(trainer, {"train/seconds_s": round(seconds, 3), **result.metrics}, log)


def record_line(trainer: Trainer, metrics: dict[str, float], log: Any) -> None:
    """Write one line of metrics, with the step, tokens and learning rates; nothing without a log."""
    if log is None:
        return
    line: dict[str, Any] = {"step": trainer.step, "epoch": round(trainer.step / trainer.steps_per_epoch, 4)}
    for student, tokens, optimizer in zip(trainer.team.students, trainer.label_tokens, trainer.optimizers, strict=True):
        line[f"train/label_tokens/{student.name}"] = tokens
        line[f"optim/lr/{student.name}"] = optimizer.param_groups[0]["lr"] if optimizer else 0.0
    line |= {key: round(value, 6) for key, value in metrics.items() if math.isfinite(value)}
    log.write(json.dumps(line) + "\n")


def save(trainer: Trainer, *, is_best: bool = False) -> None:
    """Commit students, optimizers, policy, utility, peers and position as one checkpoint.

    Raises:
        DataError: a number of a student, the router or the peers is not finite; nothing is written.
        StorageError: the disk refuses; earlier checkpoints are untouched.
    """
    ranks = trainer.team.ranks
    _agree_on_limits(trainer)
    if not ranks.is_first and not trainer.team.is_sharded:
        return  # all of it is the same there
    utility = trainer.method.utility
    method = {f"policy/{key}": value for key, value in trainer.method.policy.state().items()}
    memory = trainer.method.memory
    method |= {f"memory/{key}": value for key, value in (memory.state() if memory else {}).items()}
    peers = trainer.method.peers
    method |= {f"peers/{key}": value for key, value in (peers.state() if peers else {}).items()}
    method |= {f"utility/{key}": value for key, value in (utility.state() if utility else {}).items()}
    for extra in trainer.extras:
        method |= {f"extras/{extra.kind}/{key}": value for key, value in extra.state().items()}
    students: dict[str, Mapping[str, Tensor]] = {
        student.name: student_tensors(student, optimizer)
        for student, optimizer in zip(trainer.team.students, trainer.optimizers, strict=True)
    }
    _insist_on_finite({**students, "the router": {k: v for k, v in method.items() if k.startswith(_LEARNED)}}, trainer.step)
    save_checkpoint(
        trainer.run.checkpoints,
        Checkpoint(
            students=students,
            method=method,
            position={
                "step": trainer.step,
                "label_tokens": trainer.label_tokens,
                "graph_tokens": trainer.team.limits.tokens_S,
                "idle_steps": trainer.idle_steps,
                "best_accuracy": trainer.best_accuracy,
                "best_step": trainer.best_step,
            },
        ),
        fingerprint=trainer.run.fingerprint("train"),
        config=trainer.config,
        keep=trainer.config.training.keep_checkpoints,
        ranks=ranks,
        is_best=is_best,
    )


_NO_LIMIT = 2**40


def _agree_on_limits(trainer: Trainer) -> None:
    """All ranks go on within the tightest limits, as they will after a cut: both ways rows end at the same places."""
    limits, ranks = trainer.team.limits, trainer.team.ranks
    least = [-ranks.most(-(tokens or _NO_LIMIT)) for tokens in limits.tokens_S]
    limits.tighten([tokens % _NO_LIMIT for tokens in least])


_LEARNED = ("policy/router/", "policy/optimizer/", "peers/")
"""What is trained besides the students; evidence (utility, memory) may be NaN where nothing was seen yet."""


def _insist_on_finite(owners: Mapping[str, Mapping[str, Tensor]], step: int) -> None:
    for owner, tensors in owners.items():
        for name, value in tensors.items():
            here: Any = value.to_local() if is_piece(value) else value  # type: ignore[attr-defined]
            if not bool(here.isfinite().all()):
                raise DataError(
                    f"step {step}: {name.rpartition('/')[2]} of {owner} is not finite, so no checkpoint is kept of it; "
                    "lower the learning rates or max_grad_norm, then run again: the last checkpoint is intact"
                )


def resume(trainer: Trainer, progress: Progress) -> None:
    """Go back to the newest checkpoint (or the start); what was recorded after it is made again."""
    run, ranks = trainer.run, trainer.team.ranks
    newest = _saved(trainer) if ranks.is_first else None
    checkpoint = told(ranks, newest, trainer.team.students)
    if checkpoint is not None:
        _restore(trainer, checkpoint)
        trainer.step = checkpoint.position["step"]
        trainer.label_tokens = checkpoint.position["label_tokens"]
        for extra in trainer.extras:
            extra.load_state(trainer, _part(checkpoint.method, f"extras/{extra.kind}/"))
        trainer.idle_steps = checkpoint.position["idle_steps"]
        trainer.best_accuracy = checkpoint.position["best_accuracy"]
        trainer.best_step = checkpoint.position["best_step"]
        trainer.team.limits.tighten(checkpoint.position["graph_tokens"])
        progress.note(f"going on from step {trainer.step} of {trainer.num_steps}")
    if not ranks.is_first:
        return
    run.ledger.delete(Route, "step > ?", (trainer.step,))
    metrics = run.metrics
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if metrics.is_file() else []
    write_text(metrics, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= trainer.step))


def _saved(trainer: Trainer, *, is_best: bool = False) -> SavedCheckpoint | None:
    run = trainer.run
    return load_checkpoint(run.checkpoints, fingerprint=run.fingerprint("train"), config=run.config, is_best=is_best)


def _restore(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Students and everything of the method as they were."""
    for student, optimizer in zip(trainer.team.students, trainer.optimizers, strict=True):
        if student.trainable():
            restore_student(student, optimizer, checkpoint.students[student.name])
    trainer.method.policy.load_state(_part(checkpoint.method, "policy/"))
    if trainer.method.peers is not None:
        trainer.method.peers.load_state(_part(checkpoint.method, "peers/"))
    if trainer.method.utility is not None:
        trainer.method.utility.load_state(_part(checkpoint.method, "utility/"))
    if trainer.method.memory is not None:
        trainer.method.memory.load_state(_part(checkpoint.method, "memory/"))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def finish(trainer: Trainer) -> None:
    """Write adapters, router and routes, mark the stage done and drop the checkpoints (rank 0)."""
    run, ranks, is_first = trainer.run, trainer.team.ranks, trainer.team.ranks.is_first
    if trainer.config.training.validation.keep == "best" and 0 < trainer.best_step < trainer.step:
        best = told(ranks, _saved(trainer, is_best=True) if is_first else None, trainer.team.students)
        assert best is not None, "it was saved when it became the best"
        _restore(trainer, best)
    for student in trainer.team.students:
        weights = student.state_dict() if trainer.team.is_sharded else None  # every rank gives its pieces
        if student.trainable() and is_first:
            student.save(run.student_folder(student.name), weights)
    if not is_first:
        return
    if learned := trainer.method.policy.state():
        save_file(learned, run.router)
    routes = run.ledger.all(Route)
    export_records(run.exports, "routes", routes)
    names = [student.name for student in trainer.team.students]
    summary: dict[str, Any] = {
        "steps": trainer.step,
        "questions": len(trainer.train_pool),
        "paths": sum(len(question.paths) for question in trainer.train_pool),
        "label_tokens": dict(zip(names, trainer.label_tokens, strict=True)),
        "routed_frac": {
            name: round(sum(r.is_routed for r in routes if r.student == name) / max(len(routes) / len(names), 1), 4)
            for name in names
        },
    }
    for extra in trainer.extras:
        summary |= extra.summary()
    if trainer.best_step:
        summary |= {"best_step": trainer.best_step, "best_accuracy": round(trainer.best_accuracy, 4)}
    run.finish("train", summary)
    clear_checkpoints(run.checkpoints)
