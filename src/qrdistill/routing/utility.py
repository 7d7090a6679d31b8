"""What a path is worth to a student, measured on paths the student was not trained on.

A utility answers "which path of this question should this student see?". It never reads the training loss of the batch it
scores (that signal only says "easy"; METHOD section 4). Evidence is *witnessed* on validation paths and, where a utility allows
it, on training paths before their first update, when they are still unseen.

Shapes: P paths, S students, G groups (style x family), W sketch width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qrdistill.config.method import SketchUtilityConfig, ValueUtilityConfig
from qrdistill.routing.gradients import AlignUtility
from qrdistill.routing.reducible import RhoUtility
from qrdistill.routing.seen import Seen, Utility, sketches_of
from qrdistill.routing.success import SuccessUtility


class ValueUtility:
    """How often a style leads this student to the right values, per task family.

    For every (student, style, family) it keeps faded sums over witnessed paths: paths, paths whose
    answer-determining tokens were all the student's argmax, such tokens, and such tokens right. The utility is

        r = (right_paths + m * share^n) / (paths + m),

    with share = right tokens / tokens and n = tokens per path: early on, whole paths are hardly ever right, but the share of
    right tokens to the power of their number already tells styles apart; later the counted paths take over.

    Few paths of each group are witnessed, so groups learn from each other: on the logit scale r is drawn towards what the style
    is worth in general, family mean + style effect, with the weight of `pooling` paths (partial pooling of a two-way table:
    Gelman and Hill 2007, chapter 12). With one family nothing changes.

    Args:
        config: decay, prior strength m and pooling.
        num_students: S.
        groups: every (style, family) pair that can occur.
    """

    wants_sketch = False
    wants_reference = False
    wants_answers = False
    counts_first_sight = True

    def __init__(self, config: ValueUtilityConfig, *, num_students: int, groups: Sequence[tuple[str, str]]) -> None:
        self.config = config
        self._index = {group: index for index, group in enumerate(groups)}
        self._style_of_G, self._family_of_G = (
            torch.tensor([sorted(set(names)).index(name) for name in names], dtype=torch.long)
            for names in ([group[0] for group in groups], [group[1] for group in groups])
        )
        self._sums_SG4 = torch.zeros(num_students, len(self._index), 4)

    def advance(self) -> None:
        """Fade every sum."""
        self._sums_SG4 *= self.config.decay

    def witness(self, seen: Seen) -> None:
        """Count witnessed paths."""
        groups = [self._index[group] for group in zip(seen.styles, seen.families, strict=True)]
        group_P = torch.tensor(groups, dtype=torch.long)
        for student, state in enumerate(seen.states):
            has_value_P = state.value_tokens_P > 0
            is_right_P = (state.value_right_P == state.value_tokens_P) & has_value_P
            rows_P4 = torch.stack([has_value_P.float(), is_right_P.float(), state.value_tokens_P, state.value_right_P], dim=1)
            self._sums_SG4[student].index_add_(0, group_P, rows_P4)

    def score(self, seen: Seen) -> Tensor:
        """Shrunken success rate of each path's group, for each student."""
        return self.expect(seen.styles, seen.families)

    def expect(self, styles: Sequence[str], families: Sequence[str]) -> Tensor:
        """The same: the value of a path is that of its group."""
        groups = [self._index[group] for group in zip(styles, families, strict=True)]
        return self.rates()[:, torch.tensor(groups, dtype=torch.long)].T

    def rates(self) -> Tensor:
        """R [S, G]; NaN for a group without evidence."""
        paths_SG, right_SG, tokens_SG, right_tokens_SG = self._sums_SG4.unbind(dim=2)
        share_SG = (right_tokens_SG + 0.5) / (tokens_SG + 1.0)
        prior_SG = share_SG ** (tokens_SG / paths_SG.clamp(min=1e-6))
        strength = self.config.prior_strength
        rate_SG = (right_SG + strength * prior_SG) / (paths_SG + strength)
        logit_SG = torch.where(paths_SG > 0, rate_SG.clamp(1e-3, 1 - 1e-3).logit(), torch.nan)
        family_SG = group_means(logit_SG, self._family_of_G)
        general_SG = family_SG + group_means(logit_SG - family_SG, self._style_of_G)
        trust_SG = paths_SG / (paths_SG + self.config.pooling).clamp(min=1e-6)
        return torch.sigmoid(general_SG + trust_SG * (logit_SG - general_SG))

    def state(self) -> dict[str, Tensor]:
        """The faded sums."""
        return {"sums_SG4": self._sums_SG4.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved sums."""
        self._sums_SG4 = state["sums_SG4"].clone()


def group_means(value_SG: Tensor, set_of_G: Tensor) -> Tensor:
    """For each column the mean over the columns of its set, NaN left out [S, G]."""
    totals = torch.zeros(2, len(value_SG), int(set_of_G.max()) + 1)
    total, count = totals.index_add(2, set_of_G, torch.stack([torch.nan_to_num(value_SG), (~value_SG.isnan()).float()]))
    mean_SK: Tensor = total / count
    return mean_SK[:, set_of_G]


class SketchUtility:
    """``r = cos(phi(path), EMA phi(validation))``: does a step on this path also lower the validation loss?

    Args:
        config: sketch width and decay.
        num_students: S.
        groups: unused (the sketch is per path); accepted so that every utility is built alike.
    """

    wants_sketch = True
    wants_reference = False
    wants_answers = False
    counts_first_sight = False

    def __init__(self, config: SketchUtilityConfig, *, num_students: int, groups: Sequence[tuple[str, str]]) -> None:
        self.config = config
        self._mean_SX = torch.zeros(num_students, config.dim * config.dim)

    def advance(self) -> None:
        """The running mean fades per probe, not per step."""

    def witness(self, seen: Seen) -> None:
        """Move the running mean towards the witnessed paths' mean sketch."""
        for student, (sketch_PX, state) in enumerate(zip(sketches_of(seen), seen.states, strict=True)):
            sketch_PX = sketch_PX[state.num_tokens_P > 0]
            decay = self.config.decay if self._mean_SX[student].any() else 0.0
            self._mean_SX[student] = decay * self._mean_SX[student] + (1 - decay) * sketch_PX.mean(dim=0)

    def score(self, seen: Seen) -> Tensor:
        """Cosine of each path's sketch with the student's running mean."""
        columns = [
            torch.nn.functional.cosine_similarity(sketch_PX, mean_X[None], dim=1)
            if mean_X.any()
            else torch.full((len(sketch_PX),), torch.nan)
            for sketch_PX, mean_X in zip(sketches_of(seen), self._mean_SX, strict=True)
        ]
        was_read_PS = torch.stack([state.num_tokens_P > 0 for state in seen.states], dim=1)
        return torch.where(was_read_PS, torch.stack(columns, dim=1), torch.nan)

    def expect(self, styles: Sequence[str], families: Sequence[str]) -> Tensor:
        """Nothing: a cosine needs the path's own gradient."""
        return torch.full((len(styles), len(self._mean_SX)), torch.nan)

    def state(self) -> dict[str, Tensor]:
        """The running means."""
        return {"mean_SX": self._mean_SX.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from saved means."""
        self._mean_SX = state["mean_SX"].clone()


UTILITIES: dict[str, Callable[..., Utility]] = {
    "value": ValueUtility,
    "sketch": SketchUtility,
    "align": AlignUtility,
    "rho": RhoUtility,
    "success": SuccessUtility,
}
"""kind -> class built with (config, num_students=, groups=)."""


def make_utility(config: Any, *, num_students: int, groups: Sequence[tuple[str, str]]) -> Utility:
    """Build the utility a config asks for."""
    return UTILITIES[config.kind](config, num_students=num_students, groups=groups)
