"""Writing a solution down, with at most one deliberate mistake.

A family derives its answer once, through a `Pen`: every value it writes is a numbered slot. Given a `Slip`, the pen writes a
plausible wrong value at that slot and the derivation runs on with the wrong or the right value, as the slip's kind says. So a
wrong path is what a solver who slips there would have written, not a correct path with a digit swapped afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from qrdistill.tasks.base import Candidate, Fact, Section, Slip, Solution, Step

T = TypeVar("T")


def near_misses(value: int) -> tuple[int, ...]:
    """Plausible misreckonings of a number: off by one or two, off by ten, or with two digits swapped."""
    wrong = [value + 1, value - 1, value + 2]
    if abs(value) >= 10:
        digits = str(abs(value))
        swapped = int(digits[:-2] + digits[-1] + digits[-2])
        wrong += [value + 10, value - 10, swapped if value > 0 else -swapped]
    return tuple(dict.fromkeys(number for number in wrong if number != value and (number >= 0 or value < 0)))


@dataclass(slots=True)
class Pen:
    """Writes the parts of one solution."""

    slip: Slip | None = None
    facts: list[Fact] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    checks: list[Step] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    slots: list[Section] = field(default_factory=list)
    flawed: str = ""
    has_slipped: bool = False
    _is_fresh: bool = False

    def value(self, section: Section, true: T, wrong: Sequence[T]) -> tuple[T, T]:
        """The value to write at the next slot, and the value to go on with."""
        slot = len(self.slots)
        options = [option for option in wrong if option != true]
        self.slots.append(section)
        if self.slip is None or self.slip.slot != slot or not options:
            return true, true
        self.has_slipped, self._is_fresh = True, section not in ("program", "omission")
        shown = options[self.slip.choice % len(options)]
        return shown, true if self.slip.kind == "isolated" else shown

    def forgets(self) -> bool:
        """Whether the next term is left out by mistake."""
        return self.value("omission", False, (True,))[0]

    def final(self, computed: T, wrong: Sequence[T], gold: T) -> tuple[T, T]:
        """Like `value` for the step that yields the answer: a compensated slip comes back to the gold value here."""
        is_compensated = self.slip is not None and self.slip.kind == "compensated"
        if self.has_slipped and is_compensated:
            self.slots.append("step")
            return gold, gold
        shown, carried = self.value("step", computed, wrong)
        return shown, gold if self.has_slipped and is_compensated else carried

    def fact(self, statement: str) -> None:
        """State a fact."""
        self.facts.append(Fact(statement=self.quoted(statement)))

    def step(self, statement: str, brief: str) -> None:
        """State a step in words (with {} for the claim) and as the bare claim."""
        self.steps.append(Step(statement=statement.format(self.quoted(brief)), brief=brief))

    def check(self, statement: str, brief: str) -> None:
        """State a step of the check from the answer back to the question."""
        self.checks.append(Step(statement=statement.format(self.quoted(brief)), brief=brief))

    def candidate(self, statement: str, objection: str) -> None:
        """State an idea that is weighed and dropped."""
        self.candidates.append(Candidate(statement=self.quoted(statement), objection=objection))

    def solution(self, *, program: str, printed: str, answer: str, conclusion: str = "") -> Solution:
        """Everything written so far as one solution."""
        return Solution(
            facts=tuple(self.facts),
            steps=tuple(self.steps),
            check=tuple(self.checks),
            candidates=tuple(self.candidates),
            program=program,
            printed=printed,
            answer=answer,
            conclusion=conclusion,
            slots=tuple(self.slots),
            flawed=program if self._is_in_program() else self.flawed,
        )

    def _is_in_program(self) -> bool:
        return self.has_slipped and self.slip is not None and self.slots[self.slip.slot] == "program"

    def quoted(self, statement: str) -> str:
        """The statement; remembered as the flawed one if a slip has just hit it."""
        if self._is_fresh:
            self.flawed, self._is_fresh = statement, False
        return statement
