"""Procedural question families: what a family is, and the task that draws its questions.

Questions come from reasoning-gym generators with a fixed seed. Each draw is rewritten as a short plain question, duplicates
(by normalised text) are dropped, and a hash of seed and text puts it in a split. So a split never depends on how many
questions another one has, and the same seed gives the same questions on every machine.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qrdistill.config import ReasoningTaskConfig, content_hash
from qrdistill.errors import ConfigError, DataError, suggest
from qrdistill.tasks.base import Slip, Solution
from qrdistill.tasks.prompts import PROMPT_VERSION, plain_prompt
from qrdistill.tasks.reasoning.derivation import Pen
from qrdistill.tasks.verify import Grade, grade_response
from qrdistill.types import AnswerKind, Question, Split

SPLIT_SHARES: dict[Split, float] = {"test": 0.3, "validation": 0.1, "train": 0.6}
"""Share of all draws that falls into each split."""
DRAWS_PER_QUESTION = 100
"""A family that needs more draws than this per new question is exhausted."""
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A question as a family writes it from one draw of its generator."""

    text: str
    gold: str
    choices: tuple[tuple[str, str], ...] = ()
    level: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One sort of question. `parameters` holds every difficulty parameter a recipe may set, with its default.

    `read` turns a generator's item into a draft, or None to skip it. `derive` writes the solution of a question through a pen.
    """

    name: str
    dataset: str
    kind: AnswerKind
    parameters: Mapping[str, Any]
    read: Callable[[dict[str, Any]], Draft | None]
    derive: Callable[[Question, Pen], Solution]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Generator parameters that belong to the family and cannot be set."""
    version: str = "1"


def normalise(text: str) -> str:
    """Text for comparing questions: NFKC, case-folded, white space collapsed.

    >>> normalise("How  many LEGS?")
    'how many legs?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def unit_hash(*parts: object) -> float:
    """A fixed pseudo-random number in [0, 1) from the parts."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class ReasoningTask:
    """The questions of one family at one difficulty."""

    def __init__(self, family: Family, difficulty: Mapping[str, Any], seed: int) -> None:
        self.family = family
        self.name = family.name
        self.difficulty = _checked(family, difficulty)
        self.version = _version(family)
        self._seed = seed
        self._pools: dict[Split, list[Question]] = {split: [] for split in SPLIT_SHARES}
        self._seen: set[str] = set()
        self._next_draw = 0

    @classmethod
    def from_config(cls, config: ReasoningTaskConfig, seed: int, families: Mapping[str, Family]) -> ReasoningTask:
        """The task a recipe names.

        Raises:
            ConfigError: the family or one of its difficulty parameters is not known.
        """
        if config.name not in families:
            known = sorted(families)
            raise ConfigError(
                f"unknown reasoning task {config.name!r}{suggest(config.name, known)}; known ones are {', '.join(known)}"
            )
        return cls(families[config.name], config.difficulty, seed)

    @staticmethod
    def version_of(config: ReasoningTaskConfig, families: Mapping[str, Family]) -> str:
        """The version a task of this config has ("" when there is no such family)."""
        return _version(families[config.name]) if config.name in families else ""

    def questions(self, split: Split, limit: int) -> list[Question]:
        """The first `limit` questions of a split.

        Raises:
            ConfigError: the difficulty's values do not fit together.
            DataError: the difficulty does not allow so many different questions.
        """
        pool = self._pools[split]
        if len(pool) < limit:
            self._draw(split, limit)
        return pool[:limit]

    def prompt(self, question: Question) -> str:
        """The plain zero-shot prompt."""
        return plain_prompt(question)

    def grade(self, question: Question, response: str) -> Grade:
        """Compare the final answer stated in `response` with the gold answer."""
        return grade_response(question.kind, question.gold, question.choices or None, response)

    def solve(self, question: Question, slip: Slip | None = None) -> Solution:
        """The worked solution, with one deliberate mistake if `slip` is given."""
        return self.family.derive(question, Pen(slip))

    def _draw(self, split: Split, limit: int) -> None:
        import reasoning_gym  # a second to import, and only the drawing of questions needs it

        settings = {**self.difficulty, **self.family.fixed}
        try:
            items = reasoning_gym.create_dataset(
                self.family.dataset, seed=self._seed * _SEED_STRIDE, size=1_000_000_000, **settings
            )
        except (AssertionError, ValueError, TypeError) as error:
            raise ConfigError(f"task {self.name}: the difficulty {self.difficulty} does not fit together: {error}") from error
        last_new = self._next_draw
        while len(self._pools[split]) < limit:
            if self._next_draw - last_new > DRAWS_PER_QUESTION * (len(self._pools[split]) + 10):
                raise DataError(
                    f"task {self.name} has only {len(self._pools[split])} different {split} questions with the difficulty "
                    f"{self.difficulty}, expected {limit}; widen the difficulty or lower questions.num_{split}"
                )
            question = self._read(items[self._next_draw])
            self._next_draw += 1
            if question is not None:
                self._pools[question.split].append(question)
                last_new = self._next_draw if question.split == split else last_new

    def _read(self, item: dict[str, Any]) -> Question | None:
        draft = self.family.read(item)
        if draft is None or (key := normalise(draft.text)) in self._seen:
            return None
        self._seen.add(key)
        return Question(
            id=f"{self.name}-{content_hash([self.name, key, draft.gold])[:10]}",
            task=self.name,
            split=_split_of(unit_hash(self._seed, self.name, key)),
            text=draft.text,
            kind=self.family.kind,
            gold=draft.gold,
            choices=draft.choices,
            family=self.name,
            level=draft.level,
            metadata=dict(draft.metadata),
        )


def _version(family: Family) -> str:
    return content_hash([family.version, PROMPT_VERSION])


def _split_of(position: float) -> Split:
    for split, share in SPLIT_SHARES.items():
        if position < share:
            return split
        position -= share
    return "train"


def _checked(family: Family, difficulty: Mapping[str, Any]) -> dict[str, Any]:
    known = sorted(family.parameters)
    for name, value in difficulty.items():
        if name not in family.parameters:
            raise ConfigError(
                f"task {family.name}: unknown difficulty parameter {name!r}{suggest(name, known)}; "
                f"known ones are {', '.join(known)}"
            )
        default = family.parameters[name]
        if type(value) is not type(default):
            raise ConfigError(
                f"task {family.name}: difficulty parameter {name} is {value!r}, "
                f"expected {type(default).__name__} like {default!r}"
            )
    return {**family.parameters, **difficulty}
