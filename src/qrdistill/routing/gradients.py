"""Utility `align`: would a step on this path lower the validation loss of its own task family?

Shapes: P paths, S students, G groups (style x family), K families, X sketch width squared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qrdistill.config.method import AlignUtilityConfig
from qrdistill.routing.seen import Seen, sketches_of

_Group = tuple[str, str]


class AlignUtility:
    """``r = cos(phi(path), EMA phi(validation paths of the same family))``, with an expectation per style and family.

    The utility `sketch` compares with the mean over every family; here a path is compared with its own, and every probe also says
    beforehand what each style's paths are like: the cosine of a validation path with the mean *before* the path enters it.

    Args:
        config: sketch width and decays.
        num_students: S.
        groups: every (style, family) pair that can occur.
    """

    wants_sketch = True
    wants_reference = False
    wants_answers = False
    counts_first_sight = False

    def __init__(self, config: AlignUtilityConfig, *, num_students: int, groups: Sequence[_Group]) -> None:
        self.config = config
        self._group = {group: index for index, group in enumerate(groups)}
        self._family = {family: index for index, family in enumerate(sorted({family for _, family in groups}))}
        self._mean_SKX = torch.zeros(num_students, len(self._family), config.dim * config.dim)
        self._sums_SG2 = torch.zeros(num_students, len(groups), 2)

    def advance(self) -> None:
        """Old cosines fade; the means fade per probe."""
        self._sums_SG2 *= self.config.group_decay

    def witness(self, seen: Seen) -> None:
        """Compare the witnessed paths with the means so far, then move the means towards them."""
        score_PS = self.score(seen)
        group_P = torch.tensor([self._group[group] for group in zip(seen.styles, seen.families, strict=True)])
        family_P = torch.tensor([self._family[family] for family in seen.families])
        for student, sketch_PX in enumerate(sketches_of(seen)):
            score_P = score_PS[:, student]
            is_known_P = ~torch.isnan(score_P)
            rows_P2 = torch.stack([is_known_P.float(), torch.nan_to_num(score_P)], dim=1)
            self._sums_SG2[student].index_add_(0, group_P, rows_P2)
            is_read_P = seen.states[student].num_tokens_P > 0
            for family in sorted(set(family_P[is_read_P].tolist())):
                mean_X = self._mean_SKX[student, family]
                decay = self.config.decay if mean_X.any() else 0.0
                fresh_X = sketch_PX[is_read_P & (family_P == family)].mean(dim=0)
                self._mean_SKX[student, family] = decay * mean_X + (1 - decay) * fresh_X

    def score(self, seen: Seen) -> Tensor:
        """Cosine of each path with its family's mean; NaN where it was not read or the family is not known yet."""
        family_P = torch.tensor([self._family[family] for family in seen.families])
        columns = []
        for student, sketch_PX in enumerate(sketches_of(seen)):
            mean_PX = self._mean_SKX[student, family_P]
            cosine_P = torch.nn.functional.cosine_similarity(sketch_PX, mean_PX, dim=1)
            is_known_P = (seen.states[student].num_tokens_P > 0) & mean_PX.any(dim=1)
            columns.append(torch.where(is_known_P, cosine_P, torch.nan))
        return torch.stack(columns, dim=1)

    def expect(self, styles: Sequence[str], families: Sequence[str]) -> Tensor:
        """Faded mean cosine of the group's validation paths."""
        count_SG, total_SG = self._sums_SG2.unbind(dim=2)
        mean_SG = torch.where(count_SG > 1e-6, total_SG / count_SG.clamp(min=1e-6), torch.nan)
        return mean_SG[:, torch.tensor([self._group[group] for group in zip(styles, families, strict=True)])].T

    def state(self) -> dict[str, Tensor]:
        """Means and faded cosines."""
        return {"mean_SKX": self._mean_SKX.clone(), "sums_SG2": self._sums_SG2.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved ones."""
        self._mean_SKX, self._sums_SG2 = state["mean_SKX"].clone(), state["sums_SG2"].clone()
