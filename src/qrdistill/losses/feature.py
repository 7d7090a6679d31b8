"""The paper's peer loss in feature space (its equations 5-8), and the form of it that cannot collapse.

Shapes: C positions, J width of the shared space, S students, P paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Target = Literal["ensemble", "leave_one_out"]


def competence(projected_S: Sequence[Tensor], head_SJ: Tensor, path_of_C: Tensor) -> Tensor:
    """``gamma_s = softmax_s(w_s . mean_t z_st)`` of each position's path (eq 6-7) [C, S].

    Args:
        projected_S: z of each student [C, J].
        head_SJ: w, one row a student.
        path_of_C: which path a position belongs to; the mean runs over its positions.
    """
    num_paths = int(path_of_C.max()) + 1 if len(path_of_C) else 0
    count_P1 = torch.bincount(path_of_C, minlength=num_paths).clamp(min=1)[:, None].to(head_SJ.dtype)
    scores = []
    for projected_CJ, head_J in zip(projected_S, head_SJ, strict=True):
        sum_PJ = torch.zeros(num_paths, projected_CJ.shape[1]).index_add(0, path_of_C, projected_CJ)
        scores.append((sum_PJ / count_P1) @ head_J)
    return torch.stack(scores, dim=1).softmax(dim=1)[path_of_C]


def feature_targets(projected_S: Sequence[Tensor], gamma_CS: Tensor, *, target: Target) -> list[Tensor]:
    """What each student should match: the ensemble ``sum_s gamma_s z_s`` (eq 7), or that of its peers alone [C, J]."""
    targets = []
    for student in range(len(projected_S)):
        weight_CS = gamma_CS
        if target == "leave_one_out":
            weight_CS = gamma_CS.clone()
            weight_CS[:, student] = 0.0
            weight_CS = weight_CS / weight_CS.sum(dim=1, keepdim=True).clamp(min=1e-12)
        targets.append(sum((weight_CS[:, [peer]] * z_CJ for peer, z_CJ in enumerate(projected_S)), torch.zeros(())))
    return targets


def feature_loss(
    projected_S: Sequence[Tensor], gamma_CS: Tensor, *, target: Target, is_target_detached: bool, is_normalised: bool
) -> Tensor:
    """``L_mutual = sum_s mean_CJ (z_s - target_s)^2`` (eq 8).

    With trainable projections and a target that is not detached, z = 0 for everybody is a minimum: the collapse that the paper's
    equations allow. Normalised to unit length against a detached target the loss is ``sum_s mean_C (1 - cos)``, and with fixed
    orthogonal projections nothing is left that could shrink.
    """
    total = torch.zeros(())
    for mine_CJ, target_CJ in zip(projected_S, feature_targets(projected_S, gamma_CS, target=target), strict=True):
        goal_CJ = target_CJ.detach() if is_target_detached else target_CJ
        if is_normalised:
            total = total + (1 - torch.nn.functional.cosine_similarity(mine_CJ, goal_CJ, dim=1)).mean()
        else:
            total = total + (mine_CJ - goal_CJ).square().mean()
    return total


def effective_rank(rows_CJ: Tensor) -> float:
    """``exp(entropy of the normalised singular values)`` (Roy and Vetterli, 2007) of centred rows: 1 when all lie on a line."""
    if len(rows_CJ) < 2:
        return 0.0
    singular = torch.linalg.svdvals((rows_CJ - rows_CJ.mean(dim=0)).float())
    share = singular / singular.sum().clamp(min=1e-12)
    return float(torch.special.entr(share).sum().exp()) if float(singular.sum()) > 1e-9 else 0.0


def agreement(projected_S: Sequence[Tensor]) -> dict[str, float]:
    """Instruments of the shared space: how alike students' rows are at the same position and at another one.

    Returns:
        "norm_ratio": smallest over largest mean norm (1: nobody has shrunk); "effective_rank": the smallest of the students';
        "cosine": mean over pairs at the same position; "cosine_shuffled": with the other student's positions moved by one half.
        Teaching raises the first cosine above the second; homogenising raises both.
    """
    num = len(projected_S[0])
    norms = torch.stack([rows.norm(dim=1).mean() for rows in projected_S])
    same, other = [], []
    for first in range(len(projected_S)):
        for second in range(first + 1, len(projected_S)):
            shifted = projected_S[second].roll(max(num // 2, 1), dims=0)
            same.append(torch.nn.functional.cosine_similarity(projected_S[first], projected_S[second], dim=1).mean())
            other.append(torch.nn.functional.cosine_similarity(projected_S[first], shifted, dim=1).mean())
    return {
        "norm_ratio": float(norms.min() / norms.max().clamp(min=1e-12)),
        "effective_rank": min(effective_rank(rows) for rows in projected_S),
        "cosine": float(torch.stack(same).mean()) if same else 0.0,
        "cosine_shuffled": float(torch.stack(other).mean()) if other else 0.0,
    }
