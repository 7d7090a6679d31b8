"""Published data sets: rows of the published shape become questions, splits are the official ones, mistakes are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrdistill.config import DatasetTaskConfig, HubTaskConfig, QuestionsConfig
from qrdistill.errors import ConfigError, DataError, ProviderError
from qrdistill.tasks.datasets import DATASETS, DatasetTask
from qrdistill.tasks.datasets.base import Files
from qrdistill.tasks.jsonl import JsonlTask
from qrdistill.types import Question, Split

Rows = list[dict[str, Any]]


def folder_of(tmp_path: Path, **files: Rows) -> Path:
    """Files by name; a double underscore is a slash, the end .parquet or .jsonl is the last word."""
    for name, rows in files.items():
        stem, _, end = name.replace("__", "/").rpartition("_")
        path = tmp_path / f"{stem}.{end}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if end == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def task(name: str, folder: Path | str, train: int = 2, validation: int = 1, test: int = 1) -> DatasetTask:
    config = DatasetTaskConfig(name=name, path=str(folder))
    sizes = QuestionsConfig(tasks=(config,), num_train=train, num_validation=validation, num_test=test)
    return DatasetTask(config, sizes)


def first(name: str, folder: Path, split: Split = "test") -> Question:
    return task(name, folder).questions(split, 1)[0]


def copies(row: dict[str, Any], number: int, column: str, key: str = "") -> Rows:
    """The row so many times, with different questions (and ids)."""
    return [{**row, column: f"{row[column]} ({n})", **({key: f"{key}{n}"} if key else {})} for n in range(number)]


STRATEGY = {"qid": "s", "term": "Saturn", "description": "planet", "question": "Is it big?", "answer": True, "facts": "It is."}
ARC = {
    "id": "Mercury_1",
    "question": "Which one melts?",
    "choices": {"text": ["ice", "stone", "sand"], "label": ["1", "2", "3"]},
    "answerKey": "1",
}
CSQA = {**ARC, "choices": {"text": ["a bank", "a park"], "label": ["A", "B"]}, "answerKey": "B", "question_concept": "dog"}
MATH = {"problem": "What is $1/2$?", "level": "Level 3", "type": "Number Theory", "solution": r"It is $\boxed{\frac{1}{2}}$."}
M500 = {"problem": "What is $2$?", "level": 5, "subject": "Precalculus", "solution": r"$\boxed{7}$", "answer": "2"}
ANLI = {"uid": "u", "premise": "A dog ran.", "hypothesis": "An animal moved.", "label": 0, "reason": "dogs are animals"}
GSM = {"question": "How many?", "answer": "He has 2.\nHe gets <<2+1000=1002>>1002.\n#### 1,002"}
BIG = {
    "idx": 3,
    "inputs": "Q: Today is Christmas Eve of 1937. What is the date tomorrow in MM/DD/YYYY?\n  choice: 12/25/1937\nA:",
    "targets": ["12/25/1937"],
    "multiple_choice_targets": ["12/25/1937", "12/24/1937", "01/08/1938"],
    "multiple_choice_scores": [1, 0, 0],
}
TABLE = {
    "question": "How much in all?",
    "choices": None,
    "answer": "1,234.5",
    "unit": "$",
    "table_title": "Prices {question}",
    "table": "pen | $1\nbook | $2",
    "ques_type": "free_text",
    "ans_type": "decimal_number",
    "grade": 7,
}


def test_strategy_qa(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        **{
            "data__train-00000-of-00001_parquet": copies(STRATEGY, 4, "question", "qid"),
            "data__test-00000-of-00001_parquet": [{**STRATEGY, "answer": False}],
        },
    )
    question = first("strategy_qa", folder)
    assert (question.id, question.kind, question.gold, question.metadata["term"]) == ("s", "yesno", "no", "Saturn")
    assert task("strategy_qa", folder).questions("train", 3)[0].gold == "yes"


def test_arc_uses_letters_whatever_the_row_uses(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, train_jsonl=copies(ARC, 3, "question", "id"), validation_jsonl=[ARC], test_jsonl=[ARC])
    question = first("arc_challenge", folder)
    assert question.choices == (("A", "ice"), ("B", "stone"), ("C", "sand"))
    assert (question.id, question.gold) == ("Mercury_1", "A")
    assert first("arc_challenge", folder, "validation").split == "validation"
    assert task("arc_challenge", folder).grade(question, "The answer is A.").verdict == "match"


def test_commonsense_qa_tests_on_the_official_validation_split(tmp_path: Path) -> None:
    assert [files.patterns for files in DATASETS["commonsense_qa"].files["test"]] == [("data/validation-*.parquet",)]
    folder = folder_of(
        tmp_path,
        **{
            "data__train-00000-of-00001_parquet": copies(CSQA, 4, "question", "id"),
            "data__validation-00000-of-00001_parquet": [CSQA],
            "data__test-00000-of-00001_parquet": [{**CSQA, "answerKey": ""}],
        },
    )
    question = first("commonsense_qa", folder)
    assert (question.gold, question.metadata["concept"]) == ("B", "dog")


def test_math_and_math500(tmp_path: Path) -> None:
    train = {
        f"{subject}__train-00000-of-00001_parquet": copies({**MATH, "type": subject, "problem": subject}, 2, "problem")
        for subject in ("algebra", "geometry")
    }
    folder = folder_of(tmp_path, **train, **{"algebra__test-00000-of-00001_parquet": [MATH], "test_jsonl": [M500]})
    question = first("math", folder)
    assert (question.gold, question.family, question.level) == (r"\frac{1}{2}", "number_theory", "3")
    assert question.metadata["subject"] == "Number Theory"
    assert {q.family for q in task("math", folder).questions("train", 3)} == {"algebra", "geometry"}, "subjects are mixed"
    short = first("math500", folder)
    assert (short.gold, short.family, short.level) == ("2", "precalculus", "5")


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        (r"$\boxed{3}$ then $\boxed{\text{(B)}}$", r"\text{(B)}"),
        (r"\boxed{\left\{1, \frac{2}{3}\right\}}", r"\left\{1, \frac{2}{3}\right\}"),
        (r"so $\boxed 5$.", "5"),
        (r"\fbox{x=1}", "x=1"),
    ],
)
def test_math_reads_the_last_box(tmp_path: Path, solution: str, gold: str) -> None:
    row = {**MATH, "solution": solution}
    folder = folder_of(tmp_path, train_jsonl=copies(row, 3, "problem"), test_jsonl=[row])
    assert first("math", folder).gold == gold


def test_anli_rounds(tmp_path: Path) -> None:
    files = {
        f"plain_text__{split}_r{number}-00000-of-00001_parquet": copies(
            {**ANLI, "premise": f"{split} {number}", "label": number - 1}, 2, "premise", "uid"
        )
        for split in ("train", "dev", "test")
        for number in (1, 2, 3)
    }
    files = {name: [{**row, "uid": f"{name}{row['uid']}"} for row in rows] for name, rows in files.items()}
    folder = folder_of(tmp_path, **files)
    questions = task("anli", folder, train=6, validation=6, test=6).questions("test", 6)
    assert {(question.level, question.gold) for question in questions} == {
        ("R1", "entailment"),
        ("R2", "neutral"),
        ("R3", "contradiction"),
    }
    assert all(question.metadata["round"] == question.level for question in questions)
    only = task("anli_r2", folder, train=2, validation=2, test=2)
    assert {question.level for split in ("train", "validation", "test") for question in only.questions(split, 2)} == {"R2"}
    assert "entail" in only.prompt(questions[0])
    assert "Premise: test" in questions[0].text


def test_gsm8k(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, train_jsonl=copies(GSM, 3, "question"), test_jsonl=[GSM])
    question = first("gsm8k", folder)
    assert (question.gold, question.level, question.metadata["num_steps"]) == ("1002", "2", 2)
    assert "1002" not in task("gsm8k", folder).prompt(question), "the solution stays out of the prompt"


def test_date_understanding_of_the_hub(tmp_path: Path) -> None:
    rows = [{**BIG, "inputs": BIG["inputs"].replace("1937. What", f"{1000 + n}. What")} for n in range(369)]
    folder = folder_of(
        tmp_path,
        **{
            "date_understanding__train-00000-of-00001_parquet": rows[:296],
            "date_understanding__validation-00000-of-00001_parquet": rows[296:],
        },
    )
    made = task("date_understanding", folder, train=200, validation=0, test=169)
    train, test = made.questions("train", 200), made.questions("test", 169)
    assert len({question.id for question in train + test}) == 369
    for question in train:
        assert question.text.startswith("Today is Christmas Eve of")
        assert question.text.endswith("in MM/DD/YYYY?")
        assert dict(question.choices)[question.gold] == "12/25/1937"
    shares = [sum(question.gold == letter for question in train + test) / 369 for letter in "ABC"]
    assert max(shares) < 0.42, "the hub's order (right option first) is undone"
    other = task("date_understanding", folder, train=100, validation=0, test=20)
    assert other.questions("test", 20) == test[:20], "the test questions do not depend on how many are asked for"
    assert {question.id for question in other.questions("train", 100)} <= {question.id for question in train}


def test_tabmwp_reads_its_authors_files(tmp_path: Path) -> None:
    choice = {**TABLE, "choices": ["yes", "no"], "answer": "no", "unit": None}
    for split, problem in (("train", TABLE), ("dev", TABLE), ("test", choice)):
        whole = {str(n): {**problem, "question": f"How much in all {n}?"} for n in range(3)}
        (tmp_path / f"problems_{split}.json").write_text(json.dumps(whole))
    made = task("tabmwp", tmp_path, train=3, validation=1, test=3)
    question = next(question for question in made.questions("train", 3) if question.id == "1")
    assert (question.kind, question.gold, question.level) == ("number", "1234.5", "7")
    assert question.text == "Table: Prices {question}\npen | $1\nbook | $2\nHow much in all 1? (unit: $)"
    assert {(q.kind, q.gold) for q in made.questions("test", 3)} == {("choice", "B")}
    with pytest.raises(DataError, match=r"'tabmwp' is not on the hub: get problems_train.json"):
        task("tabmwp", "").questions("train", 1)


# --- splits ------------------------------------------------------------------------------------------------------------------


def test_splits_are_official_fixed_and_disjoint(tmp_path: Path) -> None:
    train = copies(GSM, 40, "question")
    folder = folder_of(tmp_path, train_jsonl=train, test_jsonl=copies({**GSM, "question": "Other?"}, 10, "question"))
    made = task("gsm8k", folder, train=20, validation=10, test=10)
    parts = {split: [q.id for q in made.questions(split, n)] for split, n in (("train", 20), ("validation", 10), ("test", 10))}
    assert len({id for ids in parts.values() for id in ids}) == 40
    assert all(question.text.startswith("Other?") for question in made.questions("test", 10))
    folder_of(tmp_path, train_jsonl=train[::-1])
    again = task("gsm8k", folder, train=20, validation=10, test=10)
    assert [q.id for q in again.questions("train", 20)] == parts["train"], "blind to the order of the rows"
    assert [q.id for q in again.questions("validation", 10)] == parts["validation"]


def test_twice_the_same_question_counts_once_and_a_contradiction_not_at_all(tmp_path: Path) -> None:
    same, clash = copies(GSM, 1, "question")[0], {**GSM, "question": "Clash?"}
    rows = [*copies(GSM, 4, "question"), same, clash, {**clash, "answer": "#### 9"}]
    folder = folder_of(tmp_path, train_jsonl=rows, test_jsonl=[{**GSM, "question": "T?"}])
    made = task("gsm8k", folder, train=4, validation=0)
    assert len(made.questions("train", 4)) == 4
    with pytest.raises(DataError, match=r"holds 4 train questions, the recipe asks for 5"):
        made.questions("train", 5)


# --- what is wrong is named --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("gsm8k", {"question": "What?"}, r"line 2: the field 'answer' is missing"),
        ("gsm8k", {"question": "What?", "answer": "18"}, r"line 2: the answer is 18, expected a solution that ends in '#### '"),
        ("gsm8k", {"question": "What?", "answer": "#### "}, r"line 2: .*expected a solution that ends"),
        ("gsm8k", {"question": "What?", "answer": "#### many"}, r"line 2: the answer is many, expected a number"),
        ("arc_challenge", {**ARC, "id": "x", "answerKey": "9"}, r"line 2: the answer is 9, expected one of the labels 1, 2, 3"),
        ("arc_challenge", {**ARC, "id": "x", "answerKey": ""}, r"line 2: the field 'answerKey' is empty"),
        ("arc_challenge", {**ARC, "question": "Other?"}, r"line 2: the id 'Mercury_1' already stands in .*line 1"),
        (
            "arc_challenge",
            {"id": "x", "question": "?", "answerKey": "1"},
            r"line 2: the field 'choices' is missing .*kind 'jsonl'",
        ),
        ("strategy_qa", {**STRATEGY, "qid": "x", "answer": "perhaps"}, r"line 2: the answer is perhaps, expected yes or no"),
        ("anli_r1", {**ANLI, "uid": "x", "label": -1}, r"line 2: the label is -1, expected 0 .entailment., 1"),
        ("anli_r1", {**ANLI, "uid": "x", "label": 3}, r"line 2: the label is 3"),
        ("math", {**MATH, "solution": "It is 5."}, r"line 2: the solution holds no \\boxed"),
        ("date_understanding", {**BIG, "multiple_choice_scores": [0, 0, 0]}, r"line 2: the scores are \[0, 0, 0\]"),
        ("tabmwp", {"question": "What?", "answer": "3"}, r"line 2: the field 'table' is missing"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, name: str, row: dict[str, Any], message: str) -> None:
    good = {"gsm8k": GSM, "arc_challenge": ARC, "strategy_qa": STRATEGY, "math": MATH, "tabmwp": TABLE, "date_understanding": BIG}
    folder = folder_of(tmp_path, train_jsonl=[good.get(name, ANLI), row], test_jsonl=[good.get(name, ANLI)])
    folder_of(tmp_path, validation_jsonl=[good.get(name, ANLI)])
    with pytest.raises(DataError, match=message):
        task(name, folder).questions("train", 1)


def test_a_folder_without_its_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*none; give a folder"):
        task("gsm8k", tmp_path / "none").questions("train", 1)
    with pytest.raises(DataError, match=r"holds no file of the train split; expected train.jsonl, train.parquet or main/train-"):
        task("gsm8k", tmp_path).questions("train", 1)
    folder_of(tmp_path, train_jsonl=copies(GSM, 3, "question"))
    with pytest.raises(DataError, match=r"holds no file of the test split"):
        task("gsm8k", tmp_path).questions("test", 1)
    with pytest.raises(ConfigError, match=r"unknown data set 'gsm9k' .did you mean 'gsm8k'"):
        task("gsm9k", tmp_path)


@pytest.mark.parametrize(
    "spoil", [lambda data: data[: len(data) // 2], lambda data: b"PAR1 no parquet at all PAR1", lambda data: b""]
)
def test_an_unreadable_parquet_file_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    folder = folder_of(tmp_path, train_parquet=copies(GSM, 3, "question"), test_jsonl=[GSM])
    path = folder / "train.parquet"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=r"train.parquet: not readable as Parquet after row 0 .*copy the file again"):
        task("gsm8k", folder).questions("train", 1)


# --- the hub -----------------------------------------------------------------------------------------------------------------


def cached(cache: Path, repo: str, revision: str, files: Callable[[Path], Path]) -> None:
    """A repository as the hub's client leaves it in its cache."""
    root = cache / f"datasets--{repo.replace('/', '--')}"
    files(root / "snapshots" / revision)
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(revision)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client, offline."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    from qrdistill.tasks.hub import _snapshot

    _snapshot.cache_clear()
    return tmp_path / "hub"


