"""Questions that cannot be used end a command with its exit code and one sentence that names the row; nothing is written."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrdistill.cli.main import run_app

GOOD = {"id": "a", "question": "What is 1?", "answer": "1"}
OPTIONS = {"choices": ["a cat", "a dog"]}
ARC = {
    "id": "x",
    "question": "Which?",
    "choices": {"label": ["A", "B"], "text": ["a cat", "a dog"]},
    "answerKey": "A",
}
MISSING = "the field 'answer' is missing (fields: id, question); add it or map it with `columns`"


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


CASES: dict[str, tuple[list[dict[str, Any]] | bytes | str, dict[str, Any], str, int]] = {
    "missing column": ([GOOD, {"id": "b", "question": "What?"}], {}, f"line 2: {MISSING}", 65),
    "missing column of Parquet": (parquet([{"id": "b", "question": "What?"}]), {}, f"q.parquet, row 1: {MISSING}", 65),
    "missing mapped column": ([GOOD], {"columns": {"answer": "gold"}}, "line 1: the field 'gold' is missing", 65),
    "unknown mapped field": (
        [GOOD],
        {"columns": {"anser": "gold"}},
        "columns maps the unknown field 'anser' (did you mean 'answer'",
        2,
    ),
    "empty question": ([GOOD, {**GOOD, "id": "b", "question": " "}], {}, "line 2: the field 'question' is empty", 65),
    "empty gold": ([GOOD, {"id": "b", "question": "What?", "answer": " "}], {}, "line 2: the field 'answer' is empty", 65),
    "gold is null": ([{**GOOD, "answer": None}], {}, "line 1: the field 'answer' is null, expected text or a number", 65),
    "twice the same id": ([GOOD, {**GOOD, "question": "Other?"}], {}, "line 2: the id 'a' already stands in line 1", 65),
    "no yes or no": (
        [{**GOOD, "answer": "maybe"}],
        {"answer_kind": "yesno"},
        "line 1: the answer is maybe, expected yes or no",
        65,
    ),
    "a label that is not mapped": (
        [{**GOOD, "answer": "3"}],
        {"labels": {"0": "yes", "1": "no"}},
        "line 1: the answer is 3, but `labels` knows only 0, 1",
        65,
    ),
    "no label of inference": ([{**GOOD, "answer": "7"}], {"answer_kind": "nli"}, "line 1: the answer is 7, expected", 65),
    "no option": ([{**GOOD, **OPTIONS, "answer": "E"}], {}, "line 1: the answer E is no label of the choices (A, B)", 65),
    "no number": ([{**GOOD, "answer": "many"}], {"answer_kind": "number"}, "line 1: the answer is many, expected", 65),
    "no JSON": ('{"id": "a"\n', {}, "line 1: not a JSON object", 65),
    "no object": ("[1, 2]\n", {}, "line 1: found list, expected an object with named fields", 65),
    "no file": ("", {"path": "none.jsonl"}, "none.jsonl", 65),
    "no rows": ("", {}, "q.jsonl", 65),
    "no Parquet": (b"PAR1 this is no parquet file", {}, "q.parquet: not readable as Parquet after row 0", 65),
    "half a Parquet file": (parquet([GOOD] * 50)[:300], {}, "q.parquet: not readable as Parquet after row 0", 65),
    "a data set's row with another label": (
        [ARC, {**ARC, "id": "y", "answerKey": "F"}],
        {"kind": "dataset", "name": "arc_challenge"},
        "train.jsonl, line 2: the answer is F, expected one of the labels A, B; mend that row",
        65,
    ),
    "a data set's row without a column": (
        [{"id": "x"}],
        {"kind": "dataset", "name": "gsm8k"},
        "train.jsonl, line 1: the field 'answer' is missing",
        65,
    ),
    "a data set without network": (b"", {"kind": "dataset", "name": "gsm8k", "path": ""}, "cannot download openai/gsm8k", 69),
    "a hub id without network": (b"", {"kind": "hub", "id": "me/mine"}, "cannot download me/mine", 69),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_question_ends_the_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.chdir(tmp_path)
    rows, settings, message, code = CASES[case]
    place = tmp_path / ("q.parquet" if isinstance(rows, bytes) else "q.jsonl")
    lines = rows if isinstance(rows, str | bytes) else "".join(json.dumps(row) + "\n" for row in rows)
    place.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    tree = {"kind": "jsonl", "name": "mine", **settings}
    if tree["kind"] == "dataset":
        (tmp_path / "data").mkdir()
        place.replace(tmp_path / "data" / "train.jsonl")
        tree.setdefault("path", str(tmp_path / "data"))
    if tree["kind"] != "hub":
        tree.setdefault("path", str(place))
    recipe = {
        "name": "bad",
        "questions": {"tasks": [tree], "num_train": 1, "num_validation": 0, "num_test": 1},
        "generate": {"teachers": [{"kind": "replay", "path": "recorded.jsonl"}]},
        "students": [{"name": "s", "source": {"kind": "tiny"}}],
        "method": {"policy": {"kind": "all"}},
    }
    (tmp_path / "recorded.jsonl").write_text(json.dumps({"id": "q", "style": "cot", "response": "The answer is 4."}) + "\n")
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    for verb in (["run", "recipe.yaml", "-o", "run"], ["check", "recipe.yaml"]):
        found = run_app(verb)
        printed = capsys.readouterr()
        told = " ".join((printed.err if verb[0] == "run" else printed.out + printed.err).split())
        assert (found, message in told) == (code, True), told
        assert "Traceback" not in told
    assert not (tmp_path / "run").exists()
