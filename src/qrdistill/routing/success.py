"""Utility `success`: how often a student answers right when it reasons in a style, counted on validation questions.

Shapes: P paths, S students, G groups (style x family).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qrdistill.config.method import SuccessUtilityConfig
from qrdistill.routing.seen import Seen


class SuccessUtility:
    """``r = (right + m mean) / (tried + m) + c (share - mean share)``: a Beta posterior per (student, style, family), and
    inside a style the share of a path's values that come out right.

    The prior mean is the student's success over all styles of the family. `choose` decides which style to try next by an upper
    confidence bound, so that decoding is spent where it is still open which style is best.

    Args:
        config: prior, forgetting, exploration.
        num_students: S.
        groups: every (style, family) pair that can occur.
    """

    wants_sketch = False
    wants_reference = False
    wants_answers = True
    counts_first_sight = False

    def __init__(self, config: SuccessUtilityConfig, *, num_students: int, groups: Sequence[tuple[str, str]]) -> None:
        self.config = config
        self._groups = tuple(groups)
        self._index = {group: index for index, group in enumerate(groups)}
        self._tried_SG = torch.zeros(num_students, len(groups))
        self._right_SG = torch.zeros(num_students, len(groups))
        self._share_SG2 = torch.zeros(num_students, len(groups), 2)

    def advance(self) -> None:
        """Old answers fade: the student has changed."""
        for sums in (self._tried_SG, self._right_SG, self._share_SG2):
            sums *= self.config.decay

    def choose(self, student: int, styles: Sequence[str], family: str) -> str:
        """The style to try next: the highest mean + c sqrt(log(1 + all tries) / (1 + tries)); ties go to the first."""
        rate_G, tried_G = self.rates()[student], self._tried_SG[student]
        rows = [self._index[style, family] for style in styles]
        total = float(tried_G[rows].sum())
        width = self.config.exploration * math.sqrt(math.log1p(total))
        bounds = [float(rate_G[row]) + width / math.sqrt(1.0 + float(tried_G[row])) for row in rows]
        untried = [style for style, row in zip(styles, rows, strict=True) if float(tried_G[row]) < 1e-3]
        return untried[0] if untried else styles[max(range(len(rows)), key=bounds.__getitem__)]

    def tell(self, student: int, style: str, family: str, *, is_right: bool) -> None:
        """One decoded answer."""
        row = self._index[style, family]
        self._tried_SG[student, row] += 1
        self._right_SG[student, row] += is_right

    def witness(self, seen: Seen) -> None:
        """Shares of values that come out right under teacher forcing, the yardstick for paths inside a style."""
        group_P = self._rows(seen.styles, seen.families)
        for student, state in enumerate(seen.states):
            has_P = state.value_tokens_P > 0
            share_P = state.value_right_P / state.value_tokens_P.clamp(min=1)
            self._share_SG2[student].index_add_(0, group_P, torch.stack([has_P.float(), share_P * has_P], dim=1))

    def score(self, seen: Seen) -> Tensor:
        """Success of the group plus the path's own term where the path was read."""
        base_PS = self.expect(seen.styles, seen.families)
        group_P = self._rows(seen.styles, seen.families)
        for student, state in enumerate(seen.states):
            count_G, total_G = self._share_SG2[student].unbind(dim=1)
            share_P = state.value_right_P / state.value_tokens_P.clamp(min=1)
            is_known_P = (state.value_tokens_P > 0) & (count_G[group_P] > 1e-6)
            own_P = share_P - (total_G / count_G.clamp(min=1e-6))[group_P]
            base_PS[:, student] += self.config.path_weight * torch.where(is_known_P, own_P, torch.zeros_like(own_P))
        return base_PS

    def expect(self, styles: Sequence[str], families: Sequence[str]) -> Tensor:
        """Shrunken success rate of each path's group."""
        return self.rates()[:, self._rows(styles, families)].T.clone()

    def rates(self) -> Tensor:
        """R [S, G]; NaN where the student has not answered a question of the family yet."""
        rates_SG = torch.full_like(self._tried_SG, torch.nan)
        for family in {family for _, family in self._groups}:
            rows = [row for row, (_, other) in enumerate(self._groups) if other == family]
            tried_SR, right_SR = self._tried_SG[:, rows], self._right_SG[:, rows]
            mean_S1 = (right_SR.sum(dim=1, keepdim=True) + 0.5) / (tried_SR.sum(dim=1, keepdim=True) + 1.0)
            strength = self.config.prior_strength
            shrunk_SR = (right_SR + strength * mean_S1) / (tried_SR + strength)
            rates_SG[:, rows] = torch.where(tried_SR.sum(dim=1, keepdim=True) > 0, shrunk_SR, torch.nan)
        return rates_SG

    def _rows(self, styles: Sequence[str], families: Sequence[str]) -> Tensor:
        return torch.tensor([self._index[group] for group in zip(styles, families, strict=True)], dtype=torch.long)

    def state(self) -> dict[str, Tensor]:
        """Faded counts."""
        return {"tried_SG": self._tried_SG.clone(), "right_SG": self._right_SG.clone(), "share_SG2": self._share_SG2.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved counts."""
        self._tried_SG, self._right_SG = state["tried_SG"].clone(), state["right_SG"].clone()
        self._share_SG2 = state["share_SG2"].clone()
