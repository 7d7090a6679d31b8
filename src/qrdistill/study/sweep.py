"""A study: every variant under every seed, nothing generated or filtered twice, every arm trained on the same number of tokens.

::

    STUDY/
      recipe.yaml                 the recipe the variants are made from
      plan.json                   the token budget, fixed when the study begins
      pools/                      runs up to the filter, shared by every arm that asks for the same
      arms/ARM[--STUDENT]/seed-N  one run folder each
      results/                    each arm's answers, question by question
      logs/                       what the worker processes said
      study.json                  the comparison (see `results.py`)

Stopping is safe at any time: finished arms are kept, a half-trained one goes on from its checkpoint. More variants or seeds may
be asked for later and are compared under the same budget.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrdistill.config import Config, differences, dump, load_recipe
from qrdistill.errors import QRDistillError, UnsafeConfigError, UsageError
from qrdistill.progress import SILENT, Progress
from qrdistill.store import Run, write_json, write_text
from qrdistill.store.lock import locked
from qrdistill.study.results import read_results, summarise
from qrdistill.study.units import Unit
from qrdistill.study.variants import Variant, changed, parts, qrdistill, variant_named
from qrdistill.study.workers import Workers


@dataclass(slots=True, kw_only=True)
class _Layout:
    """The units of a study: pools first, then arms."""

    generate: dict[str, Unit] = field(default_factory=dict)
    filter: dict[str, Unit] = field(default_factory=dict)
    arms: list[Unit] = field(default_factory=list)


def run_study(
    config: Config,
    folder: str | Path,
    *,
    variants: Sequence[str],
    seeds: Sequence[int],
    jobs: int = 1,
    expected: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Run every variant under every seed and compare them; the same call resumes.

    Args:
        config: the recipe the variants are made from; its seed is replaced.
        folder: the study's folder.
        variants: names (see `qrdistill.study.variants`); the first, or qrdistill where it is named, is compared with the others.
        seeds: of data, initial weights and routing.
        jobs: processes at a time; they share the machine's cores and its GPU.
        expected: an earlier study.json, to say whether it is reproduced.
        progress: counts arms.

    Returns:
        What is written to study.json.

    Raises:
        UsageError: a variant is not known.
        ConfigError: a variant does not go with the recipe, or a name in the recipe is not known (before anything is written).
        UnsafeConfigError: the folder holds a study of another recipe, or arms would train on different numbers of tokens.
        DataError: arms did train on different numbers of tokens.
        RunInUseError: another process runs a study there.
    """
    folder = Path(folder)
    named = [variant_named(name) for name in variants]
    if not named or not seeds:
        raise UsageError("a study needs at least one variant and one seed")
    base = _as_arm(config, jobs)
    _insist_on_names(base, variants)
    with locked(folder):
        _remember_recipe(folder, config)
        with Workers(jobs, folder / "logs") as workers:
            tokens = _token_budget(folder, base, seeds[0], workers, progress)
            progress.note(f"every arm trains each student on {tokens:,} label tokens")
            layout = _lay_out(folder, base, variants, seeds, tokens)
            _do_all(workers, list(layout.generate.values()), "study, paths", progress)
            _do_all(workers, list(layout.filter.values()), "study, filter", progress)
            _do_all(workers, [unit for unit in layout.arms if not is_done(unit)], "study, arms", progress)
        results = read_results([Path(unit.result) for unit in layout.arms])
        budgets = _budgets(variants, base, tokens)
        study = summarise(results, variants=variants, seeds=seeds, budgets=budgets, tokens=tokens, config=base, expected=expected)
        write_json(folder / "study.json", study)
        return study


