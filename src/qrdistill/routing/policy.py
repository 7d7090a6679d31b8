"""What every policy is: it sees a step's paths and answers with gate probabilities and gates.

Draws are a function of (seed, step) alone, so a resumed run and any number of ranks draw the same gates. Gates are drawn before
the forward pass, so paths nobody wants cost nothing.

Shapes: P paths, S students, E embedding width, F learning-state features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from qrdistill.config import content_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """What a policy may look at."""

    step: int
    progress: float
    """Share of the run's steps that are done, in [0, 1)."""
    styles: tuple[str, ...]
    question_of_P: Tensor
    question_PE: Tensor
    path_PE: Tensor
    state_PSF: Tensor | None = None
    """Learning-state features; absent when the recipe's policy has no utility."""
    epoch: int = 0
    path_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Gate probabilities and gates of one step."""

    prob_PS: Tensor
    gate_PS: Tensor
    """bool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the step's forward passes showed of its paths, without gradient."""

    utility_PS: Tensor
    """Held-out utility r; NaN where it was not measured."""
    nll_PS: Tensor
    """Sum of each path's token losses in nats; 0 where a student did not read the path."""
    tokens_PS: Tensor
    """Label tokens each student read of each path."""
    quality_P: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a policy is built for."""

    students: tuple[str, ...]
    seed: int
    embed_dim: int = 0


class Policy(Protocol):
    """Decides routes and, if it can learn, learns from what the students showed."""

    reads_all: bool
    """Whether every student reads every path, routed or not, because `learn` needs the losses of closed gates too."""

    def route(self, view: StepView) -> Routing:
        """Gates of this step."""

    def learn(self, view: StepView, evidence: Evidence) -> dict[str, float]:
        """One update from what this step's forward passes showed; returns metrics (empty for fixed policies)."""

    def state(self) -> dict[str, Tensor]:
        """Everything learned so far."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved state."""


def budget_share(question_of_P: Tensor, budget: float) -> Tensor:
    """rho0 of each path: budget / number of paths of its question, at most 1 [P]."""
    counts = torch.bincount(question_of_P)
    return (budget / counts[question_of_P].float()).clamp(max=1.0)


def step_generator(seed: int, purpose: str, step: int) -> torch.Generator:
    """A generator whose draws depend on (seed, purpose, step) alone."""
    return torch.Generator().manual_seed(int(content_hash([seed, purpose, step]), 16) % 2**62)
