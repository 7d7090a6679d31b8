"""Totals projected from a random part: their intervals hold as often as they say."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from qrdistill.planning.estimate import add, exact, project, student_t


def test_students_t_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (*range(1, 40), 100, 1000):
        assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=0.003)


def coverage(draw: Callable[[random.Random], float], *, part: int, population: int) -> float:
    """How often the interval of a random part covers the true total of its population."""
    dice = random.Random(f"{part}/{population}")
    hits = 0
    for _ in range(2000):
        values = [draw(dice) for _ in range(population)]
        found = project(dice.sample(values, part), population)
        hits += found.low <= sum(values) <= found.high
    return hits / 2000


@pytest.mark.parametrize(("part", "population"), [(5, 200), (5, 8), (20, 200)])
def test_the_interval_covers_the_total(part: int, population: int) -> None:
    assert 0.94 <= coverage(lambda dice: dice.gauss(10, 2), part=part, population=population) <= 0.96
    assert 0.90 <= coverage(lambda dice: dice.lognormvariate(0, 0.6), part=part, population=population) <= 0.97, "skewed"


def test_what_was_seen_is_a_floor_and_everything_seen_is_exact() -> None:
    assert project([0.0, 100.0], 3).low == 100
    assert project([3.0, 4.0], 2) == exact(7)


def test_independent_totals_add_up_in_squares() -> None:
    one, other = project([1.0, 5.0], 10), project([2.0, 3.0], 10)
    both = add([one, other])
    assert both.value == one.value + other.value
    assert (both.high - both.value) ** 2 == pytest.approx((one.high - one.value) ** 2 + (other.high - other.value) ** 2)
