"""Planted controls: paths whose soundness is known, hidden among the paths an LLM judge reads.

Known-bad controls carry exactly one false step and the right final answer, the case a judge is there for. They are made from
the run's own paths (one true arithmetic statement is changed) and, like all known-good ones, from small problems of our own
whose every number is computed here. A judge that accepts too many known-bad controls stops the run.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qrdistill.config import content_hash
from qrdistill.errors import UnsafeConfigError
from qrdistill.types import Decision

MIN_EACH = 10
"""At least so many controls of each sort, however small the run, so that one slip of the judge is not a tenth of them."""
CONTROL = "control/"
"""Path ids of controls start with this; they never join a path of the run."""

_STATEMENT = re.compile(r"(?<![\d.,])(\d{1,6}) ([-+*×]) (\d{1,6}) = (\d{1,9})(?![\d.,]*\d)")
_NAMES = ("Ada", "Ben", "Chen", "Dora", "Eli", "Fatima", "Goran", "Hana")
_THINGS = ("pencils", "apples", "stickers", "marbles", "cards", "buttons")


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One planted path."""

    id: str
    question: str
    gold: str
    text: str
    flaw: str = ""
    """The false statement, as it stands in the text; empty in a known-good control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How a judge did on the controls so far. Rates count clear verdicts; unknown is neither caught nor accepted."""

    num_bad: int
    num_good: int
    caught: int
    accepted: int
    falsely_rejected: int

    @property
    def accepted_frac(self) -> float:
        """Share of known-bad controls that were kept."""
        return self.accepted / self.num_bad if self.num_bad else math.nan


def num_controls(num_judged: int, control_frac: float) -> int:
    """How many controls of each sort belong among so many judged paths."""
    return max(MIN_EACH, math.ceil(control_frac * num_judged / 2))


def make_controls(paths: Sequence[tuple[str, str, str]], *, num_bad: int, num_good: int, seed: int) -> list[Control]:
    """Controls in random order; the same paths and seed make the same ones.

    Args:
        paths: (question, gold answer, text) of paths of the run with a right answer; up to `num_bad` / 2 are copied and spoilt.
        num_bad: known-bad controls.
        num_good: known-good controls.
        seed: of the choice.
    """
    dice = random.Random(f"controls/{seed}")
    spoilable = [path for path in paths if _STATEMENT.search(path[2])]
    bad: dict[str, Control] = {}
    for question, gold, text in dice.sample(spoilable, min(len(spoilable), num_bad // 2)):
        if spoilt := spoil(text, dice):
            control = _control(question, gold, spoilt[0], spoilt[1])
            bad[control.id] = control
    while len(bad) < num_bad:
        control = _problem(dice, is_bad=True)
        bad[control.id] = control
    good: dict[str, Control] = {}
    while len(good) < num_good:
        control = _problem(dice, is_bad=False)
        good[control.id] = control
    controls = [*bad.values(), *good.values()]
    dice.shuffle(controls)
    return controls


def _control(question: str, gold: str, text: str, flaw: str) -> Control:
    sort = "bad" if flaw else "good"
    return Control(id=f"{CONTROL}{sort}/{content_hash([question, text])}", question=question, gold=gold, text=text, flaw=flaw)


def spoil(text: str, dice: random.Random) -> tuple[str, str] | None:
    """Make one true arithmetic statement of a text false, leaving the rest (so the final answer) as it is.

    Returns:
        The new text and the false statement; None when the text holds no true statement of the form "a op b = c" before its end.
    """
    true = [match for match in _STATEMENT.finditer(text) if _value(match) == int(match[4])]
    # The last statement often is the final answer; changing it would make the answer wrong, which needs no judge.
    if len(true) < 2:
        return None
    match = dice.choice(true[:-1])
    wrong = int(match[4]) + dice.choice([delta for delta in (-10, -3, -2, -1, 1, 2, 3, 10) if int(match[4]) + delta >= 0])
    flaw = f"{match[1]} {match[2]} {match[3]} = {wrong}"
    return text[: match.start()] + flaw + text[match.end() :], flaw


def _value(match: re.Match[str]) -> int:
    left, right = int(match[1]), int(match[3])
    return {"+": left + right, "-": left - right, "*": left * right, "×": left * right}[match[2]]


def _problem(dice: random.Random, *, is_bad: bool) -> Control:
    """A three-step problem with its solution; a bad one has one of three flaws and still ends in the right answer."""
    name, thing = dice.choice(_NAMES), dice.choice(_THINGS)
    boxes, each, given = dice.randint(3, 9), dice.randint(4, 12), dice.randint(2, 11)
    bought = dice.randint(3, 20)
    total, left = boxes * each, boxes * each - given
    end = left + bought
    question = (
        f"{name} has {boxes} boxes with {each} {thing} in each. {name} gives {given} {thing} to a friend "
        f"and then buys {bought} more. How many {thing} does {name} have now?"
    )
    first = f"{name} starts with {boxes} * {each} = {total} {thing}."
    second = f"After giving {given} away, {total} - {given} = {left} {thing} are left."
    third = f"Buying {bought} more makes {left} + {bought} = {end} {thing}."
    flaw = ""
    if is_bad:
        sort = dice.randrange(3)
        if sort == 0:  # a wrong product that a wrong difference makes up for
            wrong = total + dice.choice([-3, -2, 2, 3])
            flaw = f"{boxes} * {each} = {wrong}"
            first = f"{name} starts with {flaw} {thing}."
            second = f"After giving {given} away, {wrong} - {given} = {left} {thing} are left."
        elif sort == 1:  # a made-up fact, later dropped without a word
            lost = dice.randint(2, 9)
            flaw = f"{lost} of the {thing} were lost on the way home, so {total} - {lost} = {total - lost} remained."
            first = f"{first} {flaw}"
        else:  # a step that uses the answer to justify itself
            flaw = f"The result must be {end}, so before there were {end} - {bought} = {left} {thing}, whatever was given."
            first, second = f"{name} has {boxes} boxes.", flaw
    text = f"{first}\n{second}\n{third}\nThe answer is {end}."
    return _control(question, str(end), text, flaw)


def audit(decisions: Mapping[str, Decision]) -> Audit:
    """How a judge did, from its decisions by path id (those on real paths do not count)."""
    bad = [decision for id_, decision in decisions.items() if id_.startswith(f"{CONTROL}bad/")]
    good = [decision for id_, decision in decisions.items() if id_.startswith(f"{CONTROL}good/")]
    return Audit(
        num_bad=len(bad),
        num_good=len(good),
        caught=bad.count("drop"),
        accepted=bad.count("keep"),
        falsely_rejected=good.count("drop"),
    )


def insist(found: Audit, *, judge: str, max_accepted_frac: float) -> None:
    """Stop when a judge is fooled too often.

    Raises:
        UnsafeConfigError: at least `MIN_EACH` known-bad controls were read and too many of them were accepted.
    """
    if found.num_bad >= MIN_EACH and found.accepted_frac > max_accepted_frac:
        raise UnsafeConfigError(
            f"the judge {judge!r} accepted {found.accepted} of {found.num_bad} planted bad paths, at most "
            f"{max_accepted_frac:.0%} may pass; use a stronger judge model (filter.judge.judges), then run the same command again"
        )
