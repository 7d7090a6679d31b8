"""The user's own file: every usual shape is read, every mistake is named with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qrdistill.config import JsonlTaskConfig, QuestionsConfig
from qrdistill.errors import ConfigError, DataError
from qrdistill.tasks.gold import read_choices
from qrdistill.tasks.jsonl import JsonlTask
from qrdistill.types import Question, Split

DATE = Path(__file__).parents[2] / "shared" / "data" / "date" / "train.jsonl"
DATE = DATE if DATE.is_file() else Path(__file__).parents[3] / "shared" / "data" / "date" / "train.jsonl"
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def make_task(path: Path, *, seed: int = 0, sizes: tuple[int, int, int] = (2, 1, 1), **settings: Any) -> JsonlTask:
    config = JsonlTaskConfig.model_validate({"kind": "jsonl", "name": "mine", "path": str(path), **settings})
    train, validation, test = sizes
    tree = {"tasks": [config.model_dump()], "num_train": train, "num_validation": validation, "num_test": test}
    return JsonlTask(config, QuestionsConfig.model_validate(tree), seed)


def rows(number: int) -> list[dict[str, Any]]:
    return [{"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": 2 * i} for i in range(number)]


def all_questions(task: JsonlTask, sizes: tuple[int, int, int] = (2, 1, 1)) -> dict[Split, list[Question]]:
    return {split: task.questions(split, size) for split, size in zip(SPLITS, sizes, strict=True)}


def test_plain_rows(tmp_path: Path) -> None:
    task = make_task(write(tmp_path / "q.jsonl", rows(4)))
    found = [question for questions in all_questions(task).values() for question in questions]
    assert sorted(question.id for question in found) == ["q0", "q1", "q2", "q3"]
    assert all(question.kind == "number" and question.gold == str(2 * int(question.id[1:])) for question in found)
    assert task.grade(found[0], f"The answer is {found[0].gold}.").verdict == "match"
    assert "The answer is" in task.prompt(found[0])


@pytest.mark.parametrize(
    ("answer", "more", "kind", "gold"),
    [
        ("yes", {}, "yesno", "yes"),
        ("True", {"kind": "yesno"}, "yesno", "yes"),
        ("Neutral", {}, "nli", "neutral"),
        ("c", {"kind": "nli"}, "nli", "contradiction"),
        ("1,200", {}, "number", "1,200"),
        ("x^2 + 1", {}, "math", "x^2 + 1"),
        ("B", {"choices": ["red", "blue"]}, "choice", "B"),
        ("blue", {"choices": ["red", "blue"]}, "choice", "B"),
        ("2", {"choices": {"1": "red", "2": "blue"}}, "choice", "2"),
        ("B", {"choices": [["A", "red"], ["B", "blue"]]}, "choice", "B"),
        ("B", {"choices": {"label": ["A", "B"], "text": ["red", "blue"]}}, "choice", "B"),
    ],
)
def test_kinds_of_answers(tmp_path: Path, answer: str, more: dict[str, Any], kind: str, gold: str) -> None:
    path = write(tmp_path / "q.jsonl", [{"question": f"Number {i}?", "answer": answer, **more} for i in range(4)])
    question = make_task(path).questions("train", 1)[0]
    assert (question.kind, question.gold) == (kind, gold)
    assert [text for _, text in question.choices] == (["red", "blue"] if kind == "choice" else [])


def test_columns_are_mapped(tmp_path: Path) -> None:
    names = {"id": "key", "question": "input", "answer": "target", "level": "grade", "family": "topic"}
    data = [{"key": i, "input": f"What is {i}?", "target": i, "grade": 3, "topic": "numbers"} for i in range(4)]
    question = make_task(write(tmp_path / "q.jsonl", data), columns=names).questions("train", 1)[0]
    assert (question.family, question.level) == ("numbers", "3")
    with pytest.raises(ConfigError, match=r"maps the unknown field 'anser' .did you mean 'answer'"):
        make_task(tmp_path / "q.jsonl", columns={"anser": "target"})


def test_splits_are_disjoint_fixed_and_blind_to_the_order_of_rows(tmp_path: Path) -> None:
    sizes = (20, 5, 10)
    forward = all_questions(make_task(write(tmp_path / "a.jsonl", rows(40)), sizes=sizes), sizes)
    backward = all_questions(make_task(write(tmp_path / "b.jsonl", rows(40)[::-1]), sizes=sizes), sizes)
    ids = {split: [question.id for question in questions] for split, questions in forward.items()}
    assert ids == {split: [question.id for question in questions] for split, questions in backward.items()}
    assert len({id for part in ids.values() for id in part}) == 35
    other = all_questions(make_task(tmp_path / "a.jsonl", sizes=sizes, seed=1), sizes)
    assert [question.id for question in other["test"]] != ids["test"]


def test_more_training_questions_leave_the_test_questions_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows(40))
    few, many = make_task(path, sizes=(5, 5, 10)), make_task(path, sizes=(25, 5, 10))
    assert few.questions("test", 10) == many.questions("test", 10)
    assert few.questions("train", 5) == many.questions("train", 5)


def test_a_file_of_test_questions(tmp_path: Path) -> None:
    test = [{"id": f"t{i}", "question": f"Is {i} odd?", "answer": "yes"} for i in range(3)]
    task = make_task(write(tmp_path / "a.jsonl", rows(6)), test_path=str(write(tmp_path / "t.jsonl", test)), sizes=(5, 1, 3))
    assert sorted(question.id for question in task.questions("test", 3)) == ["t0", "t1", "t2"]
    assert len(task.questions("train", 5)) == 5
    write(tmp_path / "t.jsonl", [{**row, "id": "q1"} for row in test[:1]])
    with pytest.raises(DataError, match=r"the id 'q1' of row 1 also stands in row 2 of"):
        make_task(tmp_path / "a.jsonl", test_path=str(tmp_path / "t.jsonl"), sizes=(5, 1, 1)).questions("test", 1)


def test_duplicates_count_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*rows(4), {"id": "again", "question": "what is  1 + 1?", "answer": "2"}])
    assert len(make_task(path, sizes=(2, 1, 1)).questions("train", 2)) == 2
    with pytest.raises(DataError, match=r"holds 2 different questions for train, the recipe asks for 3"):
        make_task(path, sizes=(3, 1, 1)).questions("train", 3)


GOOD = {"question": "What is 1?", "answer": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json", "line 2: not a JSON object"),
        ("[1, 2]", "line 2: found list, expected an object"),
        ("[" * 5000, "line 2: not a JSON object"),
        ({"answer": 1}, "line 2: the field 'question' is missing .fields: answer."),
        ({"question": "What?"}, "line 2: the field 'answer' is missing"),
        ({"question": " ", "answer": 1}, "line 2: the field 'question' is empty"),
        ({"question": "What?", "answer": ""}, "line 2: the field 'answer' is empty"),
        ({"question": "What?", "answer": None}, "line 2: the field 'answer' is null"),
        ({"question": ["What?"], "answer": 1}, "line 2: the field 'question' is .*expected text"),
        ({"question": "What?", "answer": "E", "choices": ["a", "b"]}, "line 2: the answer E is no label of the choices .A, B."),
        ({"question": "What?", "answer": "A", "choices": "a or b"}, "line 2: choices is a or b, expected a list"),
        ({"question": "What?", "answer": "A", "choices": ["a"]}, "line 2: choices has one option"),
        ({"question": "What?", "answer": "A", "choices": {"label": ["A"], "text": ["a", "b"]}}, "1 labels and 2 texts"),
        ({"question": "What?", "answer": "A", "choices": [["A", "a"], ["A", "b"]]}, "the label 'A' twice"),
        ({"question": "What?", "answer": "A", "choices": ["a", None]}, "line 2: choices is"),
        ({"question": "What?", "answer": "A", "choices": [["A", "a"], ["B", {}]]}, "line 2: choices holds {}, expected texts"),
        ({"question": "What?", "answer": "maybe", "kind": "yesno"}, "line 2: the answer is maybe, expected yes or no"),
        ({"question": "What?", "answer": "many", "kind": "number"}, "line 2: the answer is many, expected a number"),
        ({"question": "What?", "answer": 1, "kind": "nubmer"}, "line 2: the kind is nubmer, expected one of choice"),
        ({"question": "What?", "answer": 1, "kind": "choice"}, "line 2: the kind is choice, but the row has no choices"),
        ({"question": "What is 1?", "answer": 2}, "line 2: the same question as in line 1 with another answer .2, not 1."),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: Any, message: str) -> None:
    path = write(tmp_path / "q.jsonl", [GOOD, row, *rows(3)])
    with pytest.raises(DataError, match=message):
        make_task(path).questions("train", 1)


def test_twice_the_same_id(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", [*rows(3), {"id": "q1", "question": "Another?", "answer": 3}])
    with pytest.raises(DataError, match=r"line 4: the id 'q1' already stands in line 2"):
        make_task(path).questions("train", 1)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*No such file"):
        make_task(tmp_path / "none.jsonl").questions("train", 1)
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match=r"holds no questions"):
        make_task(tmp_path / "empty.jsonl").questions("train", 1)
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"is not UTF-8 text"):
        make_task(tmp_path / "binary.jsonl").questions("train", 1)


def test_byte_order_mark_and_blank_lines_are_no_problem(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(row) for row in rows(4))
    (tmp_path / "q.jsonl").write_text(f"\ufeff{text}\n\n", encoding="utf-8")
    assert make_task(tmp_path / "q.jsonl").questions("train", 2)


def test_choices_with_labels_and_texts() -> None:
    assert read_choices({"label": ["A", "B"], "text": ["x", "y"]}, where="here") == (("A", "x"), ("B", "y"))
    assert read_choices({"text": "x", "label": "y"}, where="here") == (("text", "x"), ("label", "y"))


@pytest.mark.skipif(not DATE.is_file(), reason="the recorded Date questions are not beside this checkout")
def test_date_questions(tmp_path: Path) -> None:
    task = make_task(DATE, columns={"answer": "answerKey"}, sizes=(140, 20, 40))
    questions = all_questions(task, (140, 20, 40))
    assert sum(len(part) for part in questions.values()) == 200
    assert all(question.kind == "choice" and question.gold in dict(question.choices) for question in questions["train"])
