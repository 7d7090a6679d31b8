"""What is read off the output head at label tokens, and what a way of reading it must offer.

Shapes: N label tokens, A rows whose likeliest pieces are wanted, U pieces, M pieces reported, V vocabulary, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceRequest:
    """Likeliest pieces wanted at some label rows."""

    row_A: Tensor
    token_U: Tensor
    """Which tokens of the vocabulary count as pieces; all different."""
    number: int
    """M, pieces reported per row (U if there are fewer)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReading:
    """What the head says about label tokens [N]; float32, without graph."""

    nll_N: Tensor
    """Negative log-likelihood, nats."""
    rank_N: Tensor
    """Rank of the label among the vocabulary, 1 = the student's argmax."""
    brier_N: Tensor
    """Brier score 1 - 2 p_label + sum_v p_v^2."""
    log_total_N: Tensor
    """Logarithm of the sum of all exponentiated logits."""
    grad_ND: Tensor | None = None
    """Gradient of each token's nll with respect to its hidden state; zeros for tokens it was not asked of."""
    pieces: Sequence[tuple[Tensor, Tensor]] = ()
    """For each request piece_AM (indices into its tokens) and prob_AM, likeliest first, in the order of its rows; on the CPU."""


class HeadPass(Protocol):
    """One student's label rows, read in independent parts, by whichever thread is free."""

    @property
    def parts(self) -> list[slice]:
        """What `read` is to be called with."""

    def read(self, part: slice) -> Any:
        """Read one part."""

    def join(self, readings: Sequence[Any]) -> LabelReading:
        """The readings of all parts, in the order of `parts`, as one."""
