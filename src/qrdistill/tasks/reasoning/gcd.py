"""Greatest common divisor by Euclid's remainders."""

from __future__ import annotations

from math import gcd
from typing import Any

from qrdistill.tasks.base import Solution
from qrdistill.tasks.reasoning.derivation import Pen, near_misses
from qrdistill.tasks.reasoning.family import Draft, Family
from qrdistill.types import Question


def read(item: dict[str, Any]) -> Draft:
    """Ask for the greatest common divisor."""
    numbers: list[int] = item["metadata"]["numbers"]
    listed = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
    return Draft(
        text=f"What is the greatest common divisor of {listed}?",
        gold=item["answer"],
        level=f"{len(numbers)} numbers",
        metadata={"numbers": list(numbers)},
    )


def derive(question: Question, pen: Pen) -> Solution:
    """Divide with remainder until nothing remains; the check multiplies the divisor up to each number."""
    numbers = [int(number) for number in question.metadata["numbers"]]
    gold = int(question.gold)
    pen.fact("the gcd of two numbers is also the gcd of the smaller one and the remainder of their division")
    small = min(numbers)
    divisors = [d for d in range(1, small + 1) if small % d == 0]
    wrong = tuple(d for d in range(2, small) if small % d)[-3:] or (small + 1,)
    shown_divisor, _ = pen.value("fact", divisors[-1], wrong)
    pen.fact(f"the divisors of {small} are {', '.join(map(str, [*divisors[:-1], shown_divisor]))}")
    current = numbers[0]
    for position, number in enumerate(numbers[1:], start=1):
        current = _euclid(current, number, pen, gold if position == len(numbers) - 1 else None)
    _check(numbers, current, pen)
    _weigh(numbers, current, pen)
    lines = []
    a, *others = numbers
    in_code, _ = pen.value("program", a, tuple(a + d for d in (1, -1, 2, 3, 5) if a + d > 0 and gcd(a + d, *others) != gold))
    lines.append(f"a = {in_code}")
    for number in others:
        lines += [f"b = {number}", "while b:", "    a, b = b, a % b"]
    return pen.solution(program="\n".join([*lines, "print(a)"]), printed=str(current), answer=str(current))


def _euclid(a: int, b: int, pen: Pen, gold: int | None) -> int:
    """Euclid on two numbers; each remainder is a value that can slip. `gold` is given where the result is the answer."""
    big, small = max(a, b), min(a, b)
    while True:
        quotient, remainder = divmod(big, small)
        wrong = tuple(r for r in (remainder + 1, remainder - 1, 0, remainder + 2) if 0 <= r < small and r != remainder)
        is_close = pen.has_slipped and pen.slip is not None and pen.slip.kind == "compensated" and gold == small
        shown, carried = (0, 0) if is_close else pen.value("step", remainder, wrong)
        claim = f"{big} = {quotient} * {small}" + (f" + {shown}" if shown else "")
        pen.step("{}" if shown else f"{{}}, nothing remains, so the gcd is {small}", claim)
        if carried == 0:
            return small
        big, small = small, carried


def _check(numbers: list[int], divisor: int, pen: Pen) -> None:
    for number in numbers:
        quotient = number // divisor
        shown, _ = pen.value("check", quotient, near_misses(quotient))
        pen.check("{}", f"{divisor} * {shown} = {number}")
    quotients = [number // divisor for number in numbers]
    if gcd(*quotients) == 1:
        pen.check(f"{' and '.join(map(str, quotients))} share no divisor above 1", f"gcd({', '.join(map(str, quotients))}) = 1")


def _weigh(numbers: list[int], divisor: int, pen: Pen) -> None:
    smaller = next((d for d in range(divisor - 1, 0, -1) if divisor % d == 0), 0)
    if smaller:
        number = numbers[0]
        shown, _ = pen.value("candidate", number // smaller, near_misses(number // smaller))
        pen.candidate(f"{smaller}, as {smaller} * {shown} = {number}", f"{divisor} also divides all and is larger")
    else:
        guess = next(d for d in range(2, 100) if numbers[0] % d)
        quotient, remainder = divmod(numbers[0], guess)
        shown, _ = pen.value("candidate", remainder, near_misses(remainder))
        pen.candidate(f"{guess}, but {numbers[0]} = {guess} * {quotient} + {shown}", f"{guess} does not divide {numbers[0]}")


FAMILY = Family(
    name="gcd",
    dataset="gcd",
    kind="number",
    parameters={"min_numbers": 2, "max_numbers": 2, "min_value": 2, "max_value": 40},
    read=read,
    derive=derive,
)
"""Greatest common divisor of a few small numbers."""
