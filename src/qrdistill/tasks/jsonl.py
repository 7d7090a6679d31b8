"""The user's own questions: one JSON object a line with id (optional), question, answer, and what else there is.

Splits: with a test file, training and validation questions come from `path` and test questions from `test_path`. With one
file, its questions are ordered by a hash of seed and content; the first are test, the next validation, the next training
questions. So a question's split depends on the sizes asked for only in so far as it must, and never on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from qrdistill.config import JsonlTaskConfig, QuestionsConfig, content_hash
from qrdistill.errors import DataError
from qrdistill.tasks.gold import guess_kind, read_choices, read_gold
from qrdistill.tasks.prompts import PROMPT_VERSION, plain_prompt
from qrdistill.tasks.reasoning.family import normalise, unit_hash
from qrdistill.tasks.rows import column_names, read_rows, shown, text_of
from qrdistill.tasks.verify import GRADER_VERSION, Grade, grade_response
from qrdistill.types import AnswerKind, Question, Split

FIELDS = ("id", "question", "answer", "choices", "kind", "level", "family")
_ORDER: tuple[Split, ...] = ("test", "validation", "train")


class JsonlTask:
    """Questions from one or two JSONL files.

    Args:
        config: the files and how their columns are named.
        questions: how many questions of each split there are.
        seed: the run's seed; orders the questions.

    Raises:
        ConfigError: `columns` maps an unknown field.
    """

    def __init__(self, config: JsonlTaskConfig, questions: QuestionsConfig, seed: int) -> None:
        self.name = config.name
        self.version = content_hash(["1", PROMPT_VERSION, GRADER_VERSION])
        self._config = config
        self._seed = seed
        self._sizes: dict[Split, int] = {
            "train": questions.num_train,
            "validation": questions.num_validation,
            "test": questions.num_test,
        }
        self._columns = column_names(config.columns, FIELDS, where=f"task {config.name!r}")
        self._splits: dict[Split, list[Question]] | None = None

    def questions(self, split: Split, limit: int) -> list[Question]:
        """The first `limit` questions of a split.

        Raises:
            DataError: a file is missing or malformed, or holds too few questions.
        """
        if self._splits is None:
            self._splits = self._split()
        pool = self._splits[split]
        if len(pool) < limit:
            raise self._too_few(split, limit, len(pool))
        return pool[:limit]

    def prompt(self, question: Question) -> str:
        """The plain zero-shot prompt."""
        return plain_prompt(question)

    def grade(self, question: Question, response: str) -> Grade:
        """Compare the final answer stated in `response` with the gold answer."""
        return grade_response(question.kind, question.gold, question.choices or None, response)

    def _split(self) -> dict[Split, list[Question]]:
        parts: dict[Split, list[Question]] = {}
        rows = self._ordered(self._config.path)
        files: tuple[Split, ...] = _ORDER
        if self._config.test_path:
            parts["test"] = self._ordered(self._config.test_path)
            files = ("validation", "train")
        start = 0
        for split in files:
            stop = len(rows) if split == "train" else start + self._sizes[split]
            parts[split], start = rows[start:stop], stop
        placed = {split: [_with_split(question, split) for question in questions] for split, questions in parts.items()}
        _check_ids(self._config, placed)
        return placed

    def _ordered(self, path: str) -> list[Question]:
        """Questions of a file, each content once, in the order of their hashes."""
        kept: dict[str, Question] = {}
        lines: dict[str, int] = {}
        for number, row in read_rows(Path(path)):
            question = self._read(row, f"{path}, line {number}")
            key = _content(question)
            if key in kept and kept[key].gold != question.gold:
                raise DataError(
                    f"{path}, line {number}: the same question as in line {lines[kept[key].id]} with another answer "
                    f"({shown(question.gold)}, not {shown(kept[key].gold)}); remove one of them"
                )
            if question.id in lines and row.get(self._columns["id"]) is not None:
                raise DataError(
                    f"{path}, line {number}: the id {question.id!r} already stands in line {lines[question.id]}; ids must differ"
                )
            lines.setdefault(question.id, number)
            kept.setdefault(key, question)
        if not kept:
            raise DataError(f"{path} holds no questions; expected one JSON object a line with question and answer")
        return sorted(kept.values(), key=lambda question: (unit_hash(self._seed, self.name, _content(question)), question.id))

    def _read(self, row: Mapping[str, Any], where: str) -> Question:
        columns = self._columns
        text = text_of(row, columns["question"], where=where)
        choices = read_choices(row.get(columns["choices"]), where=where)
        kind = self._kind(row, bool(choices), where)
        gold = read_gold(kind, text_of(row, columns["answer"], where=where), choices, where)
        has_id = row.get(columns["id"]) is not None
        body = content_hash([self.name, normalise(text), [list(pair) for pair in choices]])[:12]
        return Question(
            id=text_of(row, columns["id"], where=where) if has_id else f"{self.name}-{body}",
            task=self.name,
            split="train",
            text=text,
            kind=kind,
            gold=gold,
            choices=choices if kind == "choice" else (),
            family=_optional(row, columns["family"], where) or self.name,
            level=_optional(row, columns["level"], where),
            metadata={"row": where.rpartition(" ")[2]},
        )

    def _kind(self, row: Mapping[str, Any], has_choices: bool, where: str) -> AnswerKind:
        named = row.get(self._columns["kind"]) if self._config.answer_kind == "auto" else self._config.answer_kind
        kinds = get_args(AnswerKind)
        if named is None:
            return "choice" if has_choices else guess_kind(text_of(row, self._columns["answer"], where=where))
        if named not in kinds:
            raise DataError(f"{where}: the kind is {shown(named)}, expected one of {', '.join(kinds)}")
        if named == "choice" and not has_choices:
            raise DataError(
                f"{where}: the kind is choice, but the row has no choices; add the field {self._columns['choices']!r}"
            )
        kind: AnswerKind = named
        return kind

    def _too_few(self, split: Split, limit: int, found: int) -> DataError:
        file = self._config.test_path if split == "test" and self._config.test_path else self._config.path
        needed = ", ".join(
            f"{size} {name}" for name, size in self._sizes.items() if not (self._config.test_path and name == "test")
        )
        return DataError(
            f"task {self.name!r}: {file} holds {found} different questions for {split}, the recipe asks for {limit} "
            f"({needed} questions); lower questions.num_{split} or add rows"
        )


def _optional(row: Mapping[str, Any], column: str, where: str) -> str:
    return text_of(row, column, where=where) if row.get(column) not in (None, "") else ""


def _content(question: Question) -> str:
    return normalise("\n".join([question.text, *sorted(text for _, text in question.choices)]))


def _with_split(question: Question, split: Split) -> Question:
    fields = {name: getattr(question, name) for name in question.__dataclass_fields__}
    return Question(**{**fields, "split": split})


def _check_ids(config: JsonlTaskConfig, parts: Mapping[Split, list[Question]]) -> None:
    """Ids must differ between the two files as well."""
    trained = {question.id for split in ("train", "validation") for question in parts.get(split, [])}
    for question in parts["test"]:
        if question.id in trained:
            raise DataError(
                f"{config.test_path}: the id {question.id!r} also stands in {config.path}; give test questions other ids"
            )
