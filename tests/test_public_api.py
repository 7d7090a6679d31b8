"""The public surface is one short list; importing it loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import qrdistill

PUBLIC = [
    "Config",
    "QRDistillError",
    "Run",
    "evaluate",
    "explain",
    "filter_paths",
    "generate_paths",
    "grade",
    "load_recipe",
    "load_tasks",
    "plan",
    "regrade",
    "run_pipeline",
    "train",
    "write_report",
]


def test_the_list_is_what_we_promise() -> None:
    assert qrdistill.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(qrdistill))


def test_every_name_is_there_and_documented() -> None:
    for name in PUBLIC:
        assert getattr(qrdistill, name).__doc__, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(qrdistill, "distil")


def test_what_type_checkers_see_is_what_python_loads() -> None:
    tree = ast.parse(Path(qrdistill.__file__).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == qrdistill._HOMES


def test_importing_loads_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "matplotlib", "openai", "numpy"]
    code = f"import sys, qrdistill; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
