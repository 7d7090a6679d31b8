"""The embedded teacher's replies for streams: the same worked solutions, around questions in other words, new or backward.

What a task's solution does not offer is refused, never made up: a backward question needs a check that arrives, by arithmetic, at
a number the question states once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from qrdistill.tasks.base import Solution
from qrdistill.teacher.worked_solution.writers import WRITERS
from qrdistill.types import Question

_WORDS = (
    ("How many", "What number of"),
    ("What is", "Work out"),
    ("Solve for", "Find the value of"),
    ("in total", "altogether"),
    ("Is ", "Tell whether this is so: is "),
    ("What day of the week", "Which weekday"),
)
_FRAMES = ("{}", "Here is a problem. {}", "Consider this: {}", "{} Take your time.")
_ARRIVES = re.compile(r"^[\d\s+\-*/().]+ = (-?\d+)$")
SLIP = 9
"""Most a wrong backward answer is off by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a reply is written from: the question, its solution (with a slip, if one is planted), and a spare question's."""

    question: Question
    solution: Solution
    spare: Callable[[], tuple[Question, Solution]]
    is_wrong: bool
    random: Random


def _label(work: Work) -> str:
    return f"The answer is {work.solution.answer}."


def _rephrase(work: Work) -> str:
    text = work.question.text
    for old, new in _WORDS:
        text = text.replace(old, new, 1)
    lead = work.random.choice(_FRAMES).format(text)
    if lead == work.question.text:
        lead = _FRAMES[1].format(text)
    return _two_parts(lead, WRITERS["cot"].write(work.solution, work.random))


def _new_question(work: Work) -> str:
    question, solution = work.spare()
    options = "".join(f"\n{label}. {text}" for label, text in question.choices)
    return _two_parts(question.text + options, WRITERS["cot"].write(solution, work.random))


def _backward_question(work: Work) -> str:
    found = _backward(work)
    return found[0] if found else ""


def _backward_reasoning(work: Work) -> str:
    found = _backward(work)
    if not found:
        return ""
    text, number = found
    steps = "; ".join(step.statement for step in work.solution.check)
    answer = int(number) + work.random.randint(1, SLIP) if work.is_wrong else number
    return _two_parts(text, f"Going back from {work.solution.printed}: {steps}. The answer is {answer}.")


def _backward(work: Work) -> tuple[str, str] | None:
    """The backward question and the number it asks for."""
    last = _ARRIVES.match(work.solution.check[-1].brief) if work.solution.check else None
    if last is None or work.question.kind != "number":
        return None
    number, text = last[1], work.question.text
    places = list(re.finditer(rf"(?<![\w.-]){re.escape(number)}(?![\w.])", text))
    if len(places) != 1:
        return None
    hidden = f"{text[: places[0].start()]}X{text[places[0].end() :]}"
    return f"{hidden} The answer to this is {work.question.gold}. What is X?", number


def _two_parts(question: str, solution: str) -> str:
    return f"Question: {question}\nSolution: {solution}"


STREAM_WRITERS: dict[str, Callable[[Work], str]] = {
    "label": _label,
    "rephrase": _rephrase,
    "new_question": _new_question,
    "backward_question": _backward_question,
    "backward_reasoning": _backward_reasoning,
}
"""Stream -> writer; "" where the solution does not offer it."""
