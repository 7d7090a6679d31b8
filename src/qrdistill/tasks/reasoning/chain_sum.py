"""Chains of additions and subtractions, worked out place by place with a running total."""

from __future__ import annotations

import re
from typing import Any

from qrdistill.tasks.base import Solution
from qrdistill.tasks.reasoning.derivation import Pen, near_misses
from qrdistill.tasks.reasoning.family import Draft, Family
from qrdistill.types import Question


def read(item: dict[str, Any]) -> Draft:
    """Ask for the value of a chain."""
    expression: str = item["metadata"]["expression"]
    return Draft(
        text=f"What is {expression}?",
        gold=item["answer"],
        level=f"{item['metadata']['num_terms']} terms",
        metadata={"expression": expression},
    )


def derive(question: Question, pen: Pen) -> Solution:
    """Split each number into its places (facts), then add or take away place by place; the check undoes the last moves."""
    first, moves = _parse(question.metadata["expression"])
    gold = int(question.gold)
    kept = [move for move in moves if not (len(moves) > 1 and pen.forgets())]
    split = [(sign, number, _facts(number, pen)) for sign, number in kept]
    if not pen.facts:
        pen.fact("plus moves up and minus moves down")
    parts = [(sign, number, part) for sign, number, places in split for part in places]
    total, totals, lines = first, [first], [f"total = {first}"]
    for position, (sign, _, part) in enumerate(parts):
        computed = total + part if sign == "+" else total - part
        if position == len(parts) - 1:
            shown, after = pen.final(computed, near_misses(computed), gold)
        else:
            shown, after = pen.value("step", computed, near_misses(computed))
        pen.step(f"{'add' if sign == '+' else 'take away'} {part}: {{}}", f"{total} {sign} {part} = {shown}")
        total = after
        totals.append(total)
    for sign, number in kept:
        in_code, _ = pen.value("program", number, near_misses(number))
        lines.append(f"total {sign}= {in_code}")
    _check(first, kept, total, pen)
    _weigh(first, kept, pen)
    return pen.solution(program="\n".join([*lines, "print(total)"]), printed=str(total), answer=str(total))


def _parse(expression: str) -> tuple[int, list[tuple[str, int]]]:
    first, *rest = re.findall(r"(?:^|(?<= ))-?\d+|(?<= )[+-](?= )", expression)
    moves = []
    for sign, number in zip(rest[::2], map(int, rest[1::2]), strict=True):
        is_plus = (sign == "+") == (number >= 0)
        moves.append(("+" if is_plus else "-", abs(number)))
    return int(first), moves


def _facts(number: int, pen: Pen) -> list[int]:
    """The places of a number, largest first, stated as a fact when there is more than one."""
    digits = str(number)
    places = [int(digit) * 10 ** (len(digits) - 1 - i) for i, digit in enumerate(digits) if digit != "0"] or [0]
    if len(places) > 1:
        shown, carried = pen.value("fact", places[-1], near_misses(places[-1]))
        pen.fact(f"{number} = {' + '.join(map(str, [*places[:-1], shown]))}")
        return [*places[:-1], carried]
    return places


def _check(first: int, moves: list[tuple[str, int]], total: int, pen: Pen) -> None:
    rest = total
    for sign, number in reversed(moves):
        undone = rest - number if sign == "+" else rest + number
        shown, after = pen.value("check", undone, near_misses(undone))
        pen.check("{}", f"{rest} {'-' if sign == '+' else '+'} {number} = {shown}")
        rest = after
    last = pen.checks.pop()
    pen.check("{}, the first number", last.brief)


def _weigh(first: int, moves: list[tuple[str, int]], pen: Pen) -> None:
    sign, number = moves[-1]
    turned = [*moves[:-1], ("-" if sign == "+" else "+", number)]
    value = first + sum(n if s == "+" else -n for s, n in turned)
    shown, _ = pen.value("candidate", value, near_misses(value))
    chain = " ".join([str(first), *(f"{s} {n}" for s, n in turned)])
    pen.candidate(f"{chain} = {shown}", f"the sign before {number} is a {'plus' if sign == '+' else 'minus'}")


FAMILY = Family(
    name="chain_sum",
    dataset="chain_sum",
    kind="number",
    parameters={"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2, "allow_negation": False},
    read=read,
    derive=derive,
)
"""Sums and differences of a few small numbers."""
