"""The learning state: what forward passes say about paths for a student, right now, without gradient.

Shapes: P paths, S students, F features, N label tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qrdistill.config.method import FeatureName

RANK_CAP = 100
FEATURES: tuple[FeatureName, ...] = (
    "nll_per_byte",
    "rank_surprisal",
    "brier_nll",
    "value_right",
    "log_tokens",
    "quality",
    "utility",
)
"""Names of the F features, in order. `utility` is the running utility of the path (0 where it is not known yet)."""
UTILITY = FEATURES.index("utility")
NUM_MEASURED = 4
"""Features that come from forward passes; the others are known beforehand."""


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


class StateMemory:
    """What each student can do now with each style of each task family: faded means of the raw learning state.

    Gates are drawn before the forward pass, so that paths nobody wants cost nothing. What the router knows about a path is
    therefore what the students showed on other paths of its group lately (routed paths and validation probes), and what is known
    of the path itself without a forward pass (its length and quality).

    Args:
        num_students: S.
        groups: every (style, family) pair that can occur.
        decay: fading per optimizer step.
    """

    def __init__(self, *, num_students: int, groups: Sequence[tuple[str, str]], decay: float) -> None:
        self.decay = decay
        self._index = {group: index for index, group in enumerate(groups)}
        self._sums_SGX = torch.zeros(num_students, len(self._index), 1 + NUM_MEASURED)

    def advance(self) -> None:
        """One optimizer step has passed."""
        self._sums_SGX *= self.decay

    def witness(self, group_P: Tensor, states: Sequence[PathState], bytes_P: Tensor) -> None:
        """Add what a forward pass showed of every path that a student has read."""
        for student, state in enumerate(states):
            was_read_P = state.num_tokens_P > 0
            nll_P = state.nll_P.clamp(min=1e-6)
            rows_PX = torch.stack(
                [
                    torch.ones_like(nll_P),
                    nll_P / bytes_P,
                    state.rank_P / nll_P,
                    state.brier_P / nll_P,
                    state.value_right_P / state.value_tokens_P.clamp(min=1),
                ],
                dim=1,
            )
            self._sums_SGX[student].index_add_(0, group_P[was_read_P], rows_PX[was_read_P])

    def groups(self, styles: Sequence[str], families: Sequence[str]) -> Tensor:
        """Index of each path's group [P]."""
        return torch.tensor([self._index[group] for group in zip(styles, families, strict=True)], dtype=torch.long)

    def features(
        self, group_P: Tensor, *, tokens_PS: Tensor, quality_P: Tensor, utility_PS: Tensor, question_of_P: Tensor
    ) -> Tensor:
        """Learning-state features u [P, S, F], z-scored within each question, clipped to [-3, 3]; 0 where nothing is known.

        Sources: NLL per byte compares tokenizers; the rank-surprisal ratio sum min(rank, 100) / sum NLL and the Brier / NLL ratio
        tell "unlikely but ranked high" (learnable) from "far off"; see METHOD section 4.
        """
        count_SG1 = self._sums_SGX[..., :1]
        means_SGX = torch.where(count_SG1 > 1e-6, self._sums_SGX[..., 1:] / count_SG1.clamp(min=1e-6), torch.nan)
        measured_PSX = means_SGX[:, group_P].transpose(0, 1)
        known_PS = [tokens_PS.log(), quality_P[:, None].expand_as(tokens_PS), utility_PS]
        raw_PSF = torch.cat([measured_PSX, torch.stack(known_PS, dim=-1)], dim=-1)
        flat = standardise_within(raw_PSF.flatten(1), question_of_P)
        return torch.nan_to_num(flat.reshape(raw_PSF.shape)).clamp(-3, 3)

    def state(self) -> dict[str, Tensor]:
        """The faded sums."""
        return {"sums_SGX": self._sums_SGX.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved sums."""
        self._sums_SGX = state["sums_SGX"].clone()


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
