"""Counting legs: recall how many legs each animal has, multiply, add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qrdistill.tasks.base import Solution
from qrdistill.tasks.facts import LEGS, article, plural
from qrdistill.tasks.reasoning.derivation import Pen, near_misses
from qrdistill.tasks.reasoning.family import Draft, Family
from qrdistill.types import Question


@dataclass(frozen=True, slots=True)
class _Group:
    animal: str
    count: int
    legs: int
    product: int

    @property
    def named(self) -> str:
        return f"{self.count} {self.animal if self.count == 1 else plural(self.animal)}"


def read(item: dict[str, Any]) -> Draft:
    """Ask for the legs of a few animals."""
    animals: dict[str, int] = item["metadata"]["animals"]
    named = [_Group(animal, count, 0, 0).named for animal, count in animals.items()]
    listed = " and ".join(part for part in (", ".join(named[:-1]), named[-1]) if part)
    verb = "does" if list(animals.values()) == [1] else "do"
    return Draft(
        text=f"How many legs {verb} {listed} have in total?",
        gold=item["answer"],
        level=f"{len(animals)} animals",
        metadata={"animals": [[animal, count] for animal, count in animals.items()]},
    )


def derive(question: Question, pen: Pen) -> Solution:
    """Recall legs per animal, take one product each, keep a running total; the check takes the animals away again."""
    animals = [(str(animal), int(count)) for animal, count in question.metadata["animals"]]
    gold = int(question.gold)
    groups, lines = [], ["legs = 0"]
    for animal, count in animals:
        if len(animals) > 1 and pen.forgets():
            continue
        true = LEGS[animal]
        shown, legs = pen.value("fact", true, tuple(n for n in (4, 6, 8, 2, 10) if 0 < abs(n - true) <= 4))
        pen.fact(f"{article(animal)} has {shown} legs")
        groups.append(_product(_Group(animal, count, legs, 0), pen, gold if len(animals) == 1 else None))
        in_code, _ = pen.value("program", legs, tuple(n for n in (legs + 2, legs - 2, legs + 1) if n >= 0))
        lines.append(f"legs += {count} * {in_code}")
    total = groups[0].product
    for position, group in enumerate(groups[1:], start=1):
        computed = total + group.product
        if position == len(groups) - 1:
            shown, after = pen.final(computed, near_misses(computed), gold)
        else:
            shown, after = pen.value("step", computed, near_misses(computed))
        pen.step("together {} legs" if position == 1 else "then {} legs", f"{total} + {group.product} = {shown}")
        total = after
    _check(groups, total, pen)
    _weigh(groups, pen)
    return pen.solution(program="\n".join([*lines, "print(legs)"]), printed=str(total), answer=str(total))


def _product(group: _Group, pen: Pen, gold: int | None) -> _Group:
    computed = group.count * group.legs
    if gold is None:
        shown, carried = pen.value("step", computed, near_misses(computed))
    else:
        shown, carried = pen.final(computed, near_misses(computed), gold)
    pen.step(f"{group.named}: {{}} legs", f"{group.count} * {group.legs} = {shown}")
    return _Group(group.animal, group.count, group.legs, carried)


def _check(groups: list[_Group], total: int, pen: Pen) -> None:
    rest = total
    for group in reversed(groups[1:]):
        shown, after = pen.value("check", rest - group.product, near_misses(rest - group.product))
        pen.check(f"without the {group.named} {{}}", f"{rest} - {group.product} = {shown}")
        rest = after
    first = groups[0]
    if first.legs:
        shown, _ = pen.value("check", first.count, near_misses(first.count))
        pen.check(f"{{}}, the {first.named}", f"{rest} / {first.legs} = {shown}")
    else:
        pen.check("{} legs are left", f"{rest} = 0")


def _weigh(groups: list[_Group], pen: Pen) -> None:
    counts = [group.count for group in groups]
    heads = sum(counts)
    if len(groups) > 1:
        shown, _ = pen.value("candidate", heads, near_misses(heads))
        pen.candidate(f"add the counts, {' + '.join(map(str, counts))} = {shown}", "that counts animals, not legs")
    else:
        first = groups[0]
        shown, _ = pen.value("candidate", first.count + first.legs, near_misses(first.count + first.legs))
        pen.candidate(f"add the numbers, {first.count} + {first.legs} = {shown}", "every animal has its own legs")


FAMILY = Family(
    name="leg_counting",
    dataset="leg_counting",
    kind="number",
    parameters={"min_animals": 2, "max_animals": 3, "min_instances": 1, "max_instances": 6},
    read=read,
    derive=derive,
)
"""Totals of legs over a few kinds of animals."""
