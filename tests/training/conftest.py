"""A small run with kept paths of the embedded teacher and two tiny students, built once a session."""

import shutil
from pathlib import Path

import pytest

from qrdistill.config import Config, validate
from qrdistill.quality.filter import filter_paths
from qrdistill.store import Run
from qrdistill.teacher.generate import generate_paths


def recipe(**changes: object) -> Config:
    tree = {
        "name": "toy",
        "seed": 1,
        "questions": {
            "tasks": [{"kind": "reasoning", "name": "leg_counting"}, {"kind": "reasoning", "name": "chain_sum"}],
            "num_train": 4,
            "num_validation": 2,
            "num_test": 2,
        },
        "students": [
            {
                "name": name,
                "source": {"kind": "tiny", "architecture": name, "seed": seed},
                "adapter": {"kind": "full"},
                "learning_rate": 3e-3,
            }
            for seed, name in enumerate(("llama", "gemma3"))
        ],
        "method": {
            "policy": {"kind": "qrdistill", "budget": 2, "encoder": {"kind": "ngram", "dim": 32}, "hidden": 8, "probe_steps": 2},
            "peers": {"weight": 0.2, "warmup_frac": 0.0, "support": 16, "max_positions": 32},
        },
        "training": {"questions_per_step": 2, "checkpoint_steps": 1},
        "runtime": {"threads": 1},
    }
    for dotted, value in changes.items():
        node = tree
        *parents, last = dotted.split("__")
        for part in parents:
            node = node[part]
        node[last] = value
    return validate(tree)


@pytest.fixture(scope="session")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose filter stage is done."""
    folder = tmp_path_factory.mktemp("toy") / "run"
    run = Run(folder, recipe())
    generate_paths(run)
    filter_paths(run)
    return folder


@pytest.fixture
def toy_run(filtered: Path, tmp_path: Path):
    """A fresh copy of the filtered run, with changes to the recipe: toy_run(method__peers={...})."""
    count = 0

    def build(**changes: object) -> Run:
        nonlocal count
        count += 1
        folder = tmp_path / f"run{count}"
        shutil.copytree(filtered, folder)
        return Run(folder, recipe(**changes), is_update=True)

    return build
