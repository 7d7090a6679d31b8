"""The training stage: load, resume, step, save. No method is named here: policies, utilities and losses come from the config."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from qrdistill.config import Config, TrainingConfig, content_hash
from qrdistill.errors import DataError
from qrdistill.progress import SILENT, Progress
from qrdistill.routing.encoder import encode
from qrdistill.routing.features import StateMemory
from qrdistill.routing.learned import QRDistillPolicy
from qrdistill.routing.policies import make_policy
from qrdistill.routing.policy import Policy, Setting, step_generator
from qrdistill.routing.reducible import RhoUtility
from qrdistill.routing.seen import Utility
from qrdistill.routing.sketch import GradientSketch
from qrdistill.routing.success import SuccessUtility
from qrdistill.routing.utility import make_utility
from qrdistill.store import Run, export_records, write_text
from qrdistill.students import Student
from qrdistill.tasks import load_tasks
from qrdistill.training.answers import try_styles
from qrdistill.training.checkpoint import (
    Checkpoint,
    clear_checkpoints,
    load_checkpoint,
    restore_student,
    save_checkpoint,
    student_tensors,
)
from qrdistill.training.peers import make_peers
from qrdistill.training.pool import PoolQuestion, StepWork, family, load_pool, step_work
from qrdistill.training.reference import reference_losses
from qrdistill.training.step import Method, StepKnobs, StepResult, as_seen, joint_step, look, look_back, read
from qrdistill.training.team import Team, load_team
from qrdistill.training.trackers import metrics_log
from qrdistill.training.virtual import measure_kappa
from qrdistill.types import Route

ROW_TOKENS = {"cpu": 512, "cuda": 4096}
"""Tokens of a packed row: attention over a row is dense, so longer rows cost more on a CPU and less launch time on a GPU."""


MEMORY_DECAY = 0.95
"""Fading of the learning state per step: about the last twenty steps count."""


@dataclass(slots=True, kw_only=True)
class Trainer:
    """Everything that lives as long as one training."""

    run: Run
    team: Team
    optimizers: list[torch.optim.Optimizer | None]
    method: Method
    train_pool: list[PoolQuestion]
    probe_pool: list[PoolQuestion]
    embeddings: dict[str, Tensor]
    label_tokens: list[int]
    step: int = 0

    @property
    def config(self) -> Config:
        """The run's recipe."""
        return self.run.config

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the questions."""
        return math.ceil(len(self.train_pool) / self.config.training.questions_per_step)

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all; with a token budget, as many as the tokens of a step so far make likely."""
        if self.config.training.max_label_tokens:
            return max(math.ceil(self.step / max(self.progress(), 1e-9)), 1)
        return self.steps_per_epoch * self.config.training.epochs

    @property
    def is_due_S(self) -> list[bool]:
        """Which students still have tokens to train on."""
        budget = self.config.training.max_label_tokens
        return [
            optimizer is not None and (budget == 0 or used < budget)
            for optimizer, used in zip(self.optimizers, self.label_tokens, strict=True)
        ]

    @property
    def is_over(self) -> bool:
        """Whether there is no step left to take."""
        if self.config.training.max_label_tokens:
            return not any(self.is_due_S)
        return self.step >= self.num_steps

    def progress(self, student: int = -1) -> float:
        """Share of the training that is done, in [0, 1]; with a token budget that of one student, or of the slowest."""
        if not (budget := self.config.training.max_label_tokens):
            return self.step / self.num_steps
        trained = [used for used, optimizer in zip(self.label_tokens, self.optimizers, strict=True) if optimizer is not None]
        return min(1.0, (self.label_tokens[student] if student >= 0 else min(trained, default=budget)) / budget)


