"""From replies to training: counts add up, time-outs stay out, targets are the whole path and its end (C6, E2 to E4)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qrdistill import Run, filter_paths, generate_paths, train
from qrdistill.config import Config, validate
from qrdistill.errors import DataError
from qrdistill.training.pool import PoolQuestion, load_pool
from qrdistill.training.team import load_team
from qrdistill.types import AnswerVerdict, FilterDecision, ReasoningPath, Route

BOMB = "It is 9^{9^{9^9}}, I think. The answer is $9^{9^{9^9}}$."
ODD = "  Naïve 😀 \u200d <eos> <pad>\tof\r\n\u2028 1 + 2 = 3.\x00 The answer is 3.  "
PATHS = {
    ("q0", "cot"): "0 + 2 = 2. The answer is 2.",
    ("q0", "fact"): "0 + 2 = 2. The  answer is 2. ",  # the same but for white space
    ("q0", "tot"): BOMB,
    ("q1", "cot"): ODD,  # a question with a single path
    ("q2", "cot"): "The answer is 7.",
    ("q2", "fact"): "I do not know.",
    ("q3", "cot"): "",
    ("q4", "cot"): "4 + 2 = 6. The answer is 6.",
    ("q4", "fact"): "Two more than 4 is 6. The answer is 6.",
    ("q4", "tot"): BOMB,
}
REASONS = {"kept": 4, "duplicate": 1, "timeout": 2, "differ": 1, "unparsed": 1, "empty": 1}


def recipe(tmp_path: Path, **student: Any) -> Config:
    """Six questions "What is i + 2?" (5 train, 1 test), the recorded replies above, two students with two tokenizers."""
    rows = [{"id": f"q{i}", "question": f"What is {i} + 2?", "answer": i + 2} for i in range(5)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "test.jsonl").write_text(json.dumps({"id": "t0", "question": "What is 9 + 2?", "answer": 11}) + "\n")
    recorded = [{"id": id, "style": style, "response": text} for (id, style), text in PATHS.items()]
    (tmp_path / "paths.jsonl").write_text("".join(json.dumps(row) + "\n" for row in recorded))
    task = {"kind": "jsonl", "name": "sums", "path": str(tmp_path / "train.jsonl"), "test_path": str(tmp_path / "test.jsonl")}
    tiny = {"adapter": {"kind": "full"}, **student}
    return validate(
        {
            "name": "pool",
            "questions": {"tasks": [task], "num_train": 5, "num_validation": 0, "num_test": 1},
            "generate": {
                "teachers": [{"kind": "replay", "path": str(tmp_path / "paths.jsonl")}],
                "styles": ["cot", "fact", "tot"],
            },
            "filter": {"judge": {"kind": "none"}},
            "students": [
                {"name": name, "source": {"kind": "tiny", "architecture": name}, **tiny} for name in ("llama", "gemma3")
            ],
            "method": {"policy": {"kind": "all"}, "peers": {"weight": 0.0}},
            "runtime": {"threads": 1},
        }
    )


def filtered(tmp_path: Path, **student: Any) -> Run:
    run = Run(tmp_path / "run", recipe(tmp_path, **student))
    generate_paths(run)
    filter_paths(run)
    return run


def pool_of(run: Run) -> list[PoolQuestion]:
    train_pool, validation_pool = load_pool(run, load_team(run.config))
    assert validation_pool == []
    return train_pool


def test_what_is_trained_on_and_what_is_dropped_add_up_to_the_replies(tmp_path: Path) -> None:
    run = filtered(tmp_path)
    decisions = run.ledger.all(FilterDecision)
    assert Counter(decision.reason for decision in decisions) == REASONS == run.summary("filter")["by_reason"]
    assert len(decisions) == run.ledger.count(ReasoningPath) == len(PATHS)
    pooled = {path.path.id for question in pool_of(run) for path in question.paths}
    dropped = {decision.path_id for decision in decisions if not decision.is_kept}
    assert len(pooled) + len(dropped) == len(PATHS)
    assert pooled == {decision.path_id for decision in decisions if decision.is_kept}
    train(run)
    assert {route.path_id for route in run.ledger.all(Route)} == pooled, "every kept path is routed, and no other"


def test_a_time_out_is_its_own_verdict_and_never_trained_on(tmp_path: Path) -> None:
    run = filtered(tmp_path)
    bombs = {path.id for path in run.ledger.all(ReasoningPath) if path.text == BOMB}
    assert len(bombs) == 2
    verdicts = {verdict.path_id: verdict for verdict in run.ledger.all(AnswerVerdict)}
    assert {verdicts[id].verdict for id in bombs} == {"timeout"}
    assert all(verdicts[id].reason.startswith("refused: ") for id in bombs)
    reasons = {decision.path_id: (decision.reason, decision.is_kept) for decision in run.ledger.all(FilterDecision)}
    assert {reasons[id] for id in bombs} == {("timeout", False)}, "not wrong, and not kept"
    assert not bombs & {path.path.id for question in pool_of(run) for path in question.paths}


def test_targets_are_the_whole_path_and_its_end_in_every_tokenizer(tmp_path: Path) -> None:
    run = filtered(tmp_path)
    students = load_team(run.config)
    texts = {path.id: path.text for path in run.ledger.all(ReasoningPath)}
    spans = {verdict.path_id: (verdict.start, verdict.end) for verdict in run.ledger.all(AnswerVerdict)}
    seen = set()
    for question in pool_of(run):
        for path in question.paths:
            text = texts[path.path.id]
            seen.add(text)
            start, end = spans[path.path.id]
            assert 0 <= start < end
            for student, tokens in zip(students, path.tokens, strict=True):
                assert tokens.response_ids[-1] == student.template.end_id
                assert student.tokenizer.decode(tokens.response_ids[:-1]) == text
                covered = {at for first, last in tokens.response_offsets[:-1] for at in range(first, last)}
                assert set(range(start, end)) <= covered, "no sample without its answer"
    assert ODD in seen


def test_a_path_that_does_not_fit_is_named_before_a_step_is_taken(tmp_path: Path) -> None:
    run = filtered(tmp_path, max_length=60)
    with pytest.raises(DataError, match=r"path \w+ has \d+ tokens .* max_length 60; .* never cut: its answer would be lost"):
        train(run)
    assert run.ledger.all(Route) == []
    assert not run.is_done("train")