def test_what_the_hub_client_has_in_its_cache_is_read_without_network(hub: Path) -> None:
    source: Files = DATASETS["gsm8k"].files["train"][0]
    files = {
        "main__train-00000-of-00001_parquet": copies(GSM, 3, "question"),
        "main__test-00000-of-00001_parquet": [GSM],
        "socratic__train-00000-of-00001_parquet": copies({**GSM, "question": "no"}, 3, "question"),
    }
    cached(hub, source.repo, source.revision, lambda folder: folder_of(folder, **files))
    made = task("gsm8k", "")
    assert [question.text for question in made.questions("test", 1)] == ["How many?"]
    assert all(question.text.startswith("How many?") for question in made.questions("train", 2))


def test_questions_of_a_branch_say_which_commit_they_are_of(hub: Path) -> None:
    rows = [{"question": f"Is {n} odd?", "answer": n % 2 == 1} for n in range(4)]
    cached(hub, "me/mine", "0123abc", lambda folder: folder_of(folder, train_parquet=rows))
    config = HubTaskConfig(name="mine", id="me/mine", files=("*.parquet",))
    sizes = QuestionsConfig(tasks=(config,), num_train=2, num_validation=1, num_test=1)
    assert config.revision == "main"
    assert {question.metadata["commit"] for question in JsonlTask(config, sizes, 0).questions("train", 2)} == {"0123abc"}
    source: Files = DATASETS["gsm8k"].files["train"][0]
    files = {"main__train-0_parquet": copies(GSM, 3, "question"), "main__test-0_parquet": [GSM]}
    cached(hub, source.repo, source.revision, lambda folder: folder_of(folder, **files))
    assert task("gsm8k", "").questions("test", 1)[0].metadata["commit"] == source.revision


