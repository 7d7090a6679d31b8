"""What a task is: a source of questions, a prompt, and a grader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from qrdistill.tasks.verify import Grade
from qrdistill.types import Question, Split


class Task(Protocol):
    """A family of questions with checkable answers. One small file and one entry in :data:`qrdistill.tasks.TASKS` each."""

    name: str
    version: str
    """Changes whenever questions or prompt change; part of every stage's fingerprint, so the stages run again. The grader has a
    version of its own, saved with every verdict; `regrade` renews verdicts without asking or training again."""

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
    """One derivation step. `statement` explains it in words, e.g. "3 spiders have 3 * 8 = 24 legs"."""

    statement: str
    brief: str
    """The bare claim, e.g. "3 * 8 = 24"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A wrong turn a careful solver would weigh and drop: what it says and why it fails. Both sentences are true."""

    statement: str
    objection: str


Section = Literal["fact", "step", "check", "candidate", "program", "omission"]
"""The part of a solution a value is written in. An omission is a term that may be forgotten."""

SlipKind = Literal["carried", "isolated", "compensated"]
"""What becomes of a wrong value: the solver goes on with it (the answer is wrong too), goes on with the right one, or makes a
second mistake at the end that cancels the first (in both the answer is right and a step is false)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """One deliberate mistake: at which value of a derivation (`slot`), which of its plausible wrong values, and its kind."""

    slot: int
    kind: SlipKind
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A worked solution in structured form, from which an embedded teacher writes every style.

    `program` is a short Python program that prints `printed`; `check` starts from the answer and arrives back at the givens of
    the question. `slots` names the section of every value a slip could hit, `flawed` quotes the statement a slip did hit.
    """

    facts: tuple[Fact, ...]
    steps: tuple[Step, ...]
    check: tuple[Step, ...]
    candidates: tuple[Candidate, ...]
    program: str
    printed: str
    answer: str
    conclusion: str = ""
    """A sentence that leads from the result to the answer where they differ in form, e.g. "Friday is option C"."""
    slots: tuple[Section, ...] = ()
    flawed: str = ""


@runtime_checkable
class SolvableTask(Task, Protocol):
    """A task that can work its own questions out (what the embedded teacher needs)."""

    def solve(self, question: Question, slip: Slip | None = None) -> Solution:
        """The worked solution of a question, built from its metadata, with one deliberate mistake if `slip` is given."""
