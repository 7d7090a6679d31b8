"""The router's loss and its budget controller.

Shapes: P paths, S students.
"""

from __future__ import annotations

import torch
from torch import Tensor


def router_loss(logit_PS: Tensor, prob_PS: Tensor, advantage_PS: Tensor, *, weight_penalty: float) -> Tensor:
    """``L = - mean(A p) + c mean(a^2)``, the exact expectation over Bernoulli gates of an additive utility (METHOD section 4).

    For gates g ~ Bernoulli(p), E[sum_ij g_ij A_ij] = sum_ij p_ij A_ij, so the gradient has no sampling noise and no
    straight-through bias. A is standardised within the question, hence closing every gate gains nothing.

    Args:
        logit_PS: gate logits a.
        prob_PS: gate probabilities p, differentiable in a.
        advantage_PS: A, no gradient; NaN where the utility was not measured (such entries are left out).
        weight_penalty: c, keeps gates away from saturation.
    """
    is_known_PS = ~torch.isnan(advantage_PS)
    gain = (torch.nan_to_num(advantage_PS) * prob_PS).sum() / is_known_PS.sum().clamp(min=1)
    return -gain + weight_penalty * logit_PS.square().mean()


def budget_bias_step(bias_S: Tensor, prob_PS: Tensor, target_P: Tensor, *, step: float) -> Tensor:
    """``b_s += step * sign(mean rho0 - mean p_s)``: an integral controller outside the gradient (METHOD section 4).

    Args:
        bias_S: today's biases.
        prob_PS: gate probabilities of this step.
        target_P: rho0 of each path's question, budget / number of its paths, at most 1.
        step: 0 switches the controller off.
    """
    return bias_S + step * torch.sign(target_P.mean() - prob_PS.mean(dim=0))