def test_a_hub_id_without_network_says_so(hub: Path) -> None:
    with pytest.raises(
        ProviderError, match=r"'gsm8k': cannot download openai/gsm8k at 740312a.*connect to the network, or use a local"
    ):
        task("gsm8k", "").questions("train", 1)


def test_any_hub_data_set_with_mapped_columns(hub: Path) -> None:
    rows = [{"premise": f"p {n}", "gold": n % 3} for n in range(8)]
    cached(hub, "me/mine", "abc", lambda folder: folder_of(folder, train_parquet=rows))
    config = HubTaskConfig(
        name="mine",
        id="me/mine",
        files=("*.parquet",),
        columns={"question": "premise", "answer": "gold"},
        answer_kind="nli",
        labels={"0": "entailment", "1": "neutral", "2": "contradiction"},
    )
    sizes = QuestionsConfig(tasks=(config,), num_train=5, num_validation=1, num_test=2)
    made = JsonlTask(config, sizes, 0)
    golds = {question.text: question.gold for question in made.questions("train", 5)}
    assert all(gold == ("entailment", "neutral", "contradiction")[int(text[2:]) % 3] for text, gold in golds.items())
    fewer = config.model_copy(update={"labels": {"0": "entailment", "1": "neutral"}})
    with pytest.raises(DataError, match=r"train.parquet, row 3: the answer is 2, but `labels` knows only 0, 1"):
        JsonlTask(fewer, sizes, 0).questions("train", 1)
    elsewhere = config.model_copy(update={"files": ("data/*.parquet",)})
    with pytest.raises(DataError, match=r"me/mine at main holds no file data/"):
        JsonlTask(elsewhere, sizes, 0).questions("train", 1)


def test_every_pinned_revision_is_a_commit_but_for_the_one_that_says_so() -> None:
    pins = {files.repo: files.revision for dataset in DATASETS.values() for part in dataset.files.values() for files in part}
    loose = {repo for repo, revision in pins.items() if repo and len(revision) != 40}
    assert loose == {"tasksource/bigbench"}
