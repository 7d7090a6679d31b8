"""What a task is: a source of questions, a prompt, and a grader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from qrdistill.tasks.verify import Grade
from qrdistill.types import Question, Split


class Task(Protocol):
    """A family of questions with checkable answers. One small file and one entry in :data:`qrdistill.tasks.TASKS` each."""

    name: str
    version: str
    """Changes whenever questions, prompt or grading change; part of every stage's fingerprint."""

    def questions(self, split: Split, limit: int) -> list[Question]:
        """The first `limit` questions of a split: the same on every machine, disjoint between splits.

        Raises:
            DataError: when the source is missing, malformed (the row is named) or holds fewer than `limit` questions.
        """

    def prompt(self, question: Question) -> str:
        """The plain zero-shot prompt: question, options if any, and the form the answer must take."""

    def grade(self, question: Question, response: str) -> Grade:
        """Compare the final answer stated in `response` with the gold answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A piece of knowledge a solution uses, e.g. statement "a spider has 8 legs"."""

    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One derivation step. `statement` is a sentence that contains its checkable claim, e.g. "3 spiders: 3 * 8 = 24"."""

    statement: str
    expression: str = ""
    """Arithmetic that is evaluated, e.g. "3 * 8" ("" for a step without arithmetic)."""
    result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A wrong turn a careful solver would weigh and drop: what it would answer and why it fails."""

    statement: str
    answer: str
    objection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A worked solution in structured form, from which an embedded teacher writes every style.

    `program` is a short Python program whose last line prints the answer; `check` starts from the answer and arrives back at
    the givens of the question.
    """

    facts: tuple[Fact, ...]
    steps: tuple[Step, ...]
    check: tuple[Step, ...]
    candidates: tuple[Candidate, ...]
    program: str
    answer: str


@runtime_checkable
class SolvableTask(Task, Protocol):
    """A task that can work its own questions out (what the embedded teacher needs)."""

    def solve(self, question: Question) -> Solution:
        """The worked solution of a question, built from its metadata."""


TaskTable = Mapping[str, Task]
"""Tasks of one run by name."""
