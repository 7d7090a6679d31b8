"""docs/reliability.md names tests that exist, and calls nightly exactly those that are."""

import ast
import re
from pathlib import Path


def decorators_by_name(path: Path) -> dict[str, str]:
    """Name of each test -> its decorators, as written."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: " ".join(map(ast.unparse, node.decorator_list)) for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_named_test_is_there_and_night_means_nightly(root: Path) -> None:
    page = (root / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`( \(night\))?", page)
    assert len(named) > 50
    for file, name, night in named:
        decorators = decorators_by_name(root / file).get(name)
        assert decorators is not None, f"{file}::{name}"
        assert bool(night) == decorators.startswith("pytest.mark.nightly"), f"{file}::{name}"


def test_every_row_of_the_table_names_a_test(root: Path) -> None:
    rows = [line for line in (root / "docs" / "reliability.md").read_text().splitlines() if line.startswith("| ")]
    bodies = [row for row in rows if not row.startswith("| id |")]
    assert all("::test_" in row for row in bodies)
    ids = {one for row in bodies for one in row.split("|")[1].strip().split(", ")}
    promised = "A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A15 B1 B2 B3 B4 B5 B6 C1 C2 C3 C6 D1 D2 D3 E1 E2 E3 E4 H1 H4"
    promised += " F1 F2 F3 F4 F5 F6 F7 F8 F9 F10"
    assert set(promised.split()) <= ids
