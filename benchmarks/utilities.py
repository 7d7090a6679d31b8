"""Which utility, measured early, predicts what a student gains from being taught one style alone? (METHOD section 4)

    python benchmarks/utilities.py [--recipe RECIPE] [--seeds 0-2] [--early 0.2] [--folder FOLDER] [--out RESULT.json]

For each seed one pool of kept paths is made. Then, with the recipe's students and equal label tokens for each arm,

1. for each utility a training on random subsets (the same subsets for all: the students go the same way) for the share `early`
   of the tokens; what the utility says of each style, student and task in the last third of a student's steps is kept;
2. for each style a training on that style alone, to the end, and its accuracy on the test questions.

A cell is one seed, student and task: six styles with a utility and an accuracy each. Reported per utility: the mean over cells
of Spearman's correlation between both, and how much better than the mean style the style it ranks first turned out, in points;
with 95% intervals from resampling the cells (seeds are few, so these say little about other seeds). A cell in which every style
has the same accuracy tells nothing and is counted apart.

Without a recipe it trains two tiny students from random weights: that tests the procedure on any CPU, and says nothing about
pretrained students, who have language to begin with. What has been trained is kept in the folder and not trained again.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qrdistill.config import Config, QRDistillPolicyConfig, SinglePathPolicyConfig, load_recipe, validate
from qrdistill.pipeline import run_stage
from qrdistill.routing.reliability import kappa
from qrdistill.store import STAGES, Run, adopt
from qrdistill.store.provenance import versions
from qrdistill.study.variants import changed, seeds_of, without_peers
from qrdistill.types import Prediction, Question, ReasoningPath, Route

UTILITIES = ("success", "value", "align", "rho")
Cell = tuple[int, str, str]
"""Seed, student, task."""
TINY: dict[str, Any] = {
    "name": "utilities-tiny",
    "questions": {
        "tasks": [{"kind": "reasoning", "name": "leap_year"}, {"kind": "reasoning", "name": "calendar_arithmetic"}],
        "num_train": 40,
        "num_validation": 6,
        "num_test": 60,
    },
    "students": [
        {
            "name": name,
            "source": {"kind": "tiny", "architecture": name, "seed": seed},
            "adapter": {"kind": "full"},
            "learning_rate": 4e-3,
        }
        for seed, name in enumerate(("llama", "gpt_neox"))
    ],
    "method": {"policy": {"kind": "qrdistill", "budget": 2, "encoder": {"kind": "ngram", "dim": 32}, "probe_steps": 4}},
    "training": {"questions_per_step": 1, "checkpoint_steps": 1000, "max_label_tokens": 60_000},
    "evaluation": {"max_new_tokens": 240, "batch_size": 64},
    "runtime": {"threads": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="", help="its students, tasks and token budget; default: two tiny students")
    parser.add_argument("--set", action="append", default=[], help="a.b=value, as for qrdistill run")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--early", type=float, default=0.2, help="share of the label tokens after which utilities are read")
    parser.add_argument("--folder", default="", help="where runs are kept; default: a temporary folder")
    parser.add_argument("--out", default="")
    given = parser.parse_args()
    config = load_recipe(given.recipe, overrides=given.set) if given.recipe else validate(TINY)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(config, Path(given.folder or temporary), seeds=seeds_of(given.seeds), early=given.early)
    found |= {
        "recipe": config.name,
        "students": [student.name for student in config.students],
        "early_frac": given.early,
        "max_label_tokens": config.training.max_label_tokens,
        "num_test": config.questions.num_test,
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **versions()},
        "seconds": round(time.monotonic() - began_s),
    }
    if given.out:
        Path(given.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["utilities"], indent=1))


def measure(config: Config, folder: Path, *, seeds: Sequence[int], early: float) -> dict[str, Any]:
    """Train everything that is not trained yet, and compare."""
    tokens = config.training.max_label_tokens
    if not tokens:
        raise SystemExit("the recipe has no training.max_label_tokens, so its arms could not be compared; set it with --set")
    utility: dict[str, dict[Cell, dict[str, float]]] = {kind: {} for kind in UTILITIES}
    accuracy: dict[Cell, dict[str, float]] = defaultdict(dict)
    for seed in seeds:
        seeded = changed(without_peers(config), evaluation={"is_zero_shot": False}).model_copy(update={"seed": seed})
        source = _run(folder / f"pool-{seed}", seeded, None, until="filter")
        for kind in UTILITIES:
            arm = changed(_watching(seeded, kind), training={"max_label_tokens": max(round(tokens * early), 1)})
            run = _run(folder / f"early-{kind}-{seed}", arm, source, until="train")
            for (student, task), by_style in last_utilities(run).items():
                utility[kind][seed, student, task] = by_style
        for style in config.generate.styles:
            arm = changed(seeded, method={"policy": SinglePathPolicyConfig(style=style)})
            run = _run(folder / f"{style}-{seed}", arm, source, until="evaluate")
            for (student, task), share in accuracies(run).items():
                accuracy[seed, student, task][style] = share
    cells = [{"seed": c[0], "student": c[1], "task": c[2], "accuracy": a} for c, a in sorted(accuracy.items())]
    for entry in cells:
        key = (entry["seed"], entry["student"], entry["task"])
        entry["utility"] = {kind: utility[kind].get(key, {}) for kind in UTILITIES}
    return {"utilities": {kind: compare(utility[kind], accuracy) for kind in UTILITIES}, "cells": cells}


def _watching(config: Config, kind: str) -> Config:
    """Random subsets to the end (the warm-up never ends), with a utility that only looks on."""
    policy = config.method.policy
    shared = {
        name: getattr(policy, name) for name in ("budget", "encoder", "probe_steps", "probe_questions") if hasattr(policy, name)
    }
    watching = QRDistillPolicyConfig.model_validate({"utility": {"kind": kind}, "warmup_frac": 1.0})
    return changed(config, method={"policy": watching.model_copy(update=shared)})


def _run(folder: Path, config: Config, source: Run | None, *, until: str) -> Run:
    run = Run(folder, config)
    with run.owned():
        if source is not None:
            adopt(run, source)
        for stage in STAGES[: STAGES.index(until) + 1]:  # type: ignore[arg-type]
            run_stage(run, stage)
    run.close()
    return Run(folder)


def last_utilities(run: Run) -> dict[tuple[str, str], dict[str, float]]:
    """Mean utility of each style in the last third of a student's steps: (student, task) -> style -> utility."""
    tasks = {question.id: question.task for question in run.ledger.all(Question)}
    where = {path.id: (tasks[path.question_id], path.style) for path in run.ledger.iterate(ReasoningPath)}
    routes = run.ledger.all(Route)
    last: dict[str, int] = {}  # a student whose tokens are used up earlier is looked at earlier
    for route in routes:
        if route.is_routed:
            last[route.student] = max(route.step, last.get(route.student, 0))
    seen: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for route in routes:
        end = last.get(route.student, 0)
        if end * 2 / 3 < route.step <= end and route.utility == route.utility:
            task, style = where[route.path_id]
            seen[route.student, task][style].append(route.utility)
    return {key: {style: float(np.mean(values)) for style, values in styles.items()} for key, styles in seen.items()}


