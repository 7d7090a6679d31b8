"""Trackers see what metrics.jsonl holds, and nothing about a run changes by them."""

import json
from pathlib import Path

import pytest

from qrdistill.errors import UsageError
from qrdistill.pipeline import run_pipeline
from qrdistill.store import Run
from qrdistill.training.loop import train
from recipes import toy_recipe


def run_with(folder: Path, *trackers: str) -> Run:
    """A toy run, trained with trackers."""
    return run_pipeline(toy_recipe(runtime={"threads": 1, "trackers": list(trackers)}), folder, until="train")


def lines(run: Run) -> list[dict[str, float]]:
    """The metrics file."""
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_holds_every_number_of_the_file(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = run_with(tmp_path / "run", "tensorboard")
    (events,) = (tmp_path / "run" / "tensorboard").rglob("events.*")
    seen = EventAccumulator(str(events), size_guidance={"scalars": 0}).Reload()
    expected = {(name, line["step"]): value for line in lines(run) for name, value in line.items() if name != "step"}
    found = {(name, event.step): event.value for name in seen.Tags()["scalars"] for event in seen.Scalars(name)}
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["trackio", "wandb", "mlflow"])
def test_the_other_trackers_take_a_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name, reason=f"needs the extra {name}")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run = run_with(tmp_path / "run", name)
    assert len(lines(run)) == 4
    if name == "mlflow":
        import mlflow

        (seen,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
        assert seen.data.metrics["loss/router"] == pytest.approx(lines(run)[-1]["loss/router"])


def test_a_missing_tracker_is_named_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "wandb" else real(name, *rest))
    with pytest.raises(UsageError, match=r"not installed: wandb; run: pip install 'qrdistill\[wandb\]'"):
        run_with(tmp_path / "run", "wandb")
    assert not (tmp_path / "run" / "ledger.sqlite").exists()
    run = run_pipeline(toy_recipe(), tmp_path / "other", until="filter")
    tracked = Run(run.folder, toy_recipe(runtime={"threads": 1, "trackers": ["wandb"]}))
    with pytest.raises(UsageError, match=r"runtime\.trackers names wandb, which is not installed"):
        train(tracked)


def test_trackers_are_no_part_of_what_a_run_is(tmp_path: Path) -> None:
    plain = Run(tmp_path / "a", toy_recipe())
    tracked = Run(tmp_path / "b", toy_recipe(runtime={"threads": 1, "trackers": ["tensorboard"]}))
    assert plain.fingerprint("train") == tracked.fingerprint("train")
