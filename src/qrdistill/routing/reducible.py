"""Utility `rho`: how much of a path's loss can still be learned (Mindermann et al., 2022, "RHO-LOSS").

Shapes: P paths, S students, R paths with a reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qrdistill.config.method import RhoUtilityConfig
from qrdistill.routing.seen import Seen


class RhoUtility:
    """``r = l_now - l_reference``, nats per token: high for what is not learned yet but learnable, low for noise and the trivial.

    The reference is the loss of the same path under the same student after a short training on the held-out validation paths
    only; it is measured once, before the first step (`qrdistill.training.reference`).

    Args:
        config: how the reference is made.
        num_students: S.
        groups: unused (the utility is per path); accepted so that every utility is built alike.
    """

    wants_sketch = False
    wants_reference = True
    wants_answers = False
    counts_first_sight = False

    def __init__(self, config: RhoUtilityConfig, *, num_students: int, groups: Sequence[tuple[str, str]]) -> None:
        self.config = config
        self._num_students = num_students
        self._row: dict[str, int] = {}
        self._reference_RS = torch.zeros(0, num_students)

    def set_reference(self, path_ids: Sequence[str], nll_per_token_RS: Tensor | None = None) -> None:
        """Name the paths that have a reference, in order, and (the first time) give it."""
        self._row = {path_id: row for row, path_id in enumerate(path_ids)}
        if nll_per_token_RS is not None:
            self._reference_RS = nll_per_token_RS.clone()

    def advance(self) -> None:
        """Nothing fades."""

    def witness(self, seen: Seen) -> None:
        """Validation paths trained the reference, so they say nothing here."""

    def score(self, seen: Seen) -> Tensor:
        """Reducible loss of each path a student has read; NaN elsewhere and for paths without a reference."""
        result_PS = torch.full((len(seen.path_ids), self._num_students), torch.nan)
        rows = torch.tensor([self._row.get(path_id, -1) for path_id in seen.path_ids])
        for student, state in enumerate(seen.states):
            is_known_P = (state.num_tokens_P > 0) & (rows >= 0)
            now_P = state.nll_P[is_known_P] / state.num_tokens_P[is_known_P]
            result_PS[is_known_P, student] = now_P - self._reference_RS[rows[is_known_P], student]
        return result_PS

    def expect(self, styles: Sequence[str], families: Sequence[str]) -> Tensor:
        """Nothing: the loss of a path needs the path."""
        return torch.full((len(styles), self._num_students), torch.nan)

    def state(self) -> dict[str, Tensor]:
        """The reference losses."""
        return {"reference_RS": self._reference_RS.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue with saved reference losses."""
        self._reference_RS = state["reference_RS"].clone()
