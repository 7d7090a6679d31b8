"""The router's loss, and how its gates keep the budget.

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


def within_share(logit_PS: Tensor, target_P: Tensor, question_of_P: Tensor) -> Tensor:
    """``sigmoid(a + c)`` with one c per question and student that makes the mean over the question's paths rho0 exactly.

    A running bias (b_s += step * sign(...), METHOD section 4) lags behind a router that learns quickly: a budget of one path of
    five was 1.7 to 3.0 paths after 120 steps. Solved per question, the budget holds at every step, and a path gains only what
    another one loses: "which path", never "which question". The gradient is that of the whole function, c included:
    dp_i/da_j = s_i (1[i = j] - s_j / sum s), s = p (1 - p).

    Args:
        logit_PS: gate logits, already divided by the temperature.
        target_P: rho0 of each path's question, in (0, 1]; at 1 every gate of the question is open.
        question_of_P: 0, 1, ... for the question of each path.
    """
    num_P = torch.bincount(question_of_P).to(logit_PS)[question_of_P]

    def total(value_PS: Tensor) -> Tensor:
        sum_QS = value_PS.new_zeros(int(question_of_P.max()) + 1, value_PS.shape[1]).index_add(0, question_of_P, value_PS)
        return sum_QS[question_of_P]

    with torch.no_grad():
        aim_PS = target_P[:, None].to(logit_PS).expand_as(logit_PS)
        reach = float(logit_PS.abs().max()) + _SATURATED
        low_PS, high_PS = torch.full_like(logit_PS, -reach), torch.full_like(logit_PS, reach)
        for _ in range(_BISECTIONS):
            middle_PS = (low_PS + high_PS) / 2
            is_below_PS = total(torch.sigmoid(logit_PS + middle_PS)) / num_P[:, None] < aim_PS
            low_PS, high_PS = torch.where(is_below_PS, middle_PS, low_PS), torch.where(is_below_PS, high_PS, middle_PS)
        slope_PS = torch.sigmoid(logit_PS + low_PS)
        slope_PS = slope_PS * (1 - slope_PS)
        weight_PS = slope_PS / total(slope_PS).clamp(min=1e-12)
    # zero in value; with the gradient of -c (implicit function theorem)
    moved_PS = total(weight_PS * (logit_PS - logit_PS.detach()))
    return torch.where(aim_PS >= 1.0, torch.ones_like(logit_PS), torch.sigmoid(logit_PS + low_PS - moved_PS))


_SATURATED = 20.0
"""Beyond the largest logit: sigmoid(-20) = 2e-9, so every share from 0 to 1 lies between."""
_BISECTIONS = 60
