"""The one interval the room computes itself: a paired difference of two accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Difference:
    """After minus before over the same questions, with its 95% percentile bootstrap interval."""

    value: float
    low: float
    high: float
    n: int
    num_gained: int
    num_lost: int


def paired_difference(before: Sequence[bool], after: Sequence[bool]) -> Difference:
    """Bootstrap the mean difference over questions.

    Each question's difference is -1, 0 or +1, so a resample is one multinomial draw of how many of each come up: exact, and
    independent of the number of questions. The seed is fixed, so the same answers give the same interval.

    >>> paired_difference([False] * 10, [True] * 10).low
    1.0
    """
    n = len(before)
    gained = sum(b > a for a, b in zip(before, after, strict=True))
    lost = sum(b < a for a, b in zip(before, after, strict=True))
    draws = np.random.default_rng(0).multinomial(n, [gained / n, lost / n, (n - gained - lost) / n], size=NUM_RESAMPLES)
    means = (draws[:, 0] - draws[:, 1]) / n
    low, high = np.quantile(means, [0.025, 0.975])
    return Difference((gained - lost) / n, float(low), float(high), n, gained, lost)
