"""docs/method.md names functions and tests; each of them exists."""

import importlib
import re
from pathlib import Path

import pytest


def named(root: Path, pattern: str) -> list[str]:
    return sorted(set(re.findall(pattern, (root / "docs" / "method.md").read_text(encoding="utf-8"))))


def test_every_test_of_the_method_page_exists(root: Path) -> None:
    known = {
        name
        for path in (root / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    files = {path.name for path in (root / "tests").rglob("test_*.py")}
    page = named(root, r"test_\w+(?:\.py|\*)?")
    assert len(page) > 40
    for name in page:
        if name.endswith(".py"):
            assert name in files, name
        elif name.endswith("*"):
            assert any(test.startswith(name[:-1]) for test in known), name
        else:
            assert name in known, name


def test_every_function_of_the_method_page_exists(root: Path) -> None:
    pytest.importorskip("torch")
    page = named(root, r"`((?:losses|routing|training|students)\.[\w.]+)`")
    assert len(page) > 15
    for name in page:
        module, _, attribute = f"qrdistill.{name}".rpartition(".")
        try:
            importlib.import_module(f"qrdistill.{name}")
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(module), attribute), name
