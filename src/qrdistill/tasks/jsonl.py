"""The user's own questions, from a file or from the hub: rows with id (optional), question, answer, and what else there is.

Splits: with a test file, training and validation questions come from `path` and test questions from `test_path`. With one
file, its questions are ordered by a hash of seed and content; the first are test, the next validation, the next training
questions. So a question's split depends on the sizes asked for only in so far as it must, and never on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from qrdistill.config import HubTaskConfig, JsonlTaskConfig, QuestionsConfig, content_hash
from qrdistill.errors import DataError
from qrdistill.tasks.gold import guess_kind, read_choices, read_gold
from qrdistill.tasks.hub import commit_of, download
from qrdistill.tasks.prompts import PROMPT_VERSION, plain_prompt
from qrdistill.tasks.reasoning.family import normalise, unit_hash
from qrdistill.tasks.rows import column_names, place, read_rows, shown, text_of
from qrdistill.tasks.verify import Grade, grade_response
from qrdistill.types import AnswerKind, Question, Split

VERSION = "2"
FIELDS = ("id", "question", "answer", "choices", "kind", "level", "family")
_ORDER: tuple[Split, ...] = ("test", "validation", "train")


class JsonlTask:
    """Questions from the user's own files, or from files of a repository on the hub.

    Args:
        config: the files, how their columns are named and what their answers mean.
        questions: how many questions of each split there are.
        seed: the run's seed; orders the questions.

    Raises:
        ConfigError: `columns` maps an unknown field.
    """

    def __init__(self, config: JsonlTaskConfig | HubTaskConfig, questions: QuestionsConfig, seed: int) -> None:
        self.name = config.name
        self.version = self.version_of(config)
        self._config = config
        self._seed = seed
        self._sizes: dict[Split, int] = {
            "train": questions.num_train,
            "validation": questions.num_validation,
            "test": questions.num_test,
        }
        self._columns = column_names(config.columns, FIELDS, where=f"task {config.name!r}")
        self._splits: dict[Split, list[Question]] | None = None

    @staticmethod
    def version_of(config: JsonlTaskConfig | HubTaskConfig) -> str:
        """The version a task of this config has."""
        return content_hash([VERSION, PROMPT_VERSION])

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

    def _files(self) -> tuple[list[Path], list[Path]]:
        """Files with training questions, files with test questions (none: they are split off)."""
        config = self._config
        if isinstance(config, JsonlTaskConfig):
            return [Path(config.path)], [Path(config.test_path)] if config.test_path else []
        where = f"task {config.name!r}"
        files = download(config.id, config.revision, config.files, where=where)
        tests = download(config.id, config.revision, config.test_files, where=where) if config.test_files else []
        return files, tests

    def _split(self) -> dict[Split, list[Question]]:
        parts: dict[Split, list[Question]] = {}
        files, tests = self._files()
        rows = self._ordered(files)
        splits: tuple[Split, ...] = _ORDER
        if tests:
            parts["test"] = self._ordered(tests)
            splits = ("validation", "train")
        start = 0
        for split in splits:
            stop = len(rows) if split == "train" else start + self._sizes[split]
            parts[split], start = rows[start:stop], stop
        placed = {split: [replace(question, split=split) for question in questions] for split, questions in parts.items()}
        _check_ids(placed, files, tests)
        return placed

    def _ordered(self, paths: Sequence[Path]) -> list[Question]:
        """Questions of files, each content once, in the order of their hashes."""
        kept: dict[str, Question] = {}
        ids: dict[str, str] = {}
        for path in paths:
            source = {} if isinstance(self._config, JsonlTaskConfig) else {"commit": commit_of(path)}
            for number, row in read_rows(path):
                where = place(path, number)
                question = self._read(row, where, source)
                key = content(question)
                if key in kept and gold_text(kept[key]) != gold_text(question):
                    raise DataError(
                        f"{where}: the same question as in {ids[kept[key].id]} with another answer "
                        f"({shown(gold_text(question))}, not {shown(gold_text(kept[key]))}); remove one of them"
                    )
                if question.id in ids and row.get(self._columns["id"]) is not None:
                    raise DataError(f"{where}: the id {question.id!r} already stands in {ids[question.id]}; ids must differ")
                ids.setdefault(question.id, where.partition(", ")[2] if len(paths) == 1 else where)
                kept.setdefault(key, question)
        if not kept:
            raise DataError(f"{_listed(paths)} holds no questions; expected rows with question and answer")
        return sorted(kept.values(), key=lambda question: (unit_hash(self._seed, self.name, content(question)), question.id))

    def _read(self, row: Mapping[str, Any], where: str, source: Mapping[str, str]) -> Question:
        columns = self._columns
        text = text_of(row, columns["question"], where=where)
        choices = read_choices(row.get(columns["choices"]), where=where)
        kind = self._kind(row, bool(choices), where)
        gold = read_gold(kind, self._answer(row, kind, where), choices, where)
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
            metadata={"row": where.rpartition(" ")[2], **source},
        )

    def _answer(self, row: Mapping[str, Any], kind: AnswerKind | Literal[""], where: str) -> str:
        """The answer of a row as text; with `labels`, what the recipe says it means."""
        column, labels = self._columns["answer"], self._config.labels
        value = row.get(column)
        if isinstance(value, bool) and (labels or kind in ("yesno", "")):
            value = str(value) if labels else "yes" if value else "no"
        text = text_of({**row, column: value} if column in row else row, column, where=where)
        if not labels:
            return text
        if text not in labels:
            raise DataError(f"{where}: the answer is {shown(text)}, but `labels` knows only {', '.join(labels)}; add it there")
        return labels[text]

    def _kind(self, row: Mapping[str, Any], has_choices: bool, where: str) -> AnswerKind:
        named = row.get(self._columns["kind"]) if self._config.answer_kind == "auto" else self._config.answer_kind
        kinds = get_args(AnswerKind)
        if named is None:
            return "choice" if has_choices else guess_kind(self._answer(row, "", where))
        if named not in kinds:
            raise DataError(f"{where}: the kind is {shown(named)}, expected one of {', '.join(kinds)}")
        if named == "choice" and not has_choices:
            raise DataError(
                f"{where}: the kind is choice, but the row has no choices; add the field {self._columns['choices']!r}"
            )
        kind: AnswerKind = named
        return kind

    def _too_few(self, split: Split, limit: int, found: int) -> DataError:
        files, tests = self._files()
        needed = ", ".join(f"{size} {name}" for name, size in self._sizes.items() if not (tests and name == "test"))
        return DataError(
            f"task {self.name!r}: {_listed(tests if split == 'test' and tests else files)} holds {found} different questions for "
            f"{split}, the recipe asks for {limit} ({needed} questions); lower questions.num_{split} or add rows"
        )


def content(question: Question) -> str:
    """What makes two questions the same: their text and options, but for case, white space and the order of the options."""
    return normalise("\n".join([question.text, *sorted(text for _, text in question.choices)]))


def gold_text(question: Question) -> str:
    """The gold answer in words: the text of the right option, or the answer itself."""
    return dict(question.choices).get(question.gold, question.gold)


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _optional(row: Mapping[str, Any], column: str, where: str) -> str:
    return text_of(row, column, where=where) if row.get(column) not in (None, "") else ""


def _check_ids(parts: Mapping[Split, list[Question]], files: Sequence[Path], tests: Sequence[Path]) -> None:
    """Ids must differ between training and test files as well."""
    trained = {question.id: question for split in ("train", "validation") for question in parts.get(split, [])}
    for question in parts["test"]:
        if question.id in trained:
            row, other = (found.metadata["row"] for found in (question, trained[question.id]))
            raise DataError(
                f"{_listed(tests)}: the id {question.id!r} of row {row} also stands in row {other} of {_listed(files)}; "
                "give test questions other ids"
            )
