"""A recorded teacher hands out what was recorded, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrdistill import Run, filter_paths, generate_paths
from qrdistill.config import Config, ReplayTeacherConfig, validate
from qrdistill.errors import ConfigError, DataError
from qrdistill.teacher.replay import ReplayTeacher
from qrdistill.types import Attempt

SHARED = Path(__file__).parents[2] / "shared" / "data" / "date"
SHARED = SHARED if SHARED.is_dir() else Path(__file__).parents[3] / "shared" / "data" / "date"


def recipe(questions: Path, paths: Path, sizes: tuple[int, int, int], **task: Any) -> Config:
    train, validation, test = sizes
    return validate(
        {
            "name": "replay",
            "questions": {
                "tasks": [{"kind": "jsonl", "name": "date", "path": str(questions), **task}],
                "num_train": train,
                "num_validation": validation,
                "num_test": test,
            },
            "generate": {"teachers": [{"kind": "replay", "path": str(paths)}]},
            "students": [{"name": "s", "source": {"kind": "tiny"}}],
        }
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded Date paths are not beside this checkout")
def test_recorded_date_paths_reach_the_pool(tmp_path: Path) -> None:
    sizes = (140, 20, 40)
    config = recipe(SHARED / "train.jsonl", SHARED / "teacher_paths.jsonl", sizes, columns={"answer": "answerKey"})
    run = Run(tmp_path / "run", config)
    paths = generate_paths(run)
    assert len(paths) == 160 * 6
    assert run.summary("generate")["num_holes"] == 0
    kept = filter_paths(run)
    assert len(kept) > 0.95 * len(paths)
    by_reason = run.summary("filter")["by_reason"]
    assert by_reason.get("judge", 0) <= 0.01 * len(paths), "recorded paths are sound: the step checker must not invent errors"


def test_missing_recordings_stay_holes_and_are_counted(tmp_path: Path) -> None:
    questions, paths = tmp_path / "q.jsonl", tmp_path / "p.jsonl"
    questions.write_text("".join(json.dumps({"id": f"q{i}", "question": f"{i}?", "answer": i}) + "\n" for i in range(6)))
    recorded = [{"id": f"q{i}", "style": "cot", "response": f"The answer is {i}."} for i in range(6)]
    recorded.append({"id": "elsewhere", "style": "cot", "response": "The answer is 3."})
    paths.write_text("".join(json.dumps(row) + "\n" for row in recorded))
    notes: list[str] = []
    run = Run(tmp_path / "run", recipe(questions, paths, (4, 1, 1)))

    class Listener:
        def start(self, total: int, label: str) -> None: ...
        def advance(self, n: int = 1) -> None: ...
        def note(self, text: str) -> None:
            notes.append(text)

        def stop(self) -> None: ...

    assert len(generate_paths(run, progress=Listener())) == 5
    summary = run.summary("generate")
    assert (summary["num_requests"], summary["num_holes"], summary["num_failed"]) == (30, 25, 0)
    assert summary["holes_by_style"]["fact"] == 5
    assert any("replay has no path for 25 of 30 requests" in note for note in notes)
    assert run.ledger.count(Attempt) == 5


def test_no_recording_at_all_fits_the_questions(tmp_path: Path) -> None:
    questions, paths = tmp_path / "q.jsonl", tmp_path / "p.jsonl"
    questions.write_text("".join(json.dumps({"id": f"q{i}", "question": f"{i}?", "answer": i}) + "\n" for i in range(6)))
    paths.write_text(json.dumps({"id": "other", "style": "cot", "response": "The answer is 3."}) + "\n")
    with pytest.raises(DataError, match=r"none of the 30 requests got a path"):
        generate_paths(Run(tmp_path / "run", recipe(questions, paths, (4, 1, 1))))


GOOD = {"id": "a", "style": "cot", "response": "The answer is 1."}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: not a JSON object"),
        ({"style": "cot", "response": "x"}, "line 2: the field 'id' is missing"),
        ({"id": "a", "response": "x"}, "line 2: the field 'style' is missing"),
        ({"id": "a", "style": "fact"}, "line 2: the field 'response' is null, expected the text"),
        ({"id": "a", "style": "fact", "response": "x", "sample": -1}, "line 2: the field 'sample' is -1"),
        (GOOD, "line 2: a path for question 'a', style 'cot', sample 0 .*stands in line 1"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: Any, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{row if isinstance(row, str) else json.dumps(row)}\n")
    with pytest.raises(DataError, match=message):
        ReplayTeacher(ReplayTeacherConfig(path=str(path)))


def test_columns_and_empty_files(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("")
    with pytest.raises(DataError, match=r"holds no paths"):
        ReplayTeacher(ReplayTeacherConfig(path=str(path)))
    with pytest.raises(ConfigError, match=r"unknown field 'respons' .did you mean 'response'"):
        ReplayTeacher(ReplayTeacherConfig(path=str(path), columns={"respons": "text"}))


def test_a_changed_recording_is_another_request(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(GOOD) + "\n")
    before = ReplayTeacher(ReplayTeacherConfig(path=str(path)))
    path.write_text(json.dumps({**GOOD, "response": "The answer is 2."}) + "\n")
    after = ReplayTeacher(ReplayTeacherConfig(path=str(path)))
    assert before.sampling("cot") != after.sampling("cot")
    assert before.sampling("fact") == after.sampling("fact")
