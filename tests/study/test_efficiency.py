"""The share of the questions at which a method reaches plain SFT: on curves whose crossing is known."""

import numpy as np
import pytest

from qrdistill.study.efficiency import crossing, curves, sample_efficiency


def planted(rates: dict[str, float], seeds: int = 4, questions: int = 400) -> dict[str, list[dict[str, float]]]:
    """Answers that are right at given rates, the same questions being hard for every arm."""
    generator = np.random.default_rng(5)
    hardness = generator.random((seeds, questions))
    return {
        arm: [{f"{k}-{q}": float(hardness[k, q] < rate) for q in range(questions)} for k in range(seeds)]
        for arm, rate in rates.items()
    }


def test_a_planted_crossing_lies_in_the_interval():
    rates = {"fraction_10": 0.2, "fraction_30": 0.3, "fraction_50": 0.4, "qrdistill": 0.5, "all": 0.35}
    found = sample_efficiency(planted(rates))
    assert found["share"] == pytest.approx(0.4, abs=0.06)
    assert found["low"] <= found["share"] <= found["high"]
    assert found["low"] <= 0.4 <= found["high"]
    assert found["reached_frac"] == 1
    assert found["curves"]["qrdistill"] == [[0.1, "fraction_10"], [0.3, "fraction_30"], [0.5, "fraction_50"], [1.0, "qrdistill"]]


def test_a_method_that_never_gets_there_has_no_share():
    found = sample_efficiency(planted({"fraction_10": 0.1, "qrdistill": 0.2, "all": 0.6}))
    assert (found["share"], found["low"], found["high"], found["reached_frac"]) == (None, None, None, 0)


def test_without_curve_or_control_there_is_nothing_to_say():
    assert sample_efficiency(planted({"qrdistill": 0.5, "all": 0.4})) is None
    assert sample_efficiency(planted({"qrdistill": 0.5, "fraction_10": 0.4})) is None


def test_curves_are_named_by_what_is_joined():
    assert curves(["all+fraction_30", "all", "fraction_30", "random"]) == {
        "all": {0.3: "all+fraction_30", 1.0: "all"},
        "qrdistill": {0.3: "fraction_30"},
    }
    assert crossing([0.2, 1.0], [0.5, 0.6], 0.4) == 0.2
