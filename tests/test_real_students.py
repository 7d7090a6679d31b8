"""The whole pipeline on the two real students of the quickstart, small: they learn what they are shown, nothing is done twice."""

import json
import statistics
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from qrdistill.cli.main import run_app
from qrdistill.config import load_recipe
from qrdistill.store import Run
from qrdistill.types import Prediction, Route

SMALL = (
    "questions.tasks=[{kind: reasoning, name: chain_sum, difficulty: {max_digits: 1, max_terms: 2}}]",
    "questions.num_train=3",
    "questions.num_validation=2",
    "questions.num_test=4",
    "training.epochs=5",
    "evaluation.max_new_tokens=48",
)


pytestmark = pytest.mark.timeout(1200)  # about a minute and a half on two idle cores


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The quickstart recipe on one easy task: 15 steps over three questions."""
    folder = tmp_path_factory.mktemp("real") / "run"
    changes = [part for change in SMALL for part in ("--set", change)]
    assert run_app(["run", str(root / "recipes" / "quickstart.yaml"), "-o", str(folder), *changes]) == 0
    return Run(folder, load_recipe(root / "recipes" / "quickstart.yaml", overrides=SMALL))


def test_both_students_learn_the_paths_they_are_routed(run: Run) -> None:
    steps = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    for name in ("smollm2", "gemma3"):
        losses = [step[f"loss/sft/{name}"] for step in steps if step[f"loss/sft/{name}"] > 0]
        # Five passes over three questions: the loss of the last pass is well below the first one's (nats per token).
        assert statistics.mean(losses[-3:]) < 0.7 * statistics.mean(losses[:3]), losses


def test_peers_meet(run: Run) -> None:
    steps = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert any(step.get("peer/agreement", 0) > 2 * step.get("peer/agreement_shuffled", 1) for step in steps)


def test_the_router_moves_and_keeps_the_budget_of_one_path(run: Run) -> None:
    first: dict[tuple[str, str], float] = {}
    last: dict[tuple[str, str], float] = {}
    total: dict[tuple[int, str], float] = {}
    for route in run.ledger.all(Route, order="step, student, path_id"):
        first.setdefault((route.path_id, route.student), route.prob)
        last[route.path_id, route.student] = route.prob
        total[route.step, route.student] = total.get((route.step, route.student), 0.0) + route.prob
    assert max(abs(last[key] - first[key]) for key in first) > 0.05, "five passes later every gate is what it was"
    assert all(value == pytest.approx(1.0, abs=1e-3) for value in total.values()), total


def test_the_trained_students_are_kept_and_answer(run: Run) -> None:
    answers = run.ledger.all(Prediction)
    assert {(answer.student, answer.arm) for answer in answers} == {
        (name, arm) for name in ("smollm2", "gemma3") for arm in ("zero_shot", "trained")
    }
    for name in ("smollm2", "gemma3"):
        before, after = (
            {answer.question_id: answer.text for answer in answers if (answer.student, answer.arm) == (name, arm)}
            for arm in ("zero_shot", "trained")
        )
        assert before.keys() == after.keys()
        assert len(after) == 4
        assert before != after
        asked_for = sum("answer is" in text.lower() for text in after.values())
        assert asked_for >= 3, after  # the form of the answer is the first thing that five passes teach
    folders = sorted(path.parent for path in run.folder.glob("**/adapter_model.safetensors") if "checkpoints" not in path.parts)
    assert len(folders) == 2, folders
    for folder in folders:
        weights = load_file(folder / "adapter_model.safetensors")
        moved = [name for name, weight in weights.items() if "lora_B" in name and bool(torch.any(weight != 0))]
        assert len(moved) == sum("lora_B" in name for name in weights) > 0


def test_the_same_command_again_does_nothing(run: Run, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = {path: path.stat().st_mtime_ns for path in run.folder.glob("exports/*")}
    changes = [part for change in SMALL for part in ("--set", change)]
    assert run_app(["run", str(root / "recipes" / "quickstart.yaml"), "-o", str(run.folder), *changes]) == 0
    assert "already done" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.folder.glob("exports/*")} == written
