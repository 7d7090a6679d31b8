"""What a utility sees of paths, and what every utility can be asked.

Shapes: P paths, S students, W sketch width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from qrdistill.routing.features import PathState


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one forward pass of every student showed about P paths."""

    styles: tuple[str, ...]
    families: tuple[str, ...]
    path_ids: tuple[str, ...]
    states: list[PathState]
    """One per student."""
    sketches: list[Tensor] | None = None
    """phi of each path, one [P, W * W] per student, when the utility wants them."""


class Utility(Protocol):
    """Scores paths for students; everything it knows is in `state`."""

    wants_sketch: bool
    """Whether paths come with sketches of their gradients."""
    wants_reference: bool
    """Whether reference losses are measured before the first step."""
    wants_answers: bool
    """Whether students answer validation questions at every probe."""
    counts_first_sight: bool
    """Whether training paths count as evidence the first time they are seen."""

    def advance(self) -> None:
        """One optimizer step has passed: old evidence fades."""

    def witness(self, seen: Seen) -> None:
        """Take in evidence from paths no student was trained on."""

    def score(self, seen: Seen) -> Tensor:
        """Utility r [P, S]; NaN where nothing is known yet."""

    def expect(self, styles: Sequence[str], families: Sequence[str]) -> Tensor:
        """What is expected of such paths before anybody reads them [P, S]; NaN where nothing is."""

    def state(self) -> dict[str, Tensor]:
        """Everything witnessed so far."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved state."""


def sketches_of(seen: Seen) -> list[Tensor]:
    """The sketches, for a utility that asked for them."""
    assert seen.sketches is not None, "the sketch utility was given observations without sketches"
    return seen.sketches
