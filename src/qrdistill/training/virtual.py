"""Virtual steps: what would training on these paths do to the validation loss? (METHOD section 4, "Reliability gate")

Shapes: P paths, S students, B bins.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qrdistill.losses import token_weights
from qrdistill.routing.reliability import equal_bins, kappa
from qrdistill.students import Student
from qrdistill.training.forward import Forward, Observation, backward
from qrdistill.training.pool import StepWork
from qrdistill.training.reference import losses_per_token
from qrdistill.training.step import Method, look, read
from qrdistill.training.team import Team


def measure_kappa(team: Team, method: Method, work: StepWork, validation: StepWork, score_PS: Tensor, *, bins: int) -> Tensor:
    """Kappa of each student [S]: sort the paths of `work` by score, take one virtual step a bin, see what validation says.

    The virtual step is Adam's first one, ``w -= lr sign(g)``; weights are put back after each. The validation loss is the mean
    NLL per token over the paths of `validation`. Frozen students get 1 (nothing of theirs is routed by gradient).
    """
    kept = [student.state_dict() for student in team.students]
    before_S = losses_per_token(team, method, validation).mean(dim=0)
    bins_SB = [equal_bins(score_PS[:, student], bins) for student in range(len(team.students))]
    drops = []
    for number in range(len(bins_SB[0])):
        in_bin_PS = torch.zeros_like(score_PS, dtype=torch.bool)
        for column, rows_B in enumerate(bins_SB):
            in_bin_PS[rows_B[number], column] = True
        forwards = read(team, work, in_bin_PS, method.row_tokens)
        observations = look(team, work, forwards, method, None)
        team.map(_add_gradients, forwards, observations, [work.quality_P] * len(forwards))
        team.ranks.add_gradients(team.students)
        team.map(_sign_step)
        drops.append(before_S - losses_per_token(team, method, validation).mean(dim=0))
        for student, weights in zip(team.students, kept, strict=True):
            student.load_state_dict(weights)
    drop_SB = torch.stack(drops, dim=1)
    result = []
    for index, student in enumerate(team.students):
        score_B = torch.stack([score_PS[rows, index].mean() for rows in bins_SB[index]])
        result.append(kappa(score_B, drop_SB[index]) if student.trainable() else 1.0)
    return torch.tensor(result)


def _add_gradients(student: Student, forward: Forward, observation: Observation, quality_P: Tensor) -> None:
    if student.trainable():
        for _, weight in student.trainable():
            weight.grad = None
        backward(student, forward, observation, token_weights(quality_P, forward.path_of_N, observation.state.num_tokens_P), None)


def _sign_step(student: Student) -> None:
    with torch.no_grad():
        for _, weight in student.trainable():
            if weight.grad is not None:
                weight.sub_(student.config.learning_rate * weight.grad.sign())
                weight.grad = None
