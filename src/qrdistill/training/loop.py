"""The training stage: load, resume, step, save."""

from __future__ import annotations

import time
from contextlib import nullcontext

from qrdistill.errors import UsageError
from qrdistill.progress import SILENT, Progress
from qrdistill.routing.policy import Policy
from qrdistill.store import Run
from qrdistill.students import Student
from qrdistill.training.alerts import alert_idle
from qrdistill.training.checkpoint import clear_checkpoints
from qrdistill.training.extras import Desk
from qrdistill.training.fitting import fit
from qrdistill.training.graphs import memory_advice
from qrdistill.training.keeping import finish, record, record_line, resume, save
from qrdistill.training.launch import num_ranks
from qrdistill.training.probes import measure_trust, prepare_utility, probe
from qrdistill.training.ranks import current
from qrdistill.training.schedule import learning_rate_factor, token_learning_rate_factor
from qrdistill.training.step import joint_step
from qrdistill.training.team import load_team
from qrdistill.training.trackers import metrics_log
from qrdistill.training.trainer import Trainer, build_trainer, embed, knobs, remaining_work
from qrdistill.training.validation import is_best, is_due, validate


def train(run: Run, *, policy: Policy | None = None, progress: Progress = SILENT) -> list[Student]:
    """Train every student of the run together; resumes from the newest checkpoint.

    Under torchrun this is rank 0's part; the other ranks come along (`train_along`).

    Args:
        run: a run whose filter stage is done.
        policy: replaces the recipe's policy (the run then cannot be told apart from the recipe's by its config alone).
        progress: told what is going on.

    Returns:
        The trained students, in the recipe's order.

    Raises:
        UsageError: the filter stage is not done, or the ranks that torchrun started are not together.
        DataError: nothing to train on, a path too long for a student, a loss that is not finite, or another run's checkpoint.
        StorageError: the disk has no room for the checkpoints, or refuses a write.
        PausedError: memory does not suffice.
    """
    if num_ranks() > 1 and current().size == 1:
        raise UsageError("under torchrun, train with qrdistill run or qrdistill train (in Python: run_pipeline), not alone")
    with run.owned():
        run.require("filter")
        if run.is_done("train"):
            students = load_team(run.config, progress.note)
            for student in students:
                if student.trainable():
                    student.restore(run.student_folder(student.name))
            return students
        current().tell(_COME_ALONG)
        if not run.begin("train"):
            clear_checkpoints(run.checkpoints)
        with memory_advice():
            return _train(run, policy, progress)


_COME_ALONG, _GO_HOME = "train", "end"
"""What rank 0 tells the others."""


def train_along(run: Run) -> None:
    """What the other ranks do: train whenever rank 0 trains, until it sends them home."""
    while current().tell("") == _COME_ALONG:
        with memory_advice():
            _train(run, None, SILENT)


def go_home() -> None:
    """Send the other ranks home (by rank 0)."""
    current().tell(_GO_HOME)


def _train(run: Run, policy: Policy | None, progress: Progress) -> list[Student]:
    students = load_team(run.config, progress.note, current())
    trainer = build_trainer(run, students, policy, progress)
    try:
        fit(trainer, progress)
        prepare_utility(trainer, progress)
        resume(trainer, progress)
        _run_steps(trainer, progress)
        finish(trainer)
    finally:
        trainer.team.close()
    return students


def _run_steps(trainer: Trainer, progress: Progress) -> None:
    training = trainer.config.training
    budget = trainer.max_label_tokens
    progress.start(budget or trainer.num_steps, "train, label tokens" if budget else "train")
    progress.advance(done := round(trainer.progress() * budget) if budget else trainer.step)
    try:
        with metrics_log(trainer.run) if trainer.team.ranks.is_first else nullcontext() as log:
            for work in remaining_work(trainer):
                began = time.perf_counter()
                probe(trainer)
                measure_trust(trainer)
                _set_learning_rates(trainer)
                result = joint_step(trainer.team, trainer.optimizers, trainer.method, work, embed(trainer, work), knobs(trainer))
                for extra in trainer.extras:
                    result.metrics.update(extra.metrics())
                trainer.step += 1
                result.metrics.update(alert_idle(trainer, result.routing.gate_PS, progress))
                if is_validated := is_due(trainer):
                    result.metrics.update(validate(trainer))
                record(trainer, work, result, time.perf_counter() - began, log)
                before, done = done, round(trainer.progress() * budget) if budget else trainer.step
                progress.advance(done - before)
                if is_validated and is_best(trainer, result.metrics["validation/accuracy"]):
                    save(trainer, is_best=True)
                if trainer.step % training.checkpoint_steps == 0 or trainer.is_over:
                    if log is not None:
                        log.flush()
                    save(trainer)
            desk = Desk(progress=progress, save=lambda: save(trainer), log=lambda line: record_line(trainer, line, log))
            for extra in trainer.extras:
                extra.after_steps(trainer, desk)
    finally:
        progress.stop()


def _set_learning_rates(trainer: Trainer) -> None:
    for index, (student, optimizer) in enumerate(zip(trainer.team.students, trainer.optimizers, strict=True)):
        if trainer.max_label_tokens:
            factor = token_learning_rate_factor(trainer.progress(index), trainer.step, trainer.config.training)
        else:
            factor = learning_rate_factor(trainer.step, trainer.num_steps, trainer.config.training)
        for group in optimizer.param_groups if optimizer else []:
            group["lr"] = student.config.learning_rate * factor
