"""A published data set as a task.

Splits are the data set's own wherever it has them. Where it has no validation split, validation questions are split off the
training questions; where it has no test split, test questions are too. Both are done by a hash of the content with a fixed
seed, so they are the same on every machine and for every seed of a run: the first questions in the order of their hashes are
test, the next validation, the others training questions. `limit` questions of a split are the first in that order as well.
A question that stands twice counts once; one that stands twice with different answers is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from qrdistill.config import DatasetTaskConfig, QuestionsConfig, content_hash
from qrdistill.errors import ConfigError, DataError, suggest
from qrdistill.tasks.datasets.base import Dataset, Files
from qrdistill.tasks.datasets.registry import DATASETS
from qrdistill.tasks.hub import commit_of, download
from qrdistill.tasks.jsonl import content, gold_text
from qrdistill.tasks.prompts import PROMPT_VERSION, plain_prompt
from qrdistill.tasks.reasoning.family import unit_hash
from qrdistill.tasks.rows import place, read_rows
from qrdistill.tasks.verify import Grade, grade_response
from qrdistill.types import Question, Split

SPLIT_SEED = 0
"""Fixed: which questions are test questions is a property of the data set, not of a run."""
_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "dev"),
    "test": ("test",),
}
_ENDS = (".jsonl", ".parquet", "-*.parquet", ".json")


class DatasetTask:
    """The questions of one published data set, from the hub or from a folder.

    Args:
        config: which data set, and where its files are.
        questions: how many questions of each split the run uses.

    Raises:
        ConfigError: there is no such data set.
    """

    def __init__(self, config: DatasetTaskConfig, questions: QuestionsConfig, seed: int = 0) -> None:
        self.dataset = known(config.name)
        self.name = config.name
        self.version = self.version_of(config)
        self._config = config
        self._sizes: dict[Split, int] = {
            "train": questions.num_train,
            "validation": questions.num_validation,
            "test": questions.num_test,
        }
        self._splits: dict[Split, list[Question]] = {}

    @staticmethod
    def version_of(config: DatasetTaskConfig) -> str:
        """The version a task of this config has: the data set's own, its pinned commits and the prompt's."""
        dataset = known(config.name)
        pins = sorted({f"{files.repo}@{files.revision}" for part in dataset.files.values() for files in part})
        return content_hash([dataset.version, pins, SPLIT_SEED, PROMPT_VERSION])

    def questions(self, split: Split, limit: int) -> list[Question]:
        """The first `limit` questions of a split.

        Raises:
            DataError: the files cannot be had, a row is not of this data set (it is named), or there are too few.
        """
        if split not in self._splits:
            self._load(split)
        pool = self._splits[split]
        if len(pool) < limit:
            raise DataError(
                f"task {self.name!r}: {self._source()} holds {len(pool)} {split} questions, the recipe asks for {limit}; "
                f"lower questions.num_{split}"
            )
        return pool[:limit]

    def prompt(self, question: Question) -> str:
        """The plain zero-shot prompt."""
        return plain_prompt(question)

    def grade(self, question: Question, response: str) -> Grade:
        """Compare the final answer stated in `response` with the gold answer."""
        return grade_response(question.kind, question.gold, question.choices or None, response)

    # --- splits --------------------------------------------------------------------------------------------------------------

    def _load(self, split: Split) -> None:
        if split == "test" and (files := self._files("test")):
            self._splits["test"] = self._read("test", files)
            return
        rows = self._read("train", self._files("train"))
        has_test, own_validation = bool(self._files("test")), self._files("validation")
        num_test, total = self.dataset.test_share
        start = 0
        if not has_test:
            start = num_test if len(rows) == total else self._sizes["test"]
            self._splits["test"] = [_placed(question, "test") for question in rows[:start]]
        if own_validation:
            self._splits["validation"] = self._read("validation", own_validation)
            stop = start
        else:
            stop = start + self._sizes["validation"]
            self._splits["validation"] = [_placed(question, "validation") for question in rows[start:stop]]
        self._splits["train"] = rows[stop:]

    def _files(self, split: Split) -> list[Path]:
        """The files of a split; none where the data set has none and the split is made from the training questions."""
        sources = self.dataset.files.get(split, ())
        if not self._config.path:
            return [path for source in sources for path in self._download(source)]
        folder = Path(self._config.path)
        if folder.is_file() and self.dataset.test_share[0]:  # a single file, where every split can be made from one
            return [folder] if split == "train" else []
        if not folder.is_dir():
            raise DataError(f"task {self.name!r}: there is no folder {folder}; give a folder with the data set's files as `path`")
        names = [f"{name}{end}" for name in _NAMES[split] for end in _ENDS] + list(self.dataset.local.get(split, ()))
        official = [pattern for source in sources for pattern in source.patterns]
        for patterns in (official, names):
            if found := _matching(folder, patterns):
                return found
        if split == "train" or (split == "test" and not self.dataset.test_share[0]):
            raise DataError(
                f"task {self.name!r}: {folder} holds no file of the {split} split; expected {split}.jsonl, {split}.parquet or "
                f"{' or '.join(official or names[-1:])}"
            )
        return []

    def _download(self, source: Files) -> list[Path]:
        if not source.repo:
            raise DataError(f"task {self.name!r} is not on the hub: {source.revision}, and give their folder as `path`")
        revision = self._config.revision or source.revision
        return download(source.repo, revision, source.patterns, where=f"task {self.name!r}")

    def _source(self) -> str:
        return self._config.path or next(source.repo for source in self.dataset.files["train"])

    # --- rows ----------------------------------------------------------------------------------------------------------------

    def _read(self, split: Split, paths: Sequence[Path]) -> list[Question]:
        kept: dict[str, Question] = {}
        ids: dict[str, str] = {}
        ambiguous: set[str] = set()
        for path in paths:
            source = {} if self._config.path else {"commit": commit_of(path)}
            for number, row in read_rows(path):
                where = place(path, number)
                draft = self.dataset.read(row, where, path.name)
                question = Question(
                    id=draft.id or f"{self.name}-{content_hash([draft.text, [list(pair) for pair in draft.choices]])[:12]}",
                    task=self.name,
                    split=split,
                    text=draft.text,
                    kind=draft.kind,
                    gold=draft.gold,
                    choices=draft.choices,
                    family=draft.family or self.name,
                    level=draft.level,
                    metadata={"row": where.rpartition(" ")[2], **source, **draft.metadata},
                )
                if draft.id and draft.id in ids:
                    raise DataError(f"{where}: the id {draft.id!r} already stands in {ids[draft.id]}; ids must differ")
                ids[question.id] = where
                key = content(question)
                if key in kept and gold_text(kept[key]) != gold_text(question):
                    ambiguous.add(key)
                kept.setdefault(key, question)
        if not kept:
            raise DataError(f"{', '.join(map(str, paths))} holds no questions; expected rows of {self.name}")
        clear = [(key, question) for key, question in kept.items() if key not in ambiguous]
        return [
            question for _, question in sorted(clear, key=lambda pair: (unit_hash(SPLIT_SEED, self.name, pair[0]), pair[1].id))
        ]


def known(name: str) -> Dataset:
    """A data set by name.

    Raises:
        ConfigError: there is none.
    """
    if name not in DATASETS:
        listed = sorted(DATASETS)
        raise ConfigError(f"unknown data set {name!r}{suggest(name, listed)}; known ones are {', '.join(listed)}")
    return DATASETS[name]


def _placed(question: Question, split: Split) -> Question:
    return replace(question, split=split)


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if any(fnmatch(path.relative_to(folder).as_posix(), pattern) for pattern in patterns)]
