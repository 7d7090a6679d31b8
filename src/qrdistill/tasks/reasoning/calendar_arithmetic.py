"""Weekdays some days from now: drop the whole weeks, count the days that remain."""

from __future__ import annotations

from datetime import date
from random import Random
from typing import Any

from qrdistill.tasks.base import Solution
from qrdistill.tasks.facts import WEEKDAYS
from qrdistill.tasks.reasoning.derivation import Pen, near_misses
from qrdistill.tasks.reasoning.family import Draft, Family
from qrdistill.types import Question

WEEK = 7
LABELS = "ABCD"


def read(item: dict[str, Any]) -> Draft:
    """Ask for a weekday, with its neighbours among the options."""
    start = date.fromisoformat(item["metadata"]["start_date"]).weekday()
    offset = int(item["metadata"]["offset_days"])
    days = "1 day" if abs(offset) == 1 else f"{abs(offset)} days"
    asked = f"will it be in {days}" if offset > 0 else f"was it {days} ago"
    text = f"Today is {WEEKDAYS[start]}. What day of the week {asked}?"
    target = (start + offset) % WEEK
    options = [target, (target + 1) % WEEK, (target - 1) % WEEK, (target + 3) % WEEK]
    Random(text).shuffle(options)
    return Draft(
        text=text,
        gold=LABELS[options.index(target)],
        choices=tuple((label, WEEKDAYS[day]) for label, day in zip(LABELS, options, strict=True)),
        level=f"up to {(abs(offset) // 10 + 1) * 10} days",
        metadata={"start": start, "offset": offset},
    )


def derive(question: Question, pen: Pen) -> Solution:
    """Divide by seven and count the remainder; the check counts back from the answer."""
    start, offset = int(question.metadata["start"]), int(question.metadata["offset"])
    options = {WEEKDAYS.index(text): label for label, text in question.choices}
    way = 1 if offset > 0 else -1
    distances = tuple((way * (day - start)) % WEEK for day in options)
    shown, _ = pen.value("fact", WEEK, (6, 8, 5))
    pen.fact(f"a week has {shown} days, so whole weeks lead back to the same weekday")
    weeks, rest = divmod(abs(offset), WEEK)
    shown, carried = pen.value("step", rest, tuple(n for n in distances if abs(n - rest) <= 3))
    claim = f"{abs(offset)} = {weeks} * {WEEK}" + (f" + {shown}" if shown else "")
    pen.step(f"{{}}, so it is {WEEKDAYS[start]} again" if not shown else f"{{}}, so {_days(shown)} count", claim)
    target = (start + way * carried) % WEEK
    if carried:
        true = (start + way * rest) % WEEK
        wrong = tuple(day for day in options if day != target)
        landed, target = pen.final(target, wrong, true)
        pen.step("{}", _counted(start, carried, way, landed))
    else:
        target = WEEKDAYS.index(dict(question.choices)[question.gold]) if pen.has_slipped and _compensates(pen) else target
    label = options[target]
    named, answer = pen.value("step", label, tuple(options.values()))
    conclusion = pen.quoted(f"{WEEKDAYS[target]} is option {named}")
    _check(start, target, abs(offset), way, pen)
    _weigh(start, target, list(options), way, pen)
    code_start, _ = pen.value("program", start, ((start + 1) % WEEK, (start - 1) % WEEK))
    listed = ", ".join(f'"{day}"' for day in WEEKDAYS)
    program = f"days = [{listed}]\nprint(days[({code_start} {'+' if way > 0 else '-'} {abs(offset)}) % {WEEK}])"
    return pen.solution(program=program, printed=WEEKDAYS[target], answer=answer, conclusion=conclusion)


def _compensates(pen: Pen) -> bool:
    return pen.slip is not None and pen.slip.kind == "compensated"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _counted(start: int, count: int, way: int, landed: int) -> str:
    """Count from a day to the day it lands on; a wrong landing counts the first day too, or loses its way at the end."""
    days = [(start + way * n) % WEEK for n in range(1, count + 1)]
    if landed == (days[-1] - way) % WEEK:
        days = [(day - way) % WEEK for day in days]
    days[-1] = landed
    direction = "after" if way > 0 else "before"
    return f"{_days(count)} {direction} {WEEKDAYS[start]}: {', '.join(WEEKDAYS[day] for day in days)}"


def _check(start: int, target: int, offset: int, way: int, pen: Pen) -> None:
    weeks, rest = divmod(offset, WEEK)
    if rest:
        shown, _ = pen.value("check", start, ((start + way) % WEEK, (start - way) % WEEK))
        pen.check("{}, where it began", _counted(target, rest, -way, shown))
    shown_days, _ = pen.value("check", offset, near_misses(offset))
    pen.check("{} days, as asked", f"{weeks} * {WEEK}" + (f" + {rest}" if rest else "") + f" = {shown_days}")


def _weigh(start: int, target: int, options: list[int], way: int, pen: Pen) -> None:
    other = next(day for day in options if day != target)
    distance = (way * (other - start)) % WEEK
    shown, _ = pen.value("candidate", distance, tuple(n for n in (distance + 1, distance - 1) if n >= 0))
    needed = (way * (target - start)) % WEEK
    direction = "after" if way > 0 else "before"
    pen.candidate(
        f"{_days(shown)} {direction} {WEEKDAYS[start]} is {WEEKDAYS[other]}", f"beyond whole weeks it is {_days(needed)}"
    )


FAMILY = Family(
    name="calendar_arithmetic",
    dataset="calendar_arithmetic",
    kind="choice",
    parameters={"offset_upper_bound": 50},
    fixed={"tasks": ["weekday_offset"], "year": 2022},
    read=read,
    derive=derive,
)
"""The weekday so many days from now, out of four options."""
