"""One writer per style: from a worked solution to a reasoning path in that style.

Each follows what its style means (`qrdistill.teacher.styles`) and nothing else; none was tuned to what a student learns best.
`sections` names the parts of a solution whose values appear in the text: a slip there can be seen by a reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from qrdistill.tasks.base import Section, Solution, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """How one style is written."""

    write: Callable[[Solution, Random], str]
    sections: frozenset[Section]


def _vanilla(solution: Solution, random: Random) -> str:
    lead = random.choice(("", "We get ", "It is "))
    return _close([_sentence(f"{lead}{solution.steps[-1].brief}")], solution)


def _cot(solution: Solution, random: Random) -> str:
    opening = random.choice(("", "", "Step by step."))
    steps = [_sentence(step.statement) for step in solution.steps]
    return _close([opening, *steps], solution)


def _fact(solution: Solution, random: Random) -> str:
    recalled = "; ".join(dict.fromkeys(fact.statement for fact in solution.facts))
    opening = random.choice(("Facts", "Facts needed", "Recall"))
    using = random.choice(("So", "Using this"))
    return _close([f"{opening}: {recalled}.", f"{using}: {_briefs(solution.steps)}."], solution)


def _backward(solution: Solution, random: Random) -> str:
    forward = random.choice(("Forward", "Going forward"))
    back = random.choice(("Check back", "Now back"))
    back = back if solution.printed in ("yes", "no") else f"{back} from {solution.printed}"
    traced = "; ".join(step.statement for step in solution.check)
    end = random.choice(("This fits.", "It agrees."))
    return _close([f"{forward}: {_briefs(solution.steps)}.", f"{back}: {traced}.", end], solution)


def _tot(solution: Solution, random: Random) -> str:
    name = random.choice(("Idea", "Option"))
    ideas = [
        f"{name} {number}: {candidate.statement}. Dropped: {candidate.objection}."
        for number, candidate in enumerate(solution.candidates, start=1)
    ]
    keep = random.choice(("This holds.", "Keep this."))
    return _close([*ideas, f"{name} {len(ideas) + 1}: {_briefs(solution.steps)}. {keep}"], solution)


def _program(solution: Solution, random: Random) -> str:
    opening = random.choice(("Program:", "Code:"))
    printed = random.choice(("Output", "It prints"))
    return _close([f"{opening}\n{solution.program}\n{printed}: {solution.printed}\n"], solution)


def _briefs(steps: tuple[Step, ...]) -> str:
    return ", ".join(step.brief for step in steps)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _close(parts: list[str], solution: Solution) -> str:
    """Join the parts; the last sentence states the answer."""
    conclusion = f"{solution.conclusion}." if solution.conclusion else ""
    parts = [part for part in [*parts, conclusion, f"The answer is {solution.answer}."] if part]
    return "".join(part if part.endswith("\n") else f"{part} " for part in parts).rstrip()


WRITERS: dict[str, Writer] = {
    "vanilla": Writer(write=_vanilla, sections=frozenset({"step"})),
    "cot": Writer(write=_cot, sections=frozenset({"step"})),
    "tot": Writer(write=_tot, sections=frozenset({"candidate", "step"})),
    "program": Writer(write=_program, sections=frozenset({"program"})),
    "backward": Writer(write=_backward, sections=frozenset({"step", "check"})),
    "fact": Writer(write=_fact, sections=frozenset({"fact", "step"})),
}
"""Style name -> writer."""
