"""Every example in a docstring does what it shows."""

import doctest
import importlib
from pathlib import Path

import pytest

import qrdistill

SOURCE = Path(qrdistill.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("qrdistill", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
