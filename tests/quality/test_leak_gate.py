"""Nothing that gives a test question away is trained on, every drop has a reason, and switching the gate off is said aloud."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from qrdistill import Run, filter_paths, generate_paths, write_report
from qrdistill.config import Config, validate
from qrdistill.errors import DataError
from qrdistill.sharing.messages import message_rows
from qrdistill.types import FilterDecision

TESTS = [
    "A baker sells 12 rolls in the morning and 30 rolls in the afternoon. How many rolls are sold that day?",
    "Nadia walks 4 miles to the lake, rests, and walks 9 miles back by another road. How many miles does she walk?",
]
ANSWERS = [42, 13]
TRAIN = {
    "exact": (TESTS[0], 42),
    "dressed": (TESTS[1].upper().replace(".", " ;"), 13),
    "wrapped": (f"Read twice. {TESTS[0].replace('that day', 'on that day')} Show your work.", 42),
    "clean-1": ("Tom folds 3 paper cranes on Monday and 5 paper boats on Tuesday. How many things did he fold?", 8),
    "clean-2": ("There are 6 swans on a pond and 1 flies off over the reeds. How many swans stay on it?", 5),
}


def recipe(tmp_path: Path, **filter_settings: Any) -> Config:
    """Three training questions that are test questions, and two clean ones of which one has a path that tells a test question."""
    write(
        tmp_path / "test.jsonl",
        [{"id": f"t{n}", "question": q, "answer": a} for n, (q, a) in enumerate(zip(TESTS, ANSWERS, strict=True))],
    )
    write(tmp_path / "train.jsonl", [{"id": id, "question": text, "answer": answer} for id, (text, answer) in TRAIN.items()])
    paths = []
    for id, (_, answer) in TRAIN.items():
        good = f"Count them for {id}. The answer is {answer}."
        paths += [{"id": id, "style": "cot", "response": good}, {"id": id, "style": "fact", "response": f"  {good.upper()}"}]
    told = f"Remember: {TESTS[0]} That gave 42. Here 3 + 5 = 8. The answer is 8."
    paths += [
        {"id": "clean-1", "style": "tot", "response": told},
        {"id": "clean-2", "style": "tot", "response": "Count them for clean-2. The answer is 5."},
    ]
    write(tmp_path / "paths.jsonl", paths)
    files = {"path": str(tmp_path / "train.jsonl"), "test_path": str(tmp_path / "test.jsonl")}
    return validate(
        {
            "name": "gate",
            "questions": {
                "tasks": [{"kind": "jsonl", "name": "sums", **files}],
                "num_train": 5,
                "num_validation": 0,
                "num_test": 2,
            },
            "generate": {
                "teachers": [{"kind": "replay", "path": str(tmp_path / "paths.jsonl")}],
                "styles": ["cot", "fact", "tot"],
            },
            "filter": {"judge": {"kind": "none"}, **filter_settings},
            "students": [{"name": "s", "source": {"kind": "tiny"}}],
            "method": {"policy": {"kind": "all"}},
        }
    )


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def filtered(tmp_path: Path, **settings: Any) -> Run:
    run = Run(tmp_path / "run", recipe(tmp_path, **settings))
    generate_paths(run)
    filter_paths(run)
    return run


def test_no_leak_reaches_training_and_every_path_is_accounted_for(tmp_path: Path) -> None:
    run = filtered(tmp_path)
    decisions = run.ledger.all(FilterDecision)
    reasons = Counter((decision.question_id, decision.reason) for decision in decisions)
    assert reasons == {
        ("exact", "leak"): 2,
        ("dressed", "leak"): 2,
        ("wrapped", "leak"): 2,
        ("clean-1", "leak"): 1,
        ("clean-1", "kept"): 1,
        ("clean-1", "duplicate"): 1,
        ("clean-2", "kept"): 1,
        ("clean-2", "duplicate"): 2,
    }
    summary = run.summary("filter")
    assert summary["by_reason"] == {"leak": 7, "duplicate": 3, "kept": 2}
    assert summary["num_paths"] == len(decisions) == 12
    details = {decision.question_id: decision.detail for decision in decisions if decision.reason == "leak"}
    assert details["exact"] == "the question is the same as the test question t0"
    assert details["dressed"] == "the question is the same as the test question t1"
    assert details["wrapped"] == "the question is nearly the same as the test question t0"
    assert details["clean-1"] == "the path repeats the test question t0"
    assert {row["question_id"] for row in message_rows(run)} == {"clean-1", "clean-2"}
    assert run.manifest()["overrides"] == []


def test_the_override_is_recorded_and_printed(tmp_path: Path) -> None:
    run = filtered(tmp_path, allow_leaks=True)
    summary = run.summary("filter")
    assert summary["num_leaks_allowed"] == 7
    assert "leak" not in summary["by_reason"]
    assert {row["question_id"] for row in message_rows(run)} == set(TRAIN)
    assert len(run.manifest()["overrides"]) == 1
    page = write_report([run])
    for text in (page.read_text(), page.with_suffix(".md").read_text()):
        assert "A safeguard is off" in text
        assert "filter.allow_leaks" in text.replace("\\", "")
        assert "(7 of them)" in text


def test_more_test_questions_drop_what_they_leak(tmp_path: Path) -> None:
    config = recipe(tmp_path)
    fewer = config.model_copy(update={"questions": config.questions.model_copy(update={"num_test": 1})})
    run = Run(tmp_path / "run", fewer)
    generate_paths(run)
    filter_paths(run)
    before = run.summary("filter")["by_reason"]["leak"]
    run.close()
    larger = Run(run.folder, config, is_update=True)
    generate_paths(larger)
    filter_paths(larger)
    assert before < larger.summary("filter")["by_reason"]["leak"] == 7


def test_questions_that_steer_the_router_are_held_against_it_too(tmp_path: Path) -> None:
    config = recipe(tmp_path)
    sizes = config.questions.model_copy(update={"num_train": 2, "num_validation": 3})
    run = Run(tmp_path / "run", config.model_copy(update={"questions": sizes}))
    generate_paths(run)
    with contextlib.suppress(DataError):  # both training questions may be leaks; the decisions are what counts
        filter_paths(run)
    leaked = {decision.question_id for decision in run.ledger.all(FilterDecision) if decision.reason == "leak"}
    assert {"exact", "dressed", "wrapped"} <= leaked
