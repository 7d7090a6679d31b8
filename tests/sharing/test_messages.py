"""What a run gives to other trainers, and what comes back from them."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from qrdistill.config import load_recipe
from qrdistill.errors import AuthError, DataError, UsageError
from qrdistill.pipeline import run_pipeline
from qrdistill.sharing import convert, message_rows, push_folder, write_data_set, write_messages
from qrdistill.sharing.messages import as_lines
from qrdistill.store import Run
from qrdistill.types import FilterDecision, ReasoningPath
from recipes import toy_recipe


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A toy run up to its filter."""
    return run_pipeline(toy_recipe(), tmp_path_factory.mktemp("filtered") / "run", until="filter")


def test_every_kept_path_is_one_row_with_the_test_time_prompt(filtered: Run) -> None:
    rows = {row["path_id"]: row for row in message_rows(filtered)}
    kept = {decision.path_id for decision in filtered.ledger.all(FilterDecision) if decision.is_kept}
    assert set(rows) == kept
    texts = {path.id: path.text for path in filtered.ledger.all(ReasoningPath)}
    for path_id, row in rows.items():
        user, assistant = row["messages"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        assert assistant["content"] == texts[path_id]
        assert user["content"].startswith(row["question"])
        assert user["content"].endswith("End with: The answer is <number>.")
        assert 0 < row["quality"] <= 1


def test_the_data_set_folder_is_whole(filtered: Run, tmp_path: Path) -> None:
    sizes = write_data_set(filtered, tmp_path)
    for split, size in sizes.items():
        rows = [json.loads(line) for line in (tmp_path / "data" / f"{split}.jsonl").read_text().splitlines()]
        assert len(rows) == size
        assert {row["split"] for row in rows} == {split}
    assert load_recipe(tmp_path / "recipe.yaml") == filtered.config
    _, front, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    listed = yaml.safe_load(front)["configs"][0]["data_files"]
    assert {entry["split"]: (tmp_path / entry["path"]).is_file() for entry in listed} == dict.fromkeys(sizes, True)
    assert f"{sizes['train']} rows in train" in text
    described = json.loads((tmp_path / "dataset_info.json").read_text())
    assert all((tmp_path / entry["file_name"]).is_file() for entry in described.values())
    assert json.loads((tmp_path / "provenance.json").read_text())["rows"] == sizes


def test_the_folder_loads_in_datasets_as_its_card_says(filtered: Run, tmp_path: Path) -> None:
    """`load_dataset` on the folder, as on the hub, reads the card's own list of splits and files."""
    pytest.importorskip("datasets", reason="comes with trl, which is not a dependency")
    from datasets import load_dataset

    sizes = write_data_set(filtered, tmp_path / "set")
    loaded = load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == sizes
    expected = {row["path_id"]: row["messages"] for row in message_rows(filtered)}
    assert {row["path_id"]: row["messages"] for split in loaded.values() for row in split} == expected


def test_what_was_exported_comes_back_as_the_same_kept_paths(
    filtered: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_messages(filtered, Path("rows.jsonl"))
    convert(Path("rows.jsonl"), Path("back"))
    again = run_pipeline(load_recipe("back/recipe.yaml"), "run", until="filter")
    before = Counter(row["messages"][1]["content"] for row in message_rows(filtered))
    asked = {question_id for (question_id,) in again.ledger.execute("SELECT id FROM questions WHERE split != 'test'")}
    expected = Counter(row["messages"][1]["content"] for row in message_rows(filtered) if row["question_id"] in asked)
    assert 0 < sum(expected.values()) < sum(before.values()), "some questions became test questions"
    assert Counter(row["messages"][1]["content"] for row in message_rows(again)) == expected


SHAPES = {
    "messages": lambda q, a: {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": q},
            {"role": "assistant", "content": a},
        ]
    },
    "sharegpt": lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]},
    "alpaca": lambda q, a: {"instruction": q, "input": "", "output": a},
    "completion": lambda q, a: {"prompt": q, "completion": a},
    "query": lambda q, a: {"query": q, "response": a},
    "chat completion": lambda q, a: {
        "prompt": [{"role": "user", "content": q}],
        "completion": [{"role": "assistant", "content": a}],
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_data_sets_of_other_tools_are_read(shape: str, tmp_path: Path) -> None:
    rows = [
        SHAPES[shape](f"What is {n} plus 1?", f"{n} + 1 = {n + 1}. The answer is {n + 1}.") | {"answer": n + 1} for n in range(20)
    ]
    (tmp_path / "theirs.jsonl").write_text(as_lines(rows))
    found = convert(tmp_path / "theirs.jsonl", tmp_path / "out")
    assert (len(found.questions), len(found.paths)) == (20, 20)
    assert {record["kind"] for record in found.questions.values()} == {"number"}
    run = run_pipeline(load_recipe(tmp_path / "out" / "recipe.yaml"), tmp_path / "run", until="filter")
    assert run.summary("filter")["by_reason"] == {"kept": 18}


def test_answers_may_be_what_most_paths_state_but_only_when_asked_for(tmp_path: Path) -> None:
    texts = ["The answer is 5.", "So it is five. The answer is 5.", "The answer is 6."]
    rows = [{"prompt": f"Question {n}", "completion": text} for n in range(3) for text in texts]
    (tmp_path / "theirs.jsonl").write_text(as_lines([*rows, {"prompt": "Question 0", "completion": "Who knows?"}]))
    with pytest.raises(DataError, match=r"line 1: there is no gold answer in 'answer'.*--answer-from-paths"):
        convert(tmp_path / "theirs.jsonl", tmp_path / "out")
    found = convert(tmp_path / "theirs.jsonl", tmp_path / "out", answer_column="")
    assert {record["answer"] for record in found.questions.values()} == {"5"}
    assert [path["sample"] for path in found.paths if path["id"] == found.paths[0]["id"]] == [0, 1, 2]
    assert found.skipped == {"no answer is stated": 1}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"text": "x"}, "expected messages, conversations"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "not one of user, assistant or system"),
        ({"prompt": "x", "completion": "y", "answer": "z", "choices": ["a", "b"]}, "no label of the choices"),
    ],
)
def test_rows_that_cannot_be_used_are_named(row: dict[str, object], complaint: str, tmp_path: Path) -> None:
    (tmp_path / "theirs.jsonl").write_text(as_lines([row]))
    with pytest.raises(DataError, match=f"line 1: .*{complaint}"):
        convert(tmp_path / "theirs.jsonl", tmp_path / "out")


def test_pushing_needs_a_name_and_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(UsageError, match="OWNER/NAME"):
        push_folder(tmp_path, "just-a-name", kind="dataset")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(AuthError, match="HF_TOKEN"):
        push_folder(tmp_path, "me/data", kind="dataset")