def train(run: Run, *, policy: Policy | None = None, progress: Progress = SILENT) -> list[Student]:
    """Train every student of the run together; resumes from the newest checkpoint.

    Args:
        run: a run whose filter stage is done.
        policy: replaces the recipe's policy (the run then cannot be told apart from the recipe's by its config alone).
        progress: told what is going on.

    Returns:
        The trained students, in the recipe's order.

    Raises:
        UsageError: the filter stage is not done.
        DataError: nothing to train on, a path too long for a student, or a loss that is not finite.
    """
    with run.owned():
        run.require("filter")
        students = load_team(run.config, progress.note)
        if run.is_done("train"):
            for student in students:
                if student.trainable():
                    student.restore(run.student_folder(student.name))
            return students
        if not run.begin("train"):
            clear_checkpoints(run.checkpoints)
        trainer = build_trainer(run, students, policy, progress)
        try:
            _prepare_utility(trainer, progress)
            _resume(trainer, progress)
            _run_steps(trainer, progress)
            _finish(trainer)
        finally:
            trainer.team.close()
        return students


def build_trainer(run: Run, students: Sequence[Student], policy: Policy | None, progress: Progress = SILENT) -> Trainer:
    """Pools, embeddings, policy, utility, optimizers: everything as it stands before the first step."""
    config = run.config
    train_pool, probe_pool = load_pool(run, students)
    kind = config.method.policy
    encoder = getattr(kind, "encoder", None)
    embeddings: dict[str, Tensor] = {}
    if encoder is not None:
        progress.note("encoding questions and paths for the router (once, cached)")
        keyed = {q.question.id: q.prompt for q in train_pool} | {p.path.id: p.path.text for q in train_pool for p in q.paths}
        rows = encode(list(keyed.values()), encoder, run.folder / "cache", device=config.runtime.device)
        embeddings = dict(zip(keyed, rows, strict=True))
    width = len(next(iter(embeddings.values()))) if embeddings else 0
    mean_paths = sum(len(question.paths) for question in train_pool) / len(train_pool)
    pool = [*train_pool, *probe_pool]
    groups = sorted({(path.path.style, family(question.question)) for question in pool for path in question.paths})
    utility = _make_utility(config, groups)
    return Trainer(
        run=run,
        team=Team(students, config.runtime),
        optimizers=[_make_optimizer(student, config.training) for student in students],
        method=Method(
            policy=policy
            or make_policy(
                kind,
                Setting(
                    students=tuple(student.name for student in students),
                    seed=config.seed,
                    embed_dim=width,
                    start_prob=min(getattr(kind, "budget", 1.0) / mean_paths, 1.0),
                ),
            ),
            utility=utility,
            memory=_make_memory(config, groups) if utility else None,
            sketches=[_make_sketch(config, student, utility) for student in students],
            peers=make_peers(config.method.peers, students, seed=config.seed),
            row_tokens=ROW_TOKENS[students[0].device.type],
            max_grad_norm=config.training.max_grad_norm,
        ),
        train_pool=train_pool,
        probe_pool=probe_pool,
        embeddings=embeddings,
        label_tokens=[0] * len(students),
    )


def _make_utility(config: Config, groups: Sequence[tuple[str, str]]) -> Utility | None:
    kind = getattr(config.method.policy, "utility", None)
    return make_utility(kind, num_students=len(config.students), groups=groups) if kind else None


def _make_memory(config: Config, groups: Sequence[tuple[str, str]]) -> StateMemory:
    return StateMemory(num_students=len(config.students), groups=groups, decay=MEMORY_DECAY)


def _make_sketch(config: Config, student: Student, utility: Utility | None) -> GradientSketch | None:
    kind = getattr(config.method.policy, "utility", None)
    if kind is None or utility is None or not utility.wants_sketch:
        return None
    seed = int(content_hash([config.seed, "sketch", student.name]), 16) % 2**62
    return GradientSketch(
        hidden_dim=student.width, vocabulary=student.vocab_size, dim=kind.dim, top_tokens=kind.top_tokens, seed=seed
    )


