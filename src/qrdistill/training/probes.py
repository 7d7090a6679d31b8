"""Looks at the held-out questions beside the steps: the utility's reference and probes, and the test of the router (kappa)."""

from __future__ import annotations

from typing import Any

import torch

from qrdistill.progress import Progress
from qrdistill.routing.learned import QRDistillPolicy
from qrdistill.routing.policy import step_generator
from qrdistill.routing.reducible import RhoUtility
from qrdistill.routing.success import SuccessUtility
from qrdistill.tasks import load_tasks
from qrdistill.training.answers import try_styles
from qrdistill.training.checkpoint import load_checkpoint
from qrdistill.training.pool import PoolQuestion, StepWork, step_work
from qrdistill.training.reference import reference_losses
from qrdistill.training.step import as_seen, look, look_back, read
from qrdistill.training.trainer import Trainer, embed, knobs
from qrdistill.training.virtual import measure_kappa


def prepare_utility(trainer: Trainer, progress: Progress) -> None:
    """Measure reference losses where the utility wants them (once: a resumed run finds them in its checkpoint)."""
    utility = trainer.method.utility
    if not isinstance(utility, RhoUtility):
        return
    ranks, run = trainer.team.ranks, trainer.run
    newest = load_checkpoint(run.checkpoints, fingerprint=run.fingerprint("train"), config=run.config) if ranks.is_first else None
    if ranks.tell(newest is not None):
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


def probe(trainer: Trainer) -> None:
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
    order = torch.randperm(len(trainer.probe_pool), generator=step_generator(trainer.config.seed, "probe", 0)).tolist()
    if trainer.step == 0:
        first, count = 0, min(policy.first_probe_questions, len(order))
    else:
        first = policy.first_probe_questions + (trainer.step // policy.probe_steps - 1) * policy.probe_questions
        count = policy.probe_questions
    chosen = [trainer.probe_pool[order[(first + offset) % len(order)]] for offset in range(count)]
    work = step_work(chosen)
    everything_PS = torch.ones(len(work.paths), len(trainer.team.students), dtype=torch.bool)
    with torch.no_grad():
        forwards = read(trainer.team, work, everything_PS, trainer.method.row_tokens)
    seen = as_seen(work, look(trainer.team, work, forwards, trainer.method, None))
    utility.witness(seen)
    memory.witness(memory.groups(work.styles, work.families), seen.states, work.bytes_P)
    if isinstance(utility, SuccessUtility):
        try_styles(trainer.team, utility, chosen, load_tasks(trainer.config))


def measure_trust(trainer: Trainer) -> None:
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
    score_PS = policy.scores(look_back(work, embed(trainer, work), trainer.method, knobs(trainer)))
    score_PS = trainer.team.ranks.tell_tensors({"score_PS": score_PS})["score_PS"]
    policy.kappa_S = measure_kappa(trainer.team, trainer.method, work, validation, score_PS, bins=settings.bins)
