"""Totals with their intervals, from a random part of what is added up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, 97.5th percentile, for 1 to 10 degrees of freedom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A total and the interval it lies in with 95% confidence."""

    value: float
    low: float
    high: float

    def map(self, of: Callable[[float], float]) -> Estimate:
        """The estimate of a rising function of the total."""
        return Estimate(value=of(self.value), low=of(self.low), high=of(self.high))


def exact(value: float) -> Estimate:
    """A total that is known."""
    return Estimate(value=value, low=value, high=value)


def project(values: Sequence[float], population: int) -> Estimate:
    """The total over a population of which `values`, at least two, are a simple random part.

    total = N mean(v), half-width t(n - 1) sd(v) sqrt(N (N - n) / n): Student's t with the correction for a finite population, so
    the interval closes when everything has been seen. It never falls below what has been seen. The values of costs and times
    are not negative.

    >>> project([1.0, 2.0, 3.0], 3)
    Estimate(value=6.0, low=6.0, high=6.0)
    >>> project([2.0, 2.0], 10)
    Estimate(value=20.0, low=20.0, high=20.0)
    """
    n, seen = len(values), sum(values)
    left = population - n
    if left <= 0:
        return exact(seen)
    value = population * fmean(values)
    half = student_t(n - 1) * stdev(values) * math.sqrt(population * left / n)
    return Estimate(value=value, low=max(seen, value - half), high=value + half)


def add(parts: Sequence[Estimate]) -> Estimate:
    """The total of independent totals: distances to the bounds add up in squares."""
    value = sum(part.value for part in parts)
    below = math.sqrt(sum((part.value - part.low) ** 2 for part in parts))
    above = math.sqrt(sum((part.high - part.value) ** 2 for part in parts))
    return Estimate(value=value, low=value - below, high=value + above)


def add_bounds(parts: Sequence[Estimate]) -> Estimate:
    """The total of totals that may rise and fall together: bounds add up."""
    return Estimate(
        value=sum(part.value for part in parts), low=sum(part.low for part in parts), high=sum(part.high for part in parts)
    )


def greatest(parts: Sequence[Estimate]) -> Estimate:
    """The greatest of several totals."""
    return Estimate(
        value=max(part.value for part in parts), low=max(part.low for part in parts), high=max(part.high for part in parts)
    )


def student_t(freedom: int) -> float:
    """97.5th percentile of Student's t; beyond 10 degrees of freedom by the expansion around the normal (error below 0.003).

    >>> round(student_t(1), 2), round(student_t(30), 3)
    (12.71, 2.042)
    """
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
