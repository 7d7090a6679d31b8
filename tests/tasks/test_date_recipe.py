"""The recorded Date questions and teacher: the task reads them, the paths are graded, and the recipe runs from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrdistill import load_recipe, run_pipeline
from qrdistill.config import DatasetTaskConfig, QuestionsConfig
from qrdistill.tasks.datasets import DatasetTask
from qrdistill.types import FilterDecision, Prediction, Question

ROOT = Path(__file__).parents[2]
DATE = next((found for parent in ROOT.parents for found in [parent / "shared" / "data" / "date"] if found.is_dir()), None)
DATE = ROOT / "shared" / "data" / "date" if (ROOT / "shared" / "data" / "date").is_dir() else DATE

pytestmark = pytest.mark.skipif(DATE is None, reason="the recorded Date questions are not beside this checkout")


@pytest.mark.parametrize("is_file", [False, True])
def test_the_recorded_teacher_is_graded(is_file: bool) -> None:
    assert DATE is not None
    config = DatasetTaskConfig(name="date_understanding", path=str(DATE / "train.jsonl" if is_file else DATE))
    task = DatasetTask(config, QuestionsConfig(tasks=(config,), num_train=130, num_validation=20, num_test=50))
    parts = {split: task.questions(split, size) for split, size in (("train", 130), ("validation", 20), ("test", 50))}
    questions = {question.id: question for part in parts.values() for question in part}
    assert len(questions) == 200
    paths = [json.loads(line) for line in (DATE / "teacher_paths.jsonl").read_text().splitlines()]
    verdicts = [task.grade(questions[path["id"]], path["response"]).verdict for path in paths]
    assert len(verdicts) == 1200
    assert verdicts.count("unparsed") == 0
    assert verdicts.count("match") / 1200 == pytest.approx(0.975, abs=0.0005)


def test_the_recipe_runs_with_tiny_students(tmp_path: Path) -> None:
    assert DATE is not None
    config = load_recipe(
        ROOT / "recipes" / "date_replay.yaml",
        overrides=[
            f"questions.tasks.0.path={DATE}",
            f"generate.teachers.0.path={DATE / 'teacher_paths.jsonl'}",
            "questions.num_train=4",
            "questions.num_validation=2",
            "questions.num_test=3",
            "students=[{name: a, source: {kind: tiny}, adapter: {kind: full}},"
            " {name: b, source: {kind: tiny, architecture: gemma3}, adapter: {kind: full}}]",
            "method.policy.encoder={kind: ngram}",
            "evaluation.max_new_tokens=8",
            "runtime.threads=1",
        ],
    )
    run = run_pipeline(config, tmp_path / "run")
    assert all(run.is_done(stage) for stage in ("generate", "filter", "train", "evaluate", "report"))
    assert {question.split for question in run.ledger.all(Question)} == {"train", "validation", "test"}
    decisions = run.ledger.all(FilterDecision)
    assert len(decisions) == 6 * 6
    assert sum(run.summary("filter")["by_reason"].values()) == 36
    assert len(run.ledger.all(Prediction)) == 2 * 2 * 3, "students x arms x questions"