def study_so_far(
    config: Config, folder: str | Path, *, variants: Sequence[str], seeds: Sequence[int], jobs: int = 1
) -> dict[str, Any]:
    """Compare the arms and seeds that have results already; runs and writes nothing, also beside a study that is under way.

    Arguments are those of `run_study`. Arms without a whole seed are left out; `missing` names every unit that is to be run yet.

    Raises:
        UsageError: a variant is not known, or there is no result yet.
        UnsafeConfigError: the folder holds a study of another recipe.
        DataError: arms did train on different numbers of tokens.
    """
    folder = Path(folder)
    base = _as_arm(config, jobs)
    if not (folder / "recipe.yaml").is_file():
        raise UsageError(f"{folder} holds no study (no recipe.yaml); start one without --so-far")
    _remember_recipe(folder, config)
    plan = folder / "plan.json"
    tokens = base.training.max_label_tokens
    if not tokens and plan.is_file():
        tokens = int(json.loads(plan.read_text(encoding="utf-8"))["max_label_tokens"])
    layout = _lay_out(folder, base, variants, seeds, tokens) if tokens else _Layout()
    done = [unit for unit in layout.arms if is_done(unit)]
    left = [unit for unit in layout.arms if unit not in done]
    open_seeds = {(unit.arm, unit.seed) for unit in left}
    whole = [unit for unit in done if (unit.arm, unit.seed) not in open_seeds]
    arms = [name for name in variants if any(unit.arm == name for unit in whole)]
    if not arms:
        raise UsageError(f"{folder}: no arm has a result yet; go on with the same command without --so-far")
    results = read_results([Path(unit.result) for unit in whole])
    missing = [unit.label for unit in left]
    budgets = _budgets(arms, base, tokens)
    return summarise(results, variants=arms, seeds=seeds, budgets=budgets, tokens=tokens, config=base, missing=missing)


def is_done(unit: Unit) -> bool:
    """Whether an arm's result is there for today's recipe."""
    path = Path(unit.result)
    if not path.is_file():
        return False
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return bool(found["fingerprint"] == unit.fingerprint)


