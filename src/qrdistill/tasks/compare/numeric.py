"""Equality of two formulas by evaluating both to many digits at fixed points. Used in the worker process only (needs mpmath).

Two formulas are equal when they agree, to at least 60 digits beyond their own size, at every one of several fixed points of
their letters at which both are real and finite (all points where they are not, if the imaginary unit is involved). Two
different formulas of the size people write do not agree that closely at generic points, so this decides equality both ways;
where too few points are left it decides nothing and the symbolic engine is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath

from qrdistill.tasks.compare.exact import rational
from qrdistill.tasks.compare.expression import Node, symbols
from qrdistill.tasks.compare.magnitude import Bomb, log10_bound

NUM_POINTS = 7
MIN_POINTS = 2
_SEEDS = (
    (2, 3), (3, 7), (5, 11), (7, 5), (11, 13), (13, 17), (17, 19), (19, 23), (23, 29), (29, 31), (31, 37), (37, 41)
)  # fmt: skip


def equal(first: Node, second: Node, is_equation: bool = False) -> bool | None:
    """Whether two formulas are equal; None when that cannot be decided here.

    With `is_equation` the formulas are left sides of "= 0" and are equal up to a constant factor.

    Raises:
        Bomb: when one is too large to evaluate.
    """
    size = max(log10_bound(first), log10_bound(second))
    if size > 3_000:
        raise Bomb("a number of more than 3,000 digits beside an irrational one")
    names = sorted(symbols(first) | symbols(second))
    with mpmath.workdps(120 + int(2 * size)):
        pairs = [
            pair for index in range(NUM_POINTS if names else 1) if (pair := _at_point(first, second, names, index)) is not None
        ]
        has_complex = any(_uses_i(node) for node in (first, second))
        if names and not has_complex:
            pairs = [(a, b) for a, b in pairs if _is_real(a) and _is_real(b)] or pairs
        if len(pairs) < (MIN_POINTS if names else 1):
            return None
        digits = 60 + int(size)
        if is_equation:
            return _proportional(pairs, digits)
        return all(_agree(a, b, digits) for a, b in pairs)


def _at_point(first: Node, second: Node, names: list[str], index: int) -> tuple[Any, Any] | None:
    values = {name: _coordinate(position, index) for position, name in enumerate(names)}
    try:
        a, b = _value(first, values), _value(second, values)
    except (ZeroDivisionError, ValueError, OverflowError, mpmath.libmp.NoConvergence):
        return None
    return (a, b) if mpmath.isfinite(a) and mpmath.isfinite(b) else None


def _coordinate(position: int, index: int) -> Any:
    """An irrational value between 0.3 and 3.9 in size; two of the points have negative coordinates."""
    p, q = _SEEDS[(position + 5 * index) % len(_SEEDS)]
    size = mpmath.mpf(3) / 10 + mpmath.frac(mpmath.sqrt(p) * (index + 1) + mpmath.sqrt(q) * (position + 1)) * 36 / 10
    return -size if index in {2, 5} else size


def _proportional(pairs: list[tuple[Any, Any]], digits: int) -> bool | None:
    kept = [(a, b) for a, b in pairs if abs(a) > mpmath.mpf(10) ** -digits or abs(b) > mpmath.mpf(10) ** -digits]
    if len(kept) < MIN_POINTS:
        return None
    a0, b0 = kept[0]
    return all(_agree(a * b0, b * a0, digits) for a, b in kept) and all(abs(a) > 0 and abs(b) > 0 for a, b in kept)


def _agree(a: Any, b: Any, digits: int) -> bool:
    gap, size = abs(a - b), max(abs(a), abs(b))
    if gap == 0:
        return True
    return bool(gap <= size * mpmath.mpf(10) ** -digits or size <= mpmath.mpf(10) ** -(digits + 40))


def _is_real(value: Any) -> bool:
    return bool(abs(mpmath.im(value)) <= abs(value) * mpmath.mpf(10) ** -60)


def _uses_i(node: Node) -> bool:
    return (node.kind == "symbol" and node.name == "i") or any(_uses_i(arg) for arg in node.args)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "floor": mpmath.floor,
    "ceil": mpmath.ceil,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tan": mpmath.tan,
    "cot": mpmath.cot,
    "sec": mpmath.sec,
    "csc": mpmath.csc,
    "arcsin": mpmath.asin,
    "arccos": mpmath.acos,
    "arctan": mpmath.atan,
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "tanh": mpmath.tanh,
    "ln": mpmath.log,
    "exp": mpmath.exp,
    "binom": mpmath.binomial,
}


def _value(node: Node, values: dict[str, Any]) -> Any:
    if node.kind == "number":
        return mpmath.mpf(node.value.numerator) / node.value.denominator
    if node.kind == "symbol":
        constant = {"pi": mpmath.pi, "e": mpmath.e, "i": mpmath.mpc(0, 1)}.get(node.name)
        return +constant if constant is not None else values[node.name]
    if node.kind == "pow":
        return _power(node, values)
    parts = [_value(arg, values) for arg in node.args]
    if node.kind == "add":
        return mpmath.fsum(parts)
    if node.kind == "mul":
        return mpmath.fprod(parts)
    if node.kind == "neg":
        return -parts[0]
    if node.kind == "inv":
        return 1 / parts[0]
    if node.kind == "div":
        return parts[0] / parts[1]
    if node.kind == "fact":
        return mpmath.gamma(parts[0] + 1)
    if node.name == "log":
        return mpmath.log(parts[0]) / mpmath.log(parts[1])
    if node.name == "root":
        return _root(parts[0], rational(node.args[1]) or Fraction(2))
    return _FUNCTIONS[node.name](*parts)


def _power(node: Node, values: dict[str, Any]) -> Any:
    base = _value(node.args[0], values)
    exponent = rational(node.args[1])
    if exponent is None:
        return mpmath.power(base, _value(node.args[1], values))
    if exponent.denominator == 1:
        return mpmath.power(base, exponent.numerator)
    return mpmath.power(_root(base, Fraction(exponent.denominator)), exponent.numerator)


def _root(base: Any, degree: Fraction) -> Any:
    """A root; the odd root of a negative real number is the real one."""
    if degree.denominator == 1 and degree % 2 == 1 and _is_real(base) and mpmath.re(base) < 0:
        return -mpmath.root(-mpmath.re(base), int(degree))
    if degree.denominator == 1 and 0 < degree < 1000:
        return mpmath.root(base, int(degree))
    return mpmath.power(base, mpmath.mpf(degree.denominator) / degree.numerator)
