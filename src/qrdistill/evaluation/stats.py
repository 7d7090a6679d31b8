"""Intervals and tests for accuracies; numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


SeedScores = Sequence[Mapping[str, float]]
"""Per seed: question id -> score in [0, 1] (or a difference of two)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds and questions with its 95% bootstrap interval; `n` counts answers, `p_value` is two-sided against 0."""

    mean: float
    low: float
    high: float
    n: int
    p_value: float


def bootstrap_over_seeds(scores: SeedScores, *, num_resamples: int = 10_000, seed: int = 0) -> Estimate:
    """Mean score, with an interval that holds for other questions and other seeds.

    Seeds are drawn with replacement, then questions: the same ones for all seeds where every seed answered the same questions
    (a crossed design), else each seed's own (a nested one). The mean weighs every seed alike. With one seed the interval says
    nothing about other seeds.

    Args:
        scores: one mapping per seed.
        num_resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        ValueError: there is no seed, or one without questions.
    """
    if not scores or not all(scores):
        raise ValueError("every seed needs at least one scored question")
    generator = np.random.default_rng(seed)
    is_crossed = len(scores) > 1 and all(column.keys() == scores[0].keys() for column in scores)
    means = (_crossed if is_crossed else _nested)(scores, num_resamples, generator)
    low, high = np.quantile(means, [0.025, 0.975])
    tail = max(min((means <= 0).mean(), (means >= 0).mean()), 1 / num_resamples)
    return Estimate(
        mean=float(np.mean([np.mean(list(column.values())) for column in scores])),
        low=float(low),
        high=float(high),
        n=sum(len(column) for column in scores),
        p_value=float(min(1.0, 2 * tail)),
    )


def paired_over_seeds(first: SeedScores, second: SeedScores, *, num_resamples: int = 10_000, seed: int = 0) -> Estimate:
    """Mean of first - second over the questions both answered under the same seed, with its interval.

    Raises:
        ValueError: the arms differ in seeds, or share no question under one.
    """
    differences = [
        {question: left[question] - right[question] for question in left.keys() & right.keys()}
        for left, right in zip(first, second, strict=True)
    ]
    ordered = [dict(sorted(column.items())) for column in differences]
    return bootstrap_over_seeds(ordered, num_resamples=num_resamples, seed=seed)


def cohen_h(first: float, second: float) -> float:
    """Effect size of two shares: 2 asin sqrt(first) - 2 asin sqrt(second) (Cohen, 1988); 0.2 small, 0.5 medium, 0.8 large.

    >>> round(cohen_h(0.75, 0.5), 3)
    0.524
    """
    return float(2 * np.arcsin(np.sqrt(first)) - 2 * np.arcsin(np.sqrt(second)))


def _nested(scores: SeedScores, num_resamples: int, generator: np.random.Generator) -> Any:
    num_seeds = len(scores)
    means_KBK = np.empty((num_seeds, num_resamples, num_seeds))
    for number, column in enumerate(scores):
        values, counts = np.unique(np.fromiter(column.values(), dtype=float), return_counts=True)
        n = int(counts.sum())
        means_KBK[number] = generator.multinomial(n, counts / n, size=(num_resamples, num_seeds)) @ values / n
    drawn_BK = generator.integers(num_seeds, size=(num_resamples, num_seeds))
    chosen_BK = means_KBK[drawn_BK, np.arange(num_resamples)[:, None], np.arange(num_seeds)[None, :]]
    return chosen_BK.mean(axis=1)


def _crossed(scores: SeedScores, num_resamples: int, generator: np.random.Generator) -> Any:
    questions = sorted(scores[0])
    score_KQ = np.array([[column[question] for question in questions] for column in scores])
    num_seeds, n = score_KQ.shape
    means = np.empty(num_resamples)
    for start in range(0, num_resamples, 1000):
        size = min(1000, num_resamples - start)
        weight_BK = generator.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=size) / num_seeds
        drawn_BQ = generator.integers(n, size=(size, n))
        means[start : start + size] = np.take_along_axis(weight_BK @ score_KQ, drawn_BQ, axis=1).mean(axis=1)
    return means
