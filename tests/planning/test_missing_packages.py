"""A package that a recipe needs and that is missing is named, with the command that installs it, before anything is written."""

import importlib.util
from pathlib import Path

import pytest

from qrdistill.cli.main import run_app

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("verb", ["run", "check"])
@pytest.mark.parametrize(
    ("package", "setting"),
    [
        ("ray", "runtime.engine=ray"),
        ("tensorboard", "runtime.trackers=[tensorboard]"),
        ("peft", "students.0.adapter={kind: lora}"),
        ("bitsandbytes", "students.0.adapter={kind: lora, quantization: nf4}"),
        ("sentence_transformers", "method.policy.encoder={kind: hub, id: sentence-transformers/all-MiniLM-L6-v2}"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_written(
    package: str, setting: str, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == package else real(name, *rest))
    recipe = str(ROOT / "recipes" / "smoke.yaml")
    assert run_app([verb, recipe, "-o", str(tmp_path / "run"), "--set", setting]) == 2
    printed = capsys.readouterr()
    said = printed.out + printed.err
    assert f"not installed: {package}" in said.replace("\n", " ")
    assert "pip install 'qrdistill[" in said
    assert not (tmp_path / "run" / "ledger.sqlite").exists()
