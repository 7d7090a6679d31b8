"""Questions that cannot be used end a command with exit code 65 and one sentence that names the row; nothing is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GOOD = {"id": "a", "question": "What is 1?", "answer": "1"}
CASES: list[tuple[list[dict[str, Any]] | bytes, dict[str, Any], str]] = [
    ([GOOD, {"id": "b", "question": "What?"}], {}, "line 2: the field 'answer' is missing"),
    ([GOOD, {"id": "b", "question": "What?", "answer": " "}], {}, "line 2: the field 'answer' is empty"),
    ([GOOD, {**GOOD, "question": "Other?"}], {}, "line 2: the id 'a' already stands in line 1"),
    ([{**GOOD, "answer": "maybe"}], {"answer_kind": "yesno"}, "line 1: the answer is maybe, expected yes or no"),
    ([{**GOOD, "answer": "3"}], {"labels": {"0": "yes", "1": "no"}}, "line 1: the answer is 3, but `labels` knows only 0, 1"),
    (b"PAR1 this is no parquet file", {}, "not readable as Parquet after row 0"),
    (b"", {"kind": "dataset", "name": "gsm8k"}, "cannot download openai/gsm8k"),
    (b"", {"kind": "hub", "id": "me/mine"}, "cannot download me/mine"),
]


@pytest.mark.parametrize(("rows", "task", "message"), CASES, ids=[message for *_, message in CASES])
def test_a_bad_question_ends_the_run_before_it_begins(
    tmp_path: Path, rows: list[dict[str, Any]] | bytes, task: dict[str, Any], message: str
) -> None:
    place = tmp_path / ("q.parquet" if isinstance(rows, bytes) else "q.jsonl")
    place.write_bytes(rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode())
    tree = {"kind": "jsonl", "name": "mine", **task}
    if tree["kind"] == "jsonl":
        tree["path"] = str(place)
    teacher = {"kind": "replay", "path": str(place)}
    recipe = {
        "name": "bad",
        "questions": {"tasks": [tree], "num_train": 1, "num_validation": 0, "num_test": 1},
        "generate": {"teachers": [teacher]},
        "students": [{"name": "s", "source": {"kind": "tiny"}}],
        "method": {"policy": {"kind": "all"}},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub"), "COLUMNS": "1000"}
    command = [sys.executable, "-m", "qrdistill", "run", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 65, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
