"""Students, paths and machines that cannot be used: every command ends with one sentence, its exit code and no traceback."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.students.conftest import tiny_student

from qrdistill.cli.main import run_app
from qrdistill.config import FullConfig
from qrdistill.store import Run
from qrdistill.training import fitting
from qrdistill.training.memory import RUNTIME_BYTES

Train = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, smoke_recipe: Path) -> Path:
    """A run of the smoke recipe whose paths are filtered."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    assert run_app(["run", str(smoke_recipe), "-o", str(folder), "--until", "filter"]) == 0
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A whole student as a folder."""
    tiny_student("llama", adapter=FullConfig()).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def train(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Train:
    """Trains a copy of the run with changes; returns exit code and complaint."""
    monkeypatch.setenv("COLUMNS", "1000")

    def call(*changes: str, verb: str = "train") -> tuple[int, str]:
        folder = tmp_path / "run"
        if not folder.exists():
            shutil.copytree(kept, folder)
        capsys.readouterr()
        code = run_app([verb, str(folder), "--update", *(part for change in changes for part in ("--set", change))])
        said = " ".join(capsys.readouterr().err.split())
        assert "Traceback" not in said
        return code, said

    return call


def student(path: Path, **adapter: object) -> str:
    tree = {"name": "mine", "source": {"kind": "folder", "path": str(path)}, "adapter": adapter or {"kind": "lora"}}
    return f"students=[{json.dumps(tree)}]"


def test_a_student_folder_without_tokenizer(train: Train, model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    code, said = train(student(model))
    assert code == 65
    assert f"student 'mine': {model} holds no tokenizer (no tokenizer.json); save one beside the model" in said


def test_a_student_folder_without_model(train: Train, model: Path) -> None:
    (model / "config.json").unlink()
    code, said = train(student(model))
    assert code == 65
    assert f"student 'mine': {model} holds no model (no config.json); name a folder in Hugging Face format" in said


def test_a_tokenizer_without_an_end_token(train: Train, model: Path) -> None:
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": None}))
    code, said = train(student(model))
    assert code == 65
    assert "student 'mine': its tokenizer has no end-of-sequence token; set eos_token in tokenizer_config.json" in said


def test_wrong_target_modules(train: Train, model: Path) -> None:
    code, said = train(student(model, kind="lora", target_modules=["c_attn"]))
    assert code == 2
    assert "student 'mine': target_modules ('c_attn',) name no linear layer of this model; it has down_proj, gate_proj" in said


def test_a_path_longer_than_the_window(train: Train, model: Path) -> None:
    code, said = train(student(model).replace('"name"', '"max_length": 64, "name"'))
    assert code == 65
    assert "more than its max_length 64; raise max_length or drop the path (it is never cut: its answer would be lost)" in said


def test_a_path_longer_than_the_model_s_own_window(train: Train, model: Path) -> None:
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 64}))
    code, said = train(student(model).replace('"name"', '"max_length": 4096, "name"'))
    assert code == 65
    assert "more than its max_length 64" in said


def test_too_little_memory(train: Train) -> None:
    code, said = train("runtime.memory_gb=0.2")
    assert code == 75
    assert "memory even with one path at a time, and 0.2 GB are free" in said
    assert "train fewer students at once or smaller ones, or use LoRA instead of full fine-tuning" in said
    code, said = train("runtime.memory_gb=0")
    assert code == 0, said


def test_check_says_so_before_anything_is_run(smoke_recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["check", str(smoke_recipe), "--set", "runtime.memory_gb=0.2", "--json"]) == 75
    found = json.loads(capsys.readouterr().out)
    assert "and 0.2 GB are free" in found["problems"][0]
    assert [one["name"] for one in found["room"]["memory"]["students"]] == ["llama", "gemma3"]


def test_too_little_disk(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "free_disk_bytes", lambda folder: 1000)
        code, said = train("training.checkpoint_steps=1")
    assert code == 74
    assert "0.00 GB free, and the checkpoints and trained students take up to 0.00 GB more; free disk space or lower" in said
    run = Run(tmp_path / "run")
    assert not run.metrics.exists(), "said at step 0"
    run.close()
    assert train("training.checkpoint_steps=1")[0] == 0


def test_memory_that_runs_out_on_the_way(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the optimizer, where nothing can give way."""
    import torch

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("planted")))
        code, said = train()
    assert code == 75
    assert "memory ran out: there is too little for the students, their gradients and the optimizer (planted); train on" in said
    assert "the same command goes on from the last checkpoint" in said
    assert train()[0] == 0


def test_a_dry_step_needs_kept_paths(smoke_recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["check", str(smoke_recipe), "--dry-step"]) == 2
    assert "check --dry-step needs a run whose paths are kept" in capsys.readouterr().err


