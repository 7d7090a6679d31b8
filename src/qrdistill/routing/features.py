"""The learning state: what one forward pass says about a path for a student, right now, without gradient.

Shapes: P paths, S students, F features, N label tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RANK_CAP = 100
FEATURES = ("nll_per_byte", "rank_surprisal", "brier_nll", "value_right", "log_tokens", "quality", "utility")
"""Names of the F features, in order. `utility` is the running utility of the path (0 where it is not known yet)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathState:
    """Per-path sums over label tokens for one student [P]."""

    nll_P: Tensor
    rank_P: Tensor
    """Sum of min(rank, 100) of the label tokens, rank 1 = the student's argmax."""
    brier_P: Tensor
    """Sum over label tokens of the Brier score 1 - 2 p_label + sum_v p_v^2."""
    num_tokens_P: Tensor
    value_right_P: Tensor
    """Answer-determining label tokens that are the student's argmax."""
    value_tokens_P: Tensor
    """Answer-determining label tokens."""


def path_state(
    nll_N: Tensor, rank_N: Tensor, brier_N: Tensor, is_value_N: Tensor, path_of_N: Tensor, num_paths: int
) -> PathState:
    """Sum token observations over the label tokens of each path."""

    def total(token_N: Tensor) -> Tensor:
        return torch.zeros(num_paths).index_add_(0, path_of_N, token_N.float())

    return PathState(
        nll_P=total(nll_N),
        rank_P=total(rank_N.clamp(max=RANK_CAP)),
        brier_P=total(brier_N),
        num_tokens_P=total(torch.ones_like(nll_N)),
        value_right_P=total((rank_N == 1) & is_value_N),
        value_tokens_P=total(is_value_N),
    )


def state_features(
    states: list[PathState], *, bytes_P: Tensor, quality_P: Tensor, utility_PS: Tensor, question_of_P: Tensor
) -> Tensor:
    """Learning-state features u [P, S, F], z-scored within each question, clipped to [-3, 3].

    Sources: NLL per byte compares tokenizers; the rank-surprisal ratio sum min(rank, 100) / sum NLL and the Brier / NLL ratio
    tell "unlikely but ranked high" (learnable) from "far off"; see METHOD section 4.
    """
    columns = []
    for student, state in enumerate(states):
        nll_P = state.nll_P.clamp(min=1e-6)
        columns.append(
            torch.stack(
                [
                    nll_P / bytes_P,
                    state.rank_P / nll_P,
                    state.brier_P / nll_P,
                    state.value_right_P / state.value_tokens_P.clamp(min=1),
                    state.num_tokens_P.log(),
                    quality_P,
                    torch.nan_to_num(utility_PS[:, student]),
                ],
                dim=-1,
            )
        )
    raw_PSF = torch.stack(columns, dim=1)
    num_paths, num_students, num_features = raw_PSF.shape
    flat = standardise_within(raw_PSF.reshape(num_paths, -1), question_of_P)
    return flat.reshape(num_paths, num_students, num_features).clamp(-3, 3)


def standardise_within(value_PS: Tensor, question_of_P: Tensor) -> Tensor:
    """z-score values among the paths of each question: "which path", not "which question".

    NaN entries are left out and stay NaN; a question whose values do not differ (or with one path) gets zeros.
    """
    result = torch.full_like(value_PS, torch.nan)
    for question in set(question_of_P.tolist()):
        rows = question_of_P == question
        block = value_PS[rows]
        mean = torch.nanmean(block, dim=0, keepdim=True)
        deviation = block - mean
        scale = torch.nanmean(deviation.square(), dim=0, keepdim=True).sqrt()
        # A relative floor: rounding noise between equal values must not be blown up to unit variance.
        is_flat = scale <= 1e-6 * mean.abs().clamp(min=1e-6)
        result[rows] = torch.where(is_flat, deviation * 0, deviation / scale.clamp(min=1e-12))
    return result
