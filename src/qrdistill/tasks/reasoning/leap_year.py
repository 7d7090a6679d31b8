"""Leap years: look at the last two digits, or at the century."""

from __future__ import annotations

from typing import Any

from qrdistill.tasks.base import Solution
from qrdistill.tasks.reasoning.derivation import Pen, near_misses
from qrdistill.tasks.reasoning.family import Draft, Family, unit_hash
from qrdistill.types import Question

NO_SHARE = 1 / 3
"""Share of the other years that is kept, so that about half of the answers are yes."""


def read(item: dict[str, Any]) -> Draft | None:
    """Ask whether a year is a leap year; most years that are not are passed over."""
    year, is_leap = int(item["metadata"]["year"]), bool(item["metadata"]["is_leap"])
    if year < 100 or (not is_leap and year % 100 and unit_hash("leap_year", year) >= NO_SHARE):
        return None
    return Draft(
        text=f"Is {year} a leap year?",
        gold="yes" if is_leap else "no",
        level="century" if year % 100 == 0 else "common",
        metadata={"year": year},
    )


def derive(question: Question, pen: Pen) -> Solution:
    """Reduce the question to a number of two digits and divide it by four; the check multiplies up again."""
    year = int(question.metadata["year"])
    is_century = year % 100 == 0
    divisor = 400 if is_century else 4
    pen.fact("a year is a leap year when 4 divides it")
    pen.fact("a year that ends in 00 needs 400 instead")
    if is_century:
        true = year // 100
        shown, part = pen.value("step", true, near_misses(true))
        pen.step("{}, so 4 has to divide " + str(shown), f"{year} = {shown} * 100")
    else:
        true = year % 100
        shown, part = pen.value("step", true, tuple(n for n in near_misses(true) if n < 100))
        pen.step("{}", f"{year} ends in {shown:02d}")
    quotient, rest = divmod(part, 4)
    shown, carried = pen.final(rest, (0, *(n for n in (1, 2, 3) if not rest)), true % 4)
    answer = "no" if carried else "yes"
    claim = f"{part} = 4 * {quotient}" + (f" + {shown}" if shown else "")
    pen.step(f"{{}}, so {divisor} {'does not divide' if carried else 'divides'} {year}", claim)
    _check(year, divisor, answer, pen)
    _weigh(year, answer, pen)
    flipping = tuple(y for y in range(year - 4, year + 5) if _is_leap(y) != _is_leap(year))
    in_code, _ = pen.value("program", year, flipping)
    rule = "y % 4 == 0 and (y % 100 != 0 or y % 400 == 0)"
    return pen.solution(
        program=f'y = {in_code}\nprint("yes" if {rule} else "no")',
        printed=answer,
        answer=answer,
        conclusion=f"So {year} is {'not ' if answer == 'no' else ''}a leap year",
    )


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _check(year: int, divisor: int, answer: str, pen: Pen) -> None:
    below = year // divisor
    if answer == "yes":
        shown, _ = pen.value("check", year, near_misses(year))
        pen.check("{}, the year itself", f"{divisor} * {below} = {shown}")
        return
    for times in (below, below + 1):
        shown, _ = pen.value("check", divisor * times, near_misses(divisor * times))
        pen.check("{}", f"{divisor} * {times} = {shown}")
    last = pen.checks.pop()
    pen.check(f"{{}}, and {year} lies between them", last.brief)


def _weigh(year: int, answer: str, pen: Pen) -> None:
    near = year + 1 if answer == "yes" else year + 4 - year % 4
    shown, _ = pen.value("candidate", near - year, near_misses(near - year))
    pen.candidate(f"judge by {near}, as {near} - {year} = {shown}", f"only {year} itself counts")


FAMILY = Family(
    name="leap_year",
    dataset="calendar_arithmetic",
    kind="yesno",
    parameters={"year": 2000, "leap_year_range": 1000},
    fixed={"tasks": ["is_leap_year"]},
    read=read,
    derive=derive,
)
"""Whether a year is a leap year."""
