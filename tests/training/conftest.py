"""A small run with kept paths of the embedded teacher and two tiny students, built once a session."""

import shutil
from pathlib import Path

import pytest
from tests.recipes import toy_recipe

from qrdistill.quality.filter import filter_paths
from qrdistill.store import Run
from qrdistill.teacher.generate import generate_paths


@pytest.fixture(scope="session")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose filter stage is done."""
    folder = tmp_path_factory.mktemp("toy") / "run"
    run = Run(folder, toy_recipe())
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
        return Run(folder, toy_recipe(**changes), is_update=True)

    return build
