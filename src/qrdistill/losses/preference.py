"""Losses that set a right path against a wrong one, as functions of the two paths' token losses alone.

Both are functions of sums of token losses, so the gradient of a student follows from one number a path: d loss / d nll.

Shapes: R pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_CLOSEST = 1e-6
"""Mean log probabilities nearer to 0 than this count as this far from it: the odds of a certain path are infinite."""


def orpo_loss(nll_R2: Tensor, tokens_R2: Tensor, *, weight: float) -> Tensor:
    """``L = nll_right - weight log sigmoid(log odds_right - log odds_wrong)`` of each pair [R] (Hong et al., 2024, "ORPO").

    odds = P / (1 - P) with P = exp(-nll per token); the first term is per token as well. It needs no reference.

    Args:
        nll_R2: sums of token losses, nats: of the right path, of the wrong one.
        tokens_R2: their label tokens.
        weight: lambda.
    """
    log_R2 = (-nll_R2 / tokens_R2).clamp(max=-_CLOSEST)
    odds_R2 = log_R2 - torch.log(-torch.expm1(log_R2))
    return -log_R2[:, 0] - weight * logsigmoid(odds_R2[:, 0] - odds_R2[:, 1])


def dpo_loss(nll_R2: Tensor, reference_R2: Tensor, *, beta: float) -> Tensor:
    """``L = -log sigmoid(beta ((ref - nll)_right - (ref - nll)_wrong))`` of each pair [R] (Rafailov et al., 2023, "DPO").

    Args:
        nll_R2: sums of token losses, nats: of the right path, of the wrong one.
        reference_R2: the same under the student as it was when the phase began.
        beta: how dear moving away from it is.
    """
    gain_R2 = reference_R2 - nll_R2
    return -logsigmoid(beta * (gain_R2[:, 0] - gain_R2[:, 1]))
