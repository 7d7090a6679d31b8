"""A stage is done again when a task, teacher or judge it rests on has another version; a run that is only read stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrdistill import Run, filter_paths, generate_paths
from qrdistill.config import Config, validate
from qrdistill.store import STAGES
from qrdistill.types import Question


def recipe(tmp_path: Path) -> Config:
    rows = [{"id": f"q{i}", "question": f"What is {i} + 2?", "answer": i + 2} for i in range(6)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = [{"id": f"q{i}", "style": "cot", "response": f"{i} + 2 = {i + 2}. The answer is {i + 2}."} for i in range(6)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in paths))
    tree: dict[str, Any] = {
        "name": "v",
        "questions": {
            "tasks": [{"kind": "jsonl", "name": "sums", "path": str(tmp_path / "q.jsonl")}],
            "num_train": 3,
            "num_validation": 1,
            "num_test": 2,
        },
        "generate": {"teachers": [{"kind": "replay", "path": str(tmp_path / "p.jsonl")}], "styles": ["cot"]},
        "students": [{"name": "s", "source": {"kind": "tiny"}}],
    }
    return validate(tree)


@pytest.mark.parametrize(
    ("where", "stays"),
    [
        ("qrdistill.tasks.jsonl.VERSION", []),
        ("qrdistill.tasks.jsonl.PROMPT_VERSION", []),
        ("qrdistill.teacher.replay.ReplayTeacher.version", []),
        ("qrdistill.quality.step_checker.StepChecker.name", ["generate"]),
        ("qrdistill.tasks.verify.GRADER_VERSION", ["generate", "filter"]),
    ],
)
def test_another_version_undoes_exactly_what_rests_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, stays: list[str]
) -> None:
    run = Run(tmp_path / "run", recipe(tmp_path))
    generate_paths(run)
    filter_paths(run)
    run.close()
    monkeypatch.setattr(where, "another")
    read = Run(run.folder)
    assert [stage for stage in STAGES if read.is_done(stage)] == ["generate", "filter"], (
        "who only reads goes by the run's versions"
    )
    read.close()
    again = Run(run.folder)
    with again.owned():
        assert [stage for stage in STAGES if again.is_done(stage)] == stays
    generate_paths(again)
    filter_paths(again)
    with again.owned():
        assert [stage for stage in STAGES if again.is_done(stage)] == ["generate", "filter"], "done again, once"
    again.close()


def test_a_question_that_a_new_version_rewrites_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path / "run", recipe(tmp_path))
    generate_paths(run)
    before = {question.id: question.text for question in run.ledger.all(Question)}
    run.close()
    from qrdistill.tasks import jsonl

    real = jsonl.text_of

    def louder(row: Any, column: str, *, where: str) -> str:
        text = real(row, column, where=where)
        return text.upper() if column == "question" else text

    monkeypatch.setattr(jsonl, "text_of", louder)
    unchanged = Run(run.folder)
    generate_paths(unchanged)
    assert {question.id: question.text for question in unchanged.ledger.all(Question)} == before, "same version: nothing to do"
    unchanged.close()
    monkeypatch.setattr(jsonl, "VERSION", "another")
    bumped = Run(run.folder)
    generate_paths(bumped)
    assert {question.id: question.text for question in bumped.ledger.all(Question)} == {
        id: text.upper() for id, text in before.items()
    }
    bumped.close()
