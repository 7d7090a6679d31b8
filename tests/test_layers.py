"""Imports point down only, and torch stays in the rooms that need it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import qrdistill

HEAVY = {"torch", "transformers", "peft", "sentence_transformers", "safetensors"}
HEAVY_ROOMS = {"losses", "routing", "students", "training", "evaluation"}
SOURCE = Path(qrdistill.__file__).parent
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in HEAVY_ROOMS)


def test_imports_point_down_only(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_light_rooms_do_not_import_torch_at_the_top(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    assert not names & HEAVY
