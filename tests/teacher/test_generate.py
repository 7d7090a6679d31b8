"""The generate stage: the whole grid once, whatever happens in between."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qrdistill import Run, generate_paths
from qrdistill.config import Config, validate
from qrdistill.errors import DataError
from qrdistill.types import Attempt, PathRequest, PlantedFlaw, Question, ReasoningPath

FAMILIES = ("leg_counting", "chain_sum", "gcd")


def recipe(*, seed: int = 0, num_train: int = 6, **generate: Any) -> Config:
    return validate(
        {
            "name": "g",
            "seed": seed,
            "questions": {
                "tasks": [{"kind": "reasoning", "name": name} for name in FAMILIES],
                "num_train": num_train,
                "num_validation": 2,
                "num_test": 3,
            },
            "generate": generate,
            "students": [{"name": "s", "source": {"kind": "tiny"}}],
        }
    )


def exports(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(run.exports.iterdir())}


def test_the_grid_is_filled_once(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", recipe(samples=2))
    paths = generate_paths(run)
    questions = {question.id: question for question in run.ledger.all(Question)}
    assert Counter(question.split for question in questions.values()) == {"train": 18, "validation": 6, "test": 9}
    assert len(paths) == (18 + 6) * 6 * 2
    assert {questions[path.question_id].split for path in paths} == {"train", "validation"}, "test questions get no paths"
    cells = Counter((path.question_id, path.style, path.sample) for path in paths)
    assert set(cells.values()) == {1}
    assert {path.id for path in paths} == {request.id for request in run.ledger.all(PathRequest)}
    assert run.ledger.count(PlantedFlaw) == run.ledger.count(Attempt) == len(paths)
    summary = run.summary("generate")
    assert (summary["num_paths"], summary["num_holes"], summary["paths_by_state"]) == (len(paths), 0, {"done": len(paths)})


def test_a_second_call_does_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", recipe())
    first = generate_paths(run)
    attempts = run.ledger.all(Attempt)
    assert generate_paths(Run(tmp_path / "run")) == first
    assert run.ledger.all(Attempt) == attempts


def test_two_runs_export_the_same_bytes(tmp_path: Path) -> None:
    one, two = Run(tmp_path / "one", recipe()), Run(tmp_path / "two", recipe())
    generate_paths(one)
    generate_paths(two)
    assert exports(one) == exports(two)


def test_a_changed_grid_keeps_what_is_still_asked_for(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", recipe(styles=["cot", "fact"]))
    before = {path.id: path for path in generate_paths(run)}
    run = Run(tmp_path / "run", recipe(styles=["fact", "tot"], num_train=4), is_update=True)
    after = {path.id: path for path in generate_paths(run)}
    assert {path.style for path in after.values()} == {"fact", "tot"}
    assert len(after) == 3 * (4 + 2) * 2
    shared = before.keys() & after.keys()
    assert len(shared) == 3 * (4 + 2)
    assert all(before[id] == after[id] for id in shared)
    assert run.ledger.count(Attempt) == len(before) + len(after) - len(shared)
    assert run.ledger.count(PathRequest) == run.ledger.count(PlantedFlaw) == len(after)
    assert run.ledger.count(Question, "split = 'train'") == 12


def test_works_inside_a_running_event_loop(tmp_path: Path) -> None:
    async def notebook() -> int:
        return len(generate_paths(Run(tmp_path / "run", recipe(styles=["cot"]))))

    assert asyncio.run(notebook()) == 3 * 8


def test_two_tasks_with_one_question_id_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = [f'{{"id": "q{i}", "question": "{name} {i}?", "answer": 1}}' for i in range(8)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    tree = recipe().model_dump(mode="json")
    tree["questions"]["tasks"] = [{"kind": "jsonl", "name": n, "path": str(tmp_path / f"{n}.jsonl")} for n in ("a", "b")]
    tree["questions"] |= {"num_train": 4, "num_validation": 1, "num_test": 3}
    tree["generate"]["teachers"] = [{"kind": "replay", "path": str(tmp_path / "a.jsonl")}]
    (tmp_path / "a.paths").write_text('{"id": "q1", "style": "cot", "response": "x"}')
    tree["generate"]["teachers"][0]["path"] = str(tmp_path / "a.paths")
    with pytest.raises(DataError, match="tasks a and b share the question id"):
        generate_paths(Run(tmp_path / "run", validate(tree)))


SLOW = """
import asyncio, sys
from qrdistill import Run, generate_paths
from qrdistill.teacher import registry, collect
from qrdistill.teacher.worked_solution import WorkedSolutionTeacher
sys.path.insert(0, {here!r})
from test_generate import recipe

class Slow(WorkedSolutionTeacher):
    async def answer(self, work):
        for request, question in work:
            await asyncio.sleep(0.002)
            yield self.reply(request, question)

registry.TEACHERS["worked_solution"] = lambda config, run, tasks: Slow(config, tasks=tasks, seed=run.config.seed)
collect.BATCH_REPLIES = 20
generate_paths(Run({folder!r}, recipe(num_train=14)))
"""


def count_paths(folder: Path) -> int:
    try:
        with sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM paths").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """SIGKILL in the middle, twice; the third run finishes. Same exports byte for byte, nothing generated twice."""
    whole = Run(tmp_path / "whole", recipe(num_train=14))
    generate_paths(whole)
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", SLOW.format(here=str(Path(__file__).parent), folder=str(folder))]
    seen = 0
    for _ in range(2):
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        deadline_s = time.monotonic() + 60
        while count_paths(folder) < seen + 40 and process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert seen < count_paths(folder) < 3 * 16 * 6
        seen = count_paths(folder)
    run = Run(folder)
    assert len(generate_paths(run)) == 3 * 16 * 6
    assert exports(run) == exports(whole)
    attempts = Counter(attempt.path_id for attempt in run.ledger.all(Attempt))
    assert set(attempts.values()) == {1}
    assert len(attempts) == run.ledger.count(ReasoningPath)
