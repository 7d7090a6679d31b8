"""What the utility `rho` compares with: the loss of every training path after a short training on validation paths only.

Shapes: R training paths, S students, P paths of a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qrdistill.losses import token_weights
from qrdistill.training.forward import backward
from qrdistill.training.pool import PoolQuestion, StepWork, step_work
from qrdistill.training.step import Method, look, read
from qrdistill.training.team import Team


def reference_losses(
    team: Team,
    method: Method,
    train_pool: Sequence[PoolQuestion],
    probe_pool: Sequence[PoolQuestion],
    *,
    epochs: int,
    questions_per_step: int,
) -> tuple[list[str], Tensor]:
    """Path ids of the training pool and their NLL per token [R, S] under students taught the validation paths alone.

    The students come back exactly as they were: weights are put back and optimizers are not touched.
    """
    kept = [student.state_dict() for student in team.students]
    optimizers = [
        torch.optim.AdamW([weight for _, weight in student.trainable()], lr=student.config.learning_rate, weight_decay=0.0)
        if student.trainable()
        else None
        for student in team.students
    ]
    for _ in range(epochs):
        for start in range(0, len(probe_pool), questions_per_step):
            _plain_step(team, method, step_work(probe_pool[start : start + questions_per_step]), optimizers)
    path_ids: list[str] = []
    rows: list[Tensor] = []
    for start in range(0, len(train_pool), questions_per_step):
        work = step_work(train_pool[start : start + questions_per_step])
        path_ids += [path.path.id for path in work.paths]
        rows.append(losses_per_token(team, method, work))
    for student, weights in zip(team.students, kept, strict=True):
        student.load_state_dict(weights)
        for _, parameter in student.trainable():
            parameter.grad = None
    return path_ids, torch.cat(rows)


def losses_per_token(team: Team, method: Method, work: StepWork) -> Tensor:
    """NLL per label token of every path for every student [P, S], without gradient."""
    everything_PS = torch.ones(len(work.paths), len(team.students), dtype=torch.bool)
    with torch.no_grad():
        seen = look(team, work, read(team, work, everything_PS, method.row_tokens), method, None)
    return torch.stack([each.state.nll_P / each.state.num_tokens_P.clamp(min=1) for each in seen], dim=1)


def _plain_step(team: Team, method: Method, work: StepWork, optimizers: Sequence[torch.optim.Optimizer | None]) -> None:
    """One step of every student on every path."""
    everything_PS = torch.ones(len(work.paths), len(team.students), dtype=torch.bool)
    forwards = read(team, work, everything_PS, method.row_tokens)
    observations = look(team, work, forwards, method, None)
    for student, forward, observation, optimizer in zip(team.students, forwards, observations, optimizers, strict=True):
        if optimizer is None:
            continue
        optimizer.zero_grad(set_to_none=True)
        backward(
            student, forward, observation, token_weights(work.quality_P, forward.path_of_N, observation.state.num_tokens_P), None
        )
    team.ranks.add_gradients(team.students)
    for optimizer in optimizers:
        if optimizer is not None:
            optimizer.step()