def _prepare_utility(trainer: Trainer, progress: Progress) -> None:
    """Measure reference losses where the utility wants them (once: a resumed run finds them in its checkpoint)."""
    utility = trainer.method.utility
    if not isinstance(utility, RhoUtility):
        return
    if load_checkpoint(trainer.run.checkpoints, fingerprint=trainer.run.fingerprint("train")) is not None:
        utility.set_reference([path.path.id for question in trainer.train_pool for path in question.paths])
        return
    progress.note("measuring reference losses on students taught the validation paths only (once)")
    path_ids, nll_RS = reference_losses(
        trainer.team,
        trainer.method,
        trainer.train_pool,
        trainer.probe_pool,
        epochs=utility.config.reference_epochs,
        questions_per_step=trainer.config.training.questions_per_step,
    )
    utility.set_reference(path_ids, nll_RS)


def _make_optimizer(student: Student, training: TrainingConfig) -> torch.optim.Optimizer | None:
    weights = [weight for _, weight in student.trainable()]
    if not weights:
        return None
    return torch.optim.AdamW(weights, lr=student.config.learning_rate, weight_decay=training.weight_decay, foreach=True)


# --- the loop ------------------------------------------------------------------------------------------------------------


def _run_steps(trainer: Trainer, progress: Progress) -> None:
    training = trainer.config.training
    budget = training.max_label_tokens
    progress.start(budget or trainer.num_steps, "train, label tokens" if budget else "train")
    progress.advance(done := round(trainer.progress() * budget) if budget else trainer.step)
    try:
        with metrics_log(trainer.run) as log:
            for work in _remaining_work(trainer):
                began = time.perf_counter()
                _probe(trainer)
                _test_router(trainer)
                _set_learning_rates(trainer)
                result = joint_step(
                    trainer.team, trainer.optimizers, trainer.method, work, _embed(trainer, work), _knobs(trainer)
                )
                trainer.step += 1
                _record(trainer, work, result, time.perf_counter() - began, log)
                before, done = done, round(trainer.progress() * budget) if budget else trainer.step
                progress.advance(done - before)
                if trainer.step % training.checkpoint_steps == 0 or trainer.is_over:
                    log.flush()
                    _save(trainer)
    finally:
        progress.stop()


def _remaining_work(trainer: Trainer) -> Iterator[StepWork]:
    size = trainer.config.training.questions_per_step
    while not trainer.is_over:
        epoch, position = divmod(trainer.step, trainer.steps_per_epoch)
        _insist_on_tokens(trainer)
        order = torch.randperm(len(trainer.train_pool), generator=step_generator(trainer.config.seed, "order", epoch)).tolist()
        yield step_work([trainer.train_pool[index] for index in order[position * size : (position + 1) * size]])


def _insist_on_tokens(trainer: Trainer) -> None:
    """A token budget is only reached if paths are routed: the first epoch without any would repeat itself for ever."""
    names = [student.name for student, is_due in zip(trainer.team.students, trainer.is_due_S, strict=True) if is_due]
    if trainer.config.training.max_label_tokens and trainer.step == trainer.steps_per_epoch and not any(trainer.label_tokens):
        raise DataError(
            f"no path was routed to {' or '.join(names)} in a whole epoch, so training.max_label_tokens is never reached; "
            "look at which styles survive the filter (qrdistill show RUN) and at method.policy"
        )


def _embed(trainer: Trainer, work: StepWork) -> tuple[Tensor, Tensor]:
    if not trainer.embeddings:
        empty = torch.zeros(len(work.paths), 0)
        return empty, empty
    questions = [work.questions[index].question.id for index in work.question_of_P.tolist()]
    return (
        torch.stack([trainer.embeddings[question] for question in questions]),
        torch.stack([trainer.embeddings[path.path.id] for path in work.paths]),
    )


def _knobs(trainer: Trainer) -> StepKnobs:
    peers = trainer.config.method.peers
    budget = trainer.config.training.max_label_tokens
    progress = trainer.progress()
    done = (progress - peers.warmup_frac) / max(1 - peers.warmup_frac, 1e-9)
    ramp = float(done >= 0) if peers.ramp == "constant" else max(done, 0.0)
    return StepKnobs(
        step=trainer.step,
        seed=trainer.config.seed,
        epoch=trainer.step // trainer.steps_per_epoch,
        progress=progress,
        peer_weight=peers.weight * ramp if len(trainer.team.students) > 1 else 0.0,
        is_first_sight=trainer.step < trainer.steps_per_epoch,
        tokens_left_S=[max(budget - used, 0) for used in trainer.label_tokens] if budget else (),
        is_open_S=[is_due or optimizer is None for is_due, optimizer in zip(trainer.is_due_S, trainer.optimizers, strict=True)],
    )


