"""Intervals and tests for accuracies; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_Z95 = 1.959963984540054


def wilson(num_correct: int, n: int) -> tuple[float, float]:
    """95% Wilson score interval of a share (Wilson, 1927); (0, 1) for n = 0.

    >>> tuple(round(bound, 3) for bound in wilson(0, 10))
    (0.0, 0.278)
    """
    if n == 0:
        return 0.0, 1.0
    square = _Z95 * _Z95
    share = num_correct / n
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * (share * (1 - share) / n + square / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Mean difference of two arms over the same questions, with its 95% bootstrap interval and two-sided p-value."""

    diff: float
    low: float
    high: float
    p_value: float
    n: int


def paired_bootstrap(first: Sequence[float], second: Sequence[float], *, num_resamples: int = 10_000, seed: int = 0) -> Paired:
    """Bootstrap mean(first - second) over questions.

    Args:
        first: per-question scores of one arm (0 or 1, or means over seeds).
        second: of the other arm, same questions in the same order.
        num_resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        ValueError: the arms differ in length or are empty.
    """
    difference = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if len(first) != len(second) or not len(first):
        raise ValueError(f"paired arms need the same questions, found {len(first)} and {len(second)}")
    generator = np.random.default_rng(seed)
    n = len(difference)
    means = np.empty(num_resamples)
    for start in range(0, num_resamples, 1000):
        size = min(1000, num_resamples - start)
        means[start : start + size] = difference[generator.integers(n, size=(size, n))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    tail = min((means <= 0).mean(), (means >= 0).mean())
    return Paired(diff=float(difference.mean()), low=float(low), high=float(high), p_value=float(min(1.0, 2 * tail)), n=n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm, 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