def _as_arm(config: Config, jobs: int) -> Config:
    """The recipe as every arm starts from it: its share of the cores, and no zero-shot answers of its own."""
    threads = config.runtime.threads or max(1, len(os.sched_getaffinity(0)) // max(jobs, 1))
    return changed(config, runtime={"threads": threads}, evaluation={"is_zero_shot": False})


def _insist_on_names(base: Config, variants: Sequence[str]) -> None:
    """Everything the arms' recipes name is there (before anything is written)."""
    from qrdistill.planning import check_names

    for name in variants:
        try:
            for recipe in parts(variant_named(name), base).values():
                check_names(recipe)
        except QRDistillError as error:
            raise type(error)(f"variant {name}: {error}") from error


def _remember_recipe(folder: Path, config: Config) -> None:
    """A folder belongs to one recipe; where its seed points and what machine it names does not matter."""
    path = folder / "recipe.yaml"
    if not path.is_file():
        if any(child.name not in ("lock", "logs") for child in folder.iterdir()):
            raise UsageError(f"{folder} is not empty and holds no study (no recipe.yaml); choose another folder with -o")
        write_text(path, f"# The recipe of this study, every setting written out\n{dump(config)}")
        return
    changes = [line for line in differences(load_recipe(path), config) if not line.startswith(("runtime.", "seed:", "name:"))]
    if changes:
        raise UnsafeConfigError(
            f"{folder} holds a study of another recipe ({'; '.join(changes[:6])}{' ...' if len(changes) > 6 else ''}); "
            "choose another folder with -o"
        )


# --- the token budget ----------------------------------------------------------------------------------------------------


def _token_budget(folder: Path, base: Config, seed: int, workers: Workers, progress: Progress) -> int:
    """The recipe's training.max_label_tokens; where it has none, what a random subset of the recipe's budget takes in its epochs.

    Counted once, on the first seed's pool and for the student with the shortest tokens, and kept in plan.json.
    """
    if base.training.max_label_tokens:
        return base.training.max_label_tokens
    plan = folder / "plan.json"
    if not plan.is_file():
        recipe = qrdistill(base).model_copy(update={"seed": seed})
        pools: dict[str, Unit] = {}
        source = _pool(folder, pools, "generate", recipe, "")
        place = _pool(folder, {}, "filter", recipe, source)
        counted = folder / "results" / "tokens.json"
        unit = Unit(kind="count", folder=place, config=recipe, source=source, seed=seed, result=str(counted))
        _do_all(workers, [*pools.values()], "study, paths", progress)
        _do_all(workers, [unit], "study, token budget", progress)
        tokens: dict[str, float] = json.loads(counted.read_text(encoding="utf-8"))["tokens_per_epoch"]
        write_json(plan, {"max_label_tokens": max(round(min(tokens.values()) * base.training.epochs), 1)})
    return int(json.loads(plan.read_text(encoding="utf-8"))["max_label_tokens"])


# --- units ---------------------------------------------------------------------------------------------------------------


def _lay_out(folder: Path, base: Config, variants: Sequence[str], seeds: Sequence[int], tokens: int) -> _Layout:
    layout = _Layout()
    for name in variants:
        variant = variant_named(name)
        budget = budget_of_arm(variant, base, tokens)
        for seed in seeds:
            seeded = changed(base.model_copy(update={"seed": seed}), training={"max_label_tokens": budget})
            for part, recipe in parts(variant, seeded).items():
                _insist_on_budget(name, recipe, budget)
                generate = _pool(folder, layout.generate, "generate", recipe, "")
                source = generate if not variant.is_trained else _pool(folder, layout.filter, "filter", recipe, generate)
                place = f"{name}--{part}" if part else name
                layout.arms.append(
                    Unit(
                        kind="arm" if variant.is_trained else "zero_shot",
                        folder=str(folder / "arms" / place / f"seed-{seed}"),
                        config=recipe,
                        source=source,
                        arm=name,
                        seed=seed,
                        part=part,
                        result=str(folder / "results" / f"{place}--seed-{seed}.json"),
                    )
                )
    return layout


def _budgets(variants: Sequence[str], base: Config, tokens: int) -> dict[str, int]:
    return {name: budget_of_arm(variant_named(name), base, tokens) for name in variants}


def budget_of_arm(variant: Variant, base: Config, tokens: int) -> int:
    """Label tokens an arm trains each student on: the study's, but for a control of equal compute."""
    return round(tokens * variant.token_factor(base))


def _pool(folder: Path, pools: dict[str, Unit], stage: Any, recipe: Config, source: str) -> str:
    """The folder of the run that has this recipe's paths (or kept paths); planned once, however many arms ask for it."""
    fingerprint = _fingerprint(recipe, stage)
    place = str(folder / "pools" / f"{stage}-{fingerprint}")
    if place in pools:
        return place
    saved = Path(place) / "config.yaml"
    config = Run(place).config if saved.is_file() else recipe
    pools[place] = Unit(kind=stage, folder=place, config=config, source=source, seed=recipe.seed)
    return place


def _fingerprint(recipe: Config, stage: Any) -> str:
    return Run("/nonexistent-study-pool", recipe).fingerprint(stage)


def _insist_on_budget(name: str, recipe: Config, tokens: int) -> None:
    if recipe.training.max_label_tokens != tokens:
        raise UnsafeConfigError(
            f"variant {name} trains on {recipe.training.max_label_tokens} label tokens and the study on {tokens}: "
            "the arms could not be compared; leave training.max_label_tokens to the study"
        )


def _do_all(workers: Workers, units: Sequence[Unit], label: str, progress: Progress) -> None:
    todo = [unit for unit in units if not _is_pooled(unit)]
    if not todo:
        return
    progress.start(len(todo), label)
    try:
        workers.do(todo, lambda unit: _tell(unit, progress))
    finally:
        progress.stop()


def _is_pooled(unit: Unit) -> bool:
    """Whether a shared pool is there already."""
    if unit.kind not in ("generate", "filter") or not (Path(unit.folder) / "config.yaml").is_file():
        return False
    run = Run(unit.folder)
    try:
        return run.is_done("generate" if unit.kind == "generate" else "filter")
    finally:
        run.close()


def _tell(unit: Unit, progress: Progress) -> None:
    progress.advance(1)
    if unit.arm:
        found = json.loads(Path(unit.result).read_text(encoding="utf-8"))
        shares = [
            f"{name} {sum(answer['verdict'] == 'match' for answer in student['answers'].values()) / len(student['answers']):.1%}"
            for name, student in found["students"].items()
        ]
        progress.note(f"{unit.label}: {', '.join(shares)} ({found['seconds']:.0f} s)")
