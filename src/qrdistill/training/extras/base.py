"""What every optional stage is: it may change the pool before a step, and train on after the last one.

Each holds its own state, which goes into checkpoints, so a resumed training is the training left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from qrdistill.progress import Progress

if TYPE_CHECKING:
    from qrdistill.training.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a phase after the last step leaves what it does."""

    progress: Progress
    save: Callable[[], None]
    """Commits a checkpoint."""
    log: Callable[[dict[str, Any]], None]
    """Writes one line of metrics."""


class Extra:
    """An optional stage that does nothing; each kind overrides what it needs."""

    kind = ""
    styles: Sequence[str] = ()
    """Styles that its paths bring into the pool."""
    token_frac = 0.0
    """Share of a token budget that it keeps for its own phase."""

    def before_step(self, trainer: Trainer) -> None:
        """Called before the work of each step is taken from the pool."""

    def after_steps(self, trainer: Trainer, desk: Desk) -> None:
        """Called once after the last step (again after a resume, if it was not over)."""

    def metrics(self) -> dict[str, float]:
        """What to write beside each step's metrics."""
        return {}

    def summary(self) -> dict[str, Any]:
        """What to note when the training ends."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Everything a checkpoint must hold."""
        return {}

    def load_state(self, trainer: Trainer, state: dict[str, Tensor]) -> None:
        """Continue from a saved state."""