def _set_learning_rates(trainer: Trainer) -> None:
    for index, (student, optimizer) in enumerate(zip(trainer.team.students, trainer.optimizers, strict=True)):
        if trainer.config.training.max_label_tokens:
            factor = token_learning_rate_factor(trainer.progress(index), trainer.step, trainer.config.training)
        else:
            factor = learning_rate_factor(trainer.step, trainer.num_steps, trainer.config.training)
        for group in optimizer.param_groups if optimizer else []:
            group["lr"] = student.config.learning_rate * factor


def token_learning_rate_factor(progress: float, step: int, training: TrainingConfig) -> float:
    """The schedule of `learning_rate_factor` over a student's token budget, of which the share `progress` is used at `step`."""
    mean_share = progress / step if step and progress else 0.01  # of a step; how many there will be is not known
    if progress < training.warmup_frac:
        return min((progress + mean_share) / training.warmup_frac, 1.0)
    done = (progress - training.warmup_frac) / max(1 - training.warmup_frac, 1e-9)
    return _cosine(min(done, 1.0), training)


def learning_rate_factor(step: int, num_steps: int, training: TrainingConfig) -> float:
    """Linear warm-up to 1, then a cosine down to `final_lr_frac`."""
    warmup = max(round(training.warmup_frac * num_steps), 1)
    if step < warmup:
        return (step + 1) / warmup
    return _cosine((step - warmup) / max(num_steps - warmup, 1), training)


def _cosine(done: float, training: TrainingConfig) -> float:
    return training.final_lr_frac + (1 - training.final_lr_frac) * 0.5 * (1 + math.cos(math.pi * done))


def _probe(trainer: Trainer) -> None:
    """Let the utility witness the next validation questions, every `probe_steps` steps."""
    utility, memory = trainer.method.utility, trainer.method.memory
    if utility is None or memory is None:
        return
    if trainer.step:
        utility.advance()
        memory.advance()
    policy: Any = trainer.config.method.policy
    if not trainer.probe_pool or trainer.step % policy.probe_steps:
        return
    first = trainer.step // policy.probe_steps * policy.probe_questions
    order = torch.randperm(len(trainer.probe_pool), generator=step_generator(trainer.config.seed, "probe", 0)).tolist()
    chosen = [trainer.probe_pool[order[(first + offset) % len(order)]] for offset in range(policy.probe_questions)]
    work = step_work(chosen)
    everything_PS = torch.ones(len(work.paths), len(trainer.team.students), dtype=torch.bool)
    with torch.no_grad():
        forwards = read(trainer.team, work, everything_PS, trainer.method.row_tokens)
    seen = as_seen(work, look(trainer.team, work, forwards, trainer.method, None))
    utility.witness(seen)
    memory.witness(memory.groups(work.styles, work.families), seen.states, work.bytes_P)
    if isinstance(utility, SuccessUtility):
        try_styles(trainer.team, utility, chosen, load_tasks(trainer.config))


def _test_router(trainer: Trainer) -> None:
    """Measure kappa at the first step after the router's warm-up and at the start of every later epoch."""
    policy = trainer.method.policy
    if not isinstance(policy, QRDistillPolicy) or not policy.config.reliability.is_on or not trainer.probe_pool:
        return
    is_due = bool(policy.kappa_S.isnan().any()) or trainer.step % trainer.steps_per_epoch == 0
    if trainer.step == 0 or trainer.progress() < policy.config.warmup_frac or not is_due:
        return
    settings = policy.config.reliability

    def some(pool: list[PoolQuestion], count: int, purpose: str) -> StepWork:
        order = torch.randperm(len(pool), generator=step_generator(trainer.config.seed, purpose, trainer.step)).tolist()
        return step_work([pool[index] for index in order[:count]])

    work = some(trainer.train_pool, settings.questions, "reliability")
    validation = some(trainer.probe_pool, settings.validation_questions, "reliability/validation")
    score_PS = policy.scores(look_back(work, _embed(trainer, work), trainer.method, _knobs(trainer)))
    policy.kappa_S = measure_kappa(trainer.team, trainer.method, work, validation, score_PS, bins=settings.bins)


