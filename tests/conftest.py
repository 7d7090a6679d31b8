"""What every test shares: no network, one thread, reproducible property tests, one small recipe."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

from qrdistill.config import Config, load_recipe

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def smoke_recipe() -> Path:
    """The recipe with tiny students."""
    return ROOT / "recipes" / "smoke.yaml"


@pytest.fixture
def smoke_config(smoke_recipe: Path) -> Config:
    """The recipe with tiny students, read."""
    return load_recipe(smoke_recipe)
