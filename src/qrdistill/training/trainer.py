"""What lives as long as one training, how a recipe becomes it, and what each of its steps is given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qrdistill.config import Config, TrainingConfig, content_hash
from qrdistill.errors import DataError
from qrdistill.progress import SILENT, Progress
from qrdistill.routing.encoder import encode
from qrdistill.routing.features import StateMemory
from qrdistill.routing.policies import make_policy
from qrdistill.routing.policy import Policy, Setting
from qrdistill.routing.seen import Utility
from qrdistill.routing.sketch import GradientSketch
from qrdistill.routing.utility import make_utility
from qrdistill.store import Run
from qrdistill.students import Student
from qrdistill.students.pieces import is_piece
from qrdistill.training.extras import Extra, make_extras
from qrdistill.training.graphs import ROW_TOKENS
from qrdistill.training.peers import make_peers
from qrdistill.training.pool import PoolQuestion, StepWork, epoch_order, family, load_pool, step_work
from qrdistill.training.ranks import current
from qrdistill.training.step import Method, StepKnobs
from qrdistill.training.team import Team

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
    idle_steps: list[int]
    """Steps in a row in which each student was routed nothing."""
    extras: list[Extra] = field(default_factory=list)
    step: int = 0
    best_accuracy: float = -1.0
    """On validation questions, the mean over the trained students; -1 before it is measured."""
    best_step: int = 0

    @property
    def config(self) -> Config:
        """The run's recipe."""
        return self.run.config

    @property
    def max_label_tokens(self) -> int:
        """Label tokens of each student before the final phase, if there is one; 0: no limit."""
        whole = self.config.training.max_label_tokens
        return whole - round(whole * sum(extra.token_frac for extra in self.extras))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the questions."""
        return math.ceil(len(self.train_pool) / self.config.training.questions_per_step)

    @property
    def num_steps(self) -> int:
        """Optimizer steps in all; with a token budget, as many as the tokens of a step so far make likely."""
        if self.max_label_tokens:
            return max(math.ceil(self.step / max(self.progress(), 1e-9)), 1)
        return self.steps_per_epoch * self.config.training.epochs

    @property
    def is_due_S(self) -> list[bool]:
        """Which students still have tokens to train on."""
        return self.is_trained_and_below(self.max_label_tokens or math.inf)

    def is_trained_and_below(self, budget: float) -> list[bool]:
        """Which students are trained at all and have used fewer label tokens than `budget` so far [S]."""
        return [
            optimizer is not None and used < budget for optimizer, used in zip(self.optimizers, self.label_tokens, strict=True)
        ]

    @property
    def is_over(self) -> bool:
        """Whether there is no step left to take."""
        if self.max_label_tokens:
            return not any(self.is_due_S)
        return self.step >= self.num_steps

    def progress(self, student: int = -1) -> float:
        """Share of the training that is done, in [0, 1]; with a token budget that of one student, or of the slowest."""
        if not (budget := self.max_label_tokens):
            return self.step / self.num_steps
        trained = [used for used, optimizer in zip(self.label_tokens, self.optimizers, strict=True) if optimizer is not None]
        return min(1.0, (self.label_tokens[student] if student >= 0 else min(trained, default=budget)) / budget)


def build_trainer(run: Run, students: Sequence[Student], policy: Policy | None, progress: Progress = SILENT) -> Trainer:
    """Pools, embeddings, policy, utility, optimizers: everything as it stands before the first step."""
    config, ranks = run.config, current()
    train_pool, probe_pool = load_pool(run, students, ranks)
    kind = config.method.policy
    encoder = getattr(kind, "encoder", None)
    embeddings: dict[str, Tensor] = {}
    if encoder is not None:
        progress.note("encoding questions and paths for the router (once, cached)")
        keyed = {q.question.id: q.prompt for q in train_pool} | {p.path.id: p.path.text for q in train_pool for p in q.paths}
        texts, cache = list(keyed.values()), run.folder / "cache"
        encoded = {"rows": encode(texts, encoder, cache, device=config.runtime.device)} if ranks.is_first else {}
        embeddings = dict(zip(keyed, ranks.tell_tensors(encoded)["rows"], strict=True))
    width = len(next(iter(embeddings.values()))) if embeddings else 0
    pool = [*train_pool, *probe_pool]
    groups = {(path.path.style, family(question.question)) for question in pool for path in question.paths}
    extras = make_extras(config.method.extras)
    groups |= {(style, family(question.question)) for extra in extras for style in extra.styles for question in pool}
    utility = _make_utility(config, sorted(groups))
    return Trainer(
        run=run,
        team=Team(students, config.runtime, ranks),
        optimizers=[_make_optimizer(student, config.training) for student in students],
        method=Method(
            policy=policy
            or make_policy(
                kind,
                Setting(
                    students=tuple(student.name for student in students),
                    seed=config.seed,
                    embed_dim=width,
                ),
            ),
            utility=utility,
            memory=_make_memory(config, sorted(groups)) if utility else None,
            sketches=[_make_sketch(config, student, utility) for student in students],
            peers=make_peers(config.method.peers, students, seed=config.seed),
            row_tokens=ROW_TOKENS[students[0].device.type],
            max_grad_norm=config.training.max_grad_norm,
        ),
        train_pool=train_pool,
        probe_pool=probe_pool,
        embeddings=embeddings,
        label_tokens=[0] * len(students),
        extras=extras,
        idle_steps=[0] * len(students),
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


def _make_optimizer(student: Student, training: TrainingConfig) -> torch.optim.Optimizer | None:
    weights = [weight for _, weight in student.trainable()]
    if not weights:
        return None
    kinds = [
        [weight for weight in weights if is_piece(weight) == is_cut] for is_cut in (False, True)
    ]  # one kernel takes one kind
    groups = [{"params": kind} for kind in kinds if kind]
    return torch.optim.AdamW(groups, lr=student.config.learning_rate, weight_decay=training.weight_decay, foreach=True)


def remaining_work(trainer: Trainer) -> Iterator[StepWork]:
    """The work of each step that is left, every epoch in a fresh order."""
    size = trainer.config.training.questions_per_step
    while not trainer.is_over:
        epoch, position = divmod(trainer.step, trainer.steps_per_epoch)
        _insist_on_tokens(trainer)
        for extra in trainer.extras:
            extra.before_step(trainer)
        order = epoch_order(trainer.config.seed, epoch, len(trainer.train_pool))
        yield step_work([trainer.train_pool[index] for index in order[position * size : (position + 1) * size]])


def _insist_on_tokens(trainer: Trainer) -> None:
    """A token budget is only reached if paths are routed: the first epoch without any would repeat itself for ever."""
    names = [student.name for student, is_due in zip(trainer.team.students, trainer.is_due_S, strict=True) if is_due]
    if trainer.max_label_tokens and trainer.step == trainer.steps_per_epoch and not any(trainer.label_tokens):
        raise DataError(
            f"no path was routed to {' or '.join(names)} in a whole epoch, so training.max_label_tokens is never reached; "
            "look at which styles survive the filter (qrdistill show RUN) and at method.policy"
        )


def embed(trainer: Trainer, work: StepWork) -> tuple[Tensor, Tensor]:
    """Encoder rows of each path's question and of each path [P, E]; width 0 where the policy has no encoder."""
    if not trainer.embeddings:
        empty = torch.zeros(len(work.paths), 0)
        return empty, empty
    questions = [work.questions[index].question.id for index in work.question_of_P.tolist()]
    return (
        torch.stack([trainer.embeddings[question] for question in questions]),
        torch.stack([trainer.embeddings[path.path.id] for path in work.paths]),
    )


def knobs(trainer: Trainer) -> StepKnobs:
    """Schedules and switches of the coming step."""
    peers = trainer.config.method.peers
    budget = trainer.max_label_tokens
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
