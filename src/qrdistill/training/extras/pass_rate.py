"""Questions a student answers right now and then weigh more in its loss than those it always or never gets right.

w_q = p (1 - p) + floor, divided by its mean over the questions, p the share of right answers among those drawn in the last round
(METHOD section 4). p (1 - p) is the variance of being right, the most one question can say about what separates its right
answers from its wrong ones. The loss of a step is divided by the weights of its tokens *without* w_q, so that a step on one
question differs from a step on another.

Shapes: Q questions of the pool, S students.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qrdistill.config import PassRateConfig
from qrdistill.training.extras.base import Extra
from qrdistill.training.extras.sampling import Sample, is_round, sample_answers

if TYPE_CHECKING:
    from qrdistill.training.trainer import Trainer


class PassRate(Extra):
    """Asks every student at every round and weighs the questions by what it got right."""

    kind = "pass_rate"

    def __init__(self, config: PassRateConfig) -> None:
        self.config = config
        self._names: list[str] = []
        self._right_tried_QS2 = torch.zeros(0, 0, 2)

    def before_step(self, trainer: Trainer) -> None:
        """Ask, count, weigh."""
        if not is_round(trainer, self.config):
            return
        fresh_QS2 = count(sample_answers(trainer, self.config), len(trainer.train_pool), len(trainer.team.students))
        is_asked_QS1 = fresh_QS2[..., 1:] > 0
        known = self._right_tried_QS2 if self._right_tried_QS2.numel() else torch.zeros_like(fresh_QS2)
        self._right_tried_QS2 = torch.where(is_asked_QS1, fresh_QS2, known)
        self._weigh(trainer)

    def _weigh(self, trainer: Trainer) -> None:
        self._names = [student.name for student in trainer.team.students]
        weight_QS = question_weights(self._right_tried_QS2, floor=self.config.floor)
        for place, (question, row) in enumerate(zip(trainer.train_pool, weight_QS.tolist(), strict=True)):
            trainer.train_pool[place] = dataclasses.replace(question, weights=tuple(row))

    def metrics(self) -> dict[str, float]:
        """Share of right answers of each student in the last rounds."""
        totals = self._right_tried_QS2.sum(dim=0).tolist()
        return {
            f"pool/pass_rate/{name}": right / tried for name, (right, tried) in zip(self._names, totals, strict=True) if tried
        }

    def state(self) -> dict[str, Tensor]:
        """Right and counted answers of each question and student."""
        return {"right_tried_QS2": self._right_tried_QS2.clone()}

    def load_state(self, trainer: Trainer, state: dict[str, Tensor]) -> None:
        """Weigh the questions as before."""
        self._right_tried_QS2 = state["right_tried_QS2"].clone()
        self._weigh(trainer)


def count(samples: list[Sample], num_questions: int, num_students: int) -> Tensor:
    """Right answers and all answers [Q, S, 2]; one whose check timed out is neither."""
    counts_QS2 = torch.zeros(num_questions, num_students, 2)
    for sample in samples:
        if sample.verdict != "timeout":
            counts_QS2[sample.question, sample.student] += torch.tensor([float(sample.verdict == "match"), 1.0])
    return counts_QS2


def question_weights(right_tried_QS2: Tensor, *, floor: float) -> Tensor:
    """P (1 - p) + floor with mean 1 over the questions [Q, S]; a question nobody was asked has weight 1.

    >>> question_weights(torch.tensor([[[0.0, 4.0]], [[2.0, 4.0]], [[4.0, 4.0]]]), floor=0.05).squeeze().tolist()
    [0.375, 2.25, 0.375]
    """
    right_QS, tried_QS = right_tried_QS2.unbind(dim=-1)
    share_QS = right_QS / tried_QS
    raw_QS = share_QS * (1 - share_QS) + floor
    return (raw_QS / raw_QS.nanmean(dim=0)).nan_to_num(1.0)