def test_a_dry_step_measures_what_is_predicted_and_changes_nothing(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tiny students: nearly all of it is Python and torch, whose own share is measured beside it, since it depends on what the
    system keeps of their files. Real students are in benchmarks/memory.py."""

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in kept.rglob("*") if path.is_file() and "sqlite-" not in path.name}

    before = files()
    assert run_app(["check", str(kept), "--dry-step", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    script = "import peft, qrdistill.training.dry; from qrdistill.machine import peak_memory_bytes; print(peak_memory_bytes())"
    libraries = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert 0.5 * RUNTIME_BYTES["cpu"] < libraries < 1.5 * RUNTIME_BYTES["cpu"]
    predicted = found["memory_bytes"] - RUNTIME_BYTES["cpu"] + libraries
    assert found["dry_step"]["peak_bytes"] == pytest.approx(predicted, rel=0.15)
    assert found["dry_step"]["step_s"] > 0
    assert files() == before


# --- said by check, before anything is written or paid for ------------------------------------------------------------------

GONE = {
    "weights": ("model.safetensors", "holds no weights (no *.safetensors); save the model there with save_pretrained"),
    "model": ("config.json", "holds no model (no config.json); name a folder in Hugging Face format"),
    "tokenizer": ("tokenizer.json", "holds no tokenizer (no tokenizer.json); save one beside the model"),
}
DAMAGED = {
    "tokenizer that is none": ("tokenizer.json", b"[]"),
    "tokenizer cut short": ("tokenizer.json", b'{"version": "1.0"'),
    "config of nothing known": ("config.json", b'{"model_type": "nothing"}'),
    "config with a word for a number": ("config.json", b'{"model_type": "llama", "hidden_size": "x"}'),
}


@pytest.fixture
def check(
    smoke_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[int, str]]:
    """Checks the smoke recipe with other students; returns exit code and complaint."""
    monkeypatch.setenv("COLUMNS", "1000")

    def call(change: str) -> tuple[int, str]:
        before = sorted(tmp_path.rglob("*"))
        code = run_app(["check", str(smoke_recipe), "--set", change])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert sorted(tmp_path.rglob("*")) == before
        return code, " ".join((out + err).split())

    return call


def test_check_takes_a_whole_folder(check: Callable[[str], tuple[int, str]], model: Path) -> None:
    code, said = check(student(model))
    assert code == 0, said


@pytest.mark.parametrize("name", GONE)
def test_check_names_what_a_student_folder_lacks(check: Callable[[str], tuple[int, str]], model: Path, name: str) -> None:
    file, complaint = GONE[name]
    (model / file).unlink()
    code, said = check(student(model))
    assert (code, f"student 'mine': {model} {complaint}" in said) == (65, True), said


@pytest.mark.parametrize("name", DAMAGED)
def test_check_and_train_name_a_folder_that_cannot_be_read(
    check: Callable[[str], tuple[int, str]], train: Train, model: Path, name: str
) -> None:
    file, content = DAMAGED[name]
    (model / file).write_bytes(content)
    expected = f"student 'mine': {model} cannot be loaded as a causal language model with tokenizer ("
    for code, said in (check(student(model)), train(student(model))):
        assert (code, expected in said) == (65, True), said


@pytest.mark.parametrize("kept_bytes", [0, 20, 2000])
def test_weights_cut_short(train: Train, model: Path, kept_bytes: int) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept_bytes])
    code, said = train(student(model))
    assert code == 65
    assert f"student 'mine': {model} cannot be loaded as a causal language model with tokenizer (" in said


def test_check_names_a_tokenizer_without_end_token_and_wrong_target_modules(
    check: Callable[[str], tuple[int, str]], model: Path
) -> None:
    code, said = check(student(model, kind="lora", target_modules=["c_attn"]))
    assert (code, "target_modules ('c_attn',) name no linear layer of this model; it has down_proj" in said) == (2, True), said
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": None}))
    code, said = check(student(model))
    assert (code, "its tokenizer has no end-of-sequence token; set eos_token in" in said) == (65, True), said


def test_check_says_that_paths_will_be_longer_than_a_student_may_read(
    check: Callable[[str], tuple[int, str]], model: Path
) -> None:
    """The embedded teacher's own paths are counted, so what training would refuse is known before they are written."""
    code, said = check(student(model).replace('"name"', '"max_length": 64, "name"'))
    assert code == 65
    assert "student 'mine' may read 64 tokens, and paths like those the embedded teacher writes have up to " in said
    assert "raise its max_length, take a student with a longer window, or leave long styles out of generate.styles" in said
