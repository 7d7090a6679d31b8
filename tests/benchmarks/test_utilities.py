"""benchmarks/utilities.py: what it says of utilities whose worth is known, and the whole procedure at its smallest."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from tests.recipes import toy_recipe

STYLES = ("vanilla", "cot", "tot", "program", "backward", "fact")


@pytest.fixture(scope="module")
def benchmark(root: Path):
    spec = importlib.util.spec_from_file_location("utilities_benchmark", root / "benchmarks" / "utilities.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def cells(turn: int = 0) -> dict:
    """Ten cells whose styles reach .1 to .6, in an order of their own each."""
    return {
        (seed, "a", "t"): {style: 0.1 * (1 + (7 * seed + k + turn) % 6) for k, style in enumerate(STYLES)} for seed in range(10)
    }


def test_a_utility_that_knows_is_told_from_one_that_is_turned_and_one_that_says_nothing(benchmark):
    accuracy = cells()
    knows = benchmark.compare(accuracy, accuracy)
    assert knows["spearman"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert knows["first_choice_over_mean_style_points"]["mean"] == pytest.approx(25.0)
    assert knows["best_style_over_first_choice_points"]["mean"] == 0
    turned = {cell: {style: -value for style, value in each.items()} for cell, each in accuracy.items()}
    assert benchmark.compare(turned, accuracy)["spearman"]["mean"] == -1.0
    assert benchmark.compare(turned, accuracy)["best_style_over_first_choice_points"]["mean"] == pytest.approx(50.0)
    flat = {cell: dict.fromkeys(STYLES, 0.5) for cell in accuracy}
    assert benchmark.compare(flat, accuracy)["spearman"]["mean"] == 0.0


def test_cells_that_cannot_tell_are_counted_apart(benchmark):
    accuracy = cells() | {(99, "a", "t"): dict.fromkeys(STYLES, 0.0)}
    found = benchmark.compare(cells(), accuracy)
    assert (found["n"], found["cells_without_a_difference"]) == (10, 1)
    assert benchmark.compare({}, accuracy) == {"n": 0, "cells_without_a_difference": 11}


def test_the_procedure_runs_and_every_utility_looks_at_the_same_students(benchmark, tmp_path):
    config = toy_recipe(training={"questions_per_step": 2, "max_label_tokens": 1500}, evaluation={"max_new_tokens": 8})
    found = benchmark.measure(config, tmp_path, seeds=[1], early=0.5)
    assert found["utilities"].keys() == set(benchmark.UTILITIES)
    assert len(found["cells"]) == 2 * 2
    assert all(cell["accuracy"].keys() == set(STYLES) for cell in found["cells"])
    for kind in benchmark.UTILITIES:
        assert any(cell["utility"][kind] for cell in found["cells"]), f"{kind} measured something"
    routed = []
    for kind in benchmark.UTILITIES:
        run = benchmark.Run(tmp_path / f"early-{kind}-1")
        routed.append([(r.step, r.path_id, r.student, r.is_routed) for r in run.ledger.all(benchmark.Route)])
    assert all(routes == routed[0] for routes in routed)


def test_the_committed_result_has_n_and_intervals(root: Path, benchmark):
    found = json.loads((root / "benchmarks" / "results" / "utilities-tiny.json").read_text())
    assert found["utilities"].keys() == set(benchmark.UTILITIES)
    for entry in found["utilities"].values():
        assert entry["n"] + entry["cells_without_a_difference"] == len(found["cells"])
        assert entry["spearman"]["low"] <= entry["spearman"]["mean"] <= entry["spearman"]["high"]
    utility = {
        kind: {(c["seed"], c["student"], c["task"]): c["utility"][kind] for c in found["cells"]} for kind in benchmark.UTILITIES
    }
    accuracy = {(c["seed"], c["student"], c["task"]): c["accuracy"] for c in found["cells"]}
    again = {kind: benchmark.compare(utility[kind], accuracy) for kind in benchmark.UTILITIES}
    assert again == found["utilities"], "the summary is that of the cells beside it"
