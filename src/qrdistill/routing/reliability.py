"""How far the router is trusted: kappa, the rank correlation of its scores with what training on such paths does.

Shapes: P paths, S students, B bins.
"""

from __future__ import annotations

import torch
from torch import Tensor


def equal_bins(score_P: Tensor, num_bins: int) -> list[Tensor]:
    """Rows of the paths, sorted by score and cut into bins of equal size (bins that would be empty are left out)."""
    return [rows for rows in torch.tensor_split(score_P.argsort(stable=True), num_bins) if len(rows)]


def kappa(score_B: Tensor, drop_B: Tensor) -> float:
    """Spearman's rank correlation of the bins' mean score with the measured drop of the validation loss, in [-1, 1].

    0 where nothing can be said: fewer than three bins, or scores or drops that do not differ.
    """
    if len(score_B) < 3:
        return 0.0
    ranks = [_ranks(score_B), _ranks(drop_B)]
    centred = [rank - rank.mean() for rank in ranks]
    scale = float(centred[0].norm() * centred[1].norm())
    return float(centred[0] @ centred[1]) / scale if scale > 1e-9 else 0.0


def _ranks(value_B: Tensor) -> Tensor:
    """Ranks from 0, equal values sharing their mean rank."""
    below = (value_B[:, None] > value_B[None]).double().sum(dim=1)
    same = (value_B[:, None] == value_B[None]).double().sum(dim=1)
    return below + (same - 1) / 2


def trusted(prob_PS: Tensor, target_P: Tensor, kappa_S: Tensor) -> Tensor:
    """``max(kappa, 0) p + (1 - max(kappa, 0)) rho0``: an unreliable router fades into a fresh random subset (RS2)."""
    trust_S = kappa_S.clamp(0, 1)
    return trust_S * prob_PS + (1 - trust_S) * target_P[:, None]
