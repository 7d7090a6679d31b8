"""Algebra about the question's own unknown: a restated or transformed equation must hold at its solution."""

from __future__ import annotations

import re
from fractions import Fraction

from qrdistill.quality.step_checker.finding import Finding
from qrdistill.tasks.programs import ProgramError, evaluate

_TERM = r"(?:\d+(?:\.\d+)?|[a-z](?![a-z]))"
_SIDE = rf"-?\(?{_TERM}\)?(?: ?[-+*/] ?-?\(?{_TERM}\)?|(?<=\d)[a-z](?![a-z]))*"
_EQUATION = re.compile(rf"(?<![\w.*/+-])(?<![*/+-] )({_SIDE}) ?= ?({_SIDE})(?![\w*/+])(?! ?[*/+=] ?\w)")
_HYPOTHESIS = re.compile(r"(?i)\b(?:try|suppose|if|guess|assume|candidate|idea|option|say|let|test)\b")


def check_equations(question: str, text: str) -> list[Finding]:
    """Check every equation in the unknown against the solution of the question's equation.

    >>> [finding.is_true for finding in check_equations("Solve for x: 3 * x + 2 = 11", "So 3 * x = 9. Then 3 * x = 8.")]
    [True, False]
    """
    asked = [match for match in _EQUATION.finditer(question) if _unknowns(match.group())]
    if len(asked) != 1 or len(unknowns := _unknowns(asked[0].group())) != 1:
        return []
    unknown = next(iter(unknowns))
    solution = _solve(asked[0][1], asked[0][2], unknown)
    if solution is None:
        return []
    findings = []
    for match in _EQUATION.finditer(text):
        is_trivial = unknown in (match[1].strip(), match[2].strip())
        if _unknowns(match.group()) != unknowns or is_trivial or _is_hypothetical(text, match.start()):
            continue
        difference = _difference(match[1], match[2], unknown, solution)
        if difference is not None:
            is_true = difference == 0
            reason = "" if is_true else f"it does not follow from {asked[0].group()}"
            findings.append(Finding(quote=match.group(), is_true=is_true, reason=reason))
    return findings


def _is_hypothetical(text: str, position: int) -> bool:
    start = max(text.rfind(mark, 0, position) for mark in (".", "\n", ";")) + 1
    return bool(_HYPOTHESIS.search(text[start:position]))


def _unknowns(text: str) -> set[str]:
    return set(re.findall(r"(?<![a-z])[a-z](?![a-z])", text))


def _solve(left: str, right: str, unknown: str) -> Fraction | None:
    at_zero, at_one = (_difference(left, right, unknown, Fraction(value)) for value in (0, 1))
    at_two = _difference(left, right, unknown, Fraction(2))
    if at_zero is None or at_one is None or at_two is None or at_two - at_one != at_one - at_zero or at_one == at_zero:
        return None
    return -at_zero / (at_one - at_zero)


def _difference(left: str, right: str, unknown: str, value: Fraction) -> Fraction | None:
    """Left minus right at a value of the unknown (scaled to whole numbers so that it is exact)."""
    number = f"({value.numerator} / {value.denominator})" if value.denominator != 1 else f"({value.numerator})"
    sides = []
    for side in (left, right):
        written = re.sub(rf"(?<=[\d)]) ?{unknown}(?![a-z])", f" * {number}", side)
        written = re.sub(rf"(?<![a-z]){unknown}(?![a-z])", number, written)
        try:
            sides.append(Fraction(evaluate(written)).limit_denominator(10**9))
        except (ProgramError, ValueError, TypeError, OverflowError):
            return None
    return sides[0] - sides[1]