# --- records and checkpoints ---------------------------------------------------------------------------------------------


def _record(trainer: Trainer, work: StepWork, result: StepResult, seconds: float, log: Any) -> None:
    step = trainer.step
    epoch = (step - 1) // trainer.steps_per_epoch
    names = [student.name for student in trainer.team.students]
    trainer.label_tokens = [used + new for used, new in zip(trainer.label_tokens, result.label_tokens, strict=True)]
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
    line: dict[str, Any] = {"step": step, "epoch": round(step / trainer.steps_per_epoch, 4), "train/seconds_s": round(seconds, 3)}
    for column, (name, optimizer) in enumerate(zip(names, trainer.optimizers, strict=True)):
        line[f"train/label_tokens/{name}"] = trainer.label_tokens[column]
        line[f"optim/lr/{name}"] = optimizer.param_groups[0]["lr"] if optimizer else 0.0
    line |= {key: round(value, 6) for key, value in result.metrics.items() if math.isfinite(value)}
    log.write(json.dumps(line) + "\n")


def _save(trainer: Trainer) -> None:
    utility = trainer.method.utility
    method = {f"policy/{key}": value for key, value in trainer.method.policy.state().items()}
    memory = trainer.method.memory
    method |= {f"memory/{key}": value for key, value in (memory.state() if memory else {}).items()}
    peers = trainer.method.peers
    method |= {f"peers/{key}": value for key, value in (peers.state() if peers else {}).items()}
    method |= {f"utility/{key}": value for key, value in (utility.state() if utility else {}).items()}
    save_checkpoint(
        trainer.run.checkpoints,
        Checkpoint(
            students={
                student.name: student_tensors(student, optimizer)
                for student, optimizer in zip(trainer.team.students, trainer.optimizers, strict=True)
            },
            method=method,
            position={"step": trainer.step, "label_tokens": trainer.label_tokens},
        ),
        fingerprint=trainer.run.fingerprint("train"),
        keep=trainer.config.training.keep_checkpoints,
    )


def _resume(trainer: Trainer, progress: Progress) -> None:
    """Go back to the newest checkpoint (or the start); what was recorded after it is made again."""
    checkpoint = load_checkpoint(trainer.run.checkpoints, fingerprint=trainer.run.fingerprint("train"))
    if checkpoint is not None:
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
        trainer.step = checkpoint.position["step"]
        trainer.label_tokens = checkpoint.position["label_tokens"]
        progress.note(f"going on from step {trainer.step} of {trainer.num_steps}")
    trainer.run.ledger.delete(Route, "step > ?", (trainer.step,))
    metrics = trainer.run.metrics
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True) if metrics.is_file() else []
    write_text(metrics, "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= trainer.step))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _finish(trainer: Trainer) -> None:
    run = trainer.run
    for student in trainer.team.students:
        if student.trainable():
            student.save(run.student_folder(student.name))
    if learned := trainer.method.policy.state():
        save_file(learned, run.router)
    routes = run.ledger.all(Route)
    export_records(run.exports, "routes", routes)
    names = [student.name for student in trainer.team.students]
    summary = {
        "steps": trainer.step,
        "questions": len(trainer.train_pool),
        "paths": sum(len(question.paths) for question in trainer.train_pool),
        "label_tokens": dict(zip(names, trainer.label_tokens, strict=True)),
        "routed_frac": {
            name: round(sum(r.is_routed for r in routes if r.student == name) / max(len(routes) / len(names), 1), 4)
            for name in names
        },
    }
    run.finish("train", summary)
    clear_checkpoints(run.checkpoints)