def accuracies(run: Run) -> dict[tuple[str, str], float]:
    """Share of right test answers: (student, task) -> share."""
    tasks = {question.id: question.task for question in run.ledger.all(Question, "split = 'test'")}
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for answer in run.ledger.all(Prediction, "arm = 'trained'"):
        if answer.verdict != "timeout":
            right[answer.student, tasks[answer.question_id]].append(answer.verdict == "match")
    return {key: sum(marks) / len(marks) for key, marks in right.items()}


def compare(utility: Mapping[Cell, Mapping[str, float]], accuracy: Mapping[Cell, Mapping[str, float]]) -> dict[str, Any]:
    """Correlation and gain of the first choice over the cells that can tell, with intervals."""
    rows, num_level = [], 0
    for cell, reached in sorted(accuracy.items()):
        styles = sorted(reached.keys() & utility.get(cell, {}).keys())
        said, got = [utility[cell][style] for style in styles] if styles else [], [reached[style] for style in styles]
        if len(styles) < 3 or max(got) == min(got):
            num_level += 1
            continue
        first = styles[int(np.argmax(said))]
        rows.append(
            (
                kappa(torch.tensor(said), torch.tensor(got)),
                100 * (reached[first] - np.mean(got)),
                100 * (max(got) - reached[first]),
            )
        )
    if not rows:
        return {"n": 0, "cells_without_a_difference": num_level}
    table = np.array(rows)
    generator = np.random.default_rng(0)
    drawn = table[generator.integers(len(table), size=(4000, len(table)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    names = ("spearman", "first_choice_over_mean_style_points", "best_style_over_first_choice_points")
    return {
        "n": len(table),
        "cells_without_a_difference": num_level,
        **{
            name: {"mean": round(float(table[:, i].mean()), 3), "low": round(float(low[i]), 3), "high": round(float(high[i]), 3)}
            for i, name in enumerate(names)
        },
    }


if __name__ == "__main__":
    main()
