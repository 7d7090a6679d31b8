"""How large the numbers in a formula can get, found without computing them: what refuses a bomb before any engine sees it.

The bound is the decimal logarithm of the size of a value, with every letter at most :data:`LETTER` in size. A tower of powers,
a factorial of a factorial or a huge literal exceeds :data:`MAX_LOG10` at the first operation that would be expensive, and the
formula is refused there.
"""

from __future__ import annotations

import math

from qrdistill.tasks.compare.expression import Node

MAX_LOG10 = 20_000.0
"""Largest number of digits that is computed with."""
LETTER = 4.0
"""Letters are tried at values of at most this size."""


class Bomb(Exception):
    """A formula too large to evaluate."""


def log10_bound(node: Node) -> float:
    """An upper bound on log10 of the size of a formula (and of its numerator and denominator where it is rational).

    Raises:
        Bomb: when it exceeds :data:`MAX_LOG10`.
    """
    bound = _bound(node)
    if not bound <= MAX_LOG10:
        raise Bomb("a number of more than 20,000 digits")
    return bound


def _bound(node: Node) -> float:
    if node.kind == "number":
        return max(_log10(node.value.numerator), _log10(node.value.denominator))
    if node.kind == "symbol":
        return math.log10(LETTER)
    parts = [log10_bound(arg) for arg in node.args]
    if node.kind == "add":
        return sum(parts) + math.log10(len(parts))
    if node.kind in {"mul", "div"}:
        return sum(parts)
    if node.kind == "pow":
        return _power(parts[0], parts[1])
    if node.kind == "fact":
        return _factorial(parts[0])
    if node.kind == "call":
        return _call(node.name, parts)
    return parts[0]


def _power(base: float, exponent: float) -> float:
    if exponent > 6:
        raise Bomb("an exponent beyond a million")
    return (base + 0.31) * 10**exponent


def _factorial(argument: float) -> float:
    if argument > 4:
        raise Bomb("a factorial beyond 10,000!")
    value = 10**argument
    return value * max(argument, 1.0)


def _call(name: str, parts: list[float]) -> float:
    if name in {"exp", "sinh", "cosh"}:
        return _power(0.44, parts[0])
    if name == "binom":
        if max(parts) > 4:
            raise Bomb("a binomial beyond 10,000")
        return 10 ** max(parts) * 0.31 + 1
    if name in {"sin", "cos", "tan", "cot", "sec", "csc"} and parts[0] > 100:
        raise Bomb("an angle of more than 100 digits")
    if name == "root":
        return parts[0] + 1
    return parts[0] + 60


def _log10(number: int) -> float:
    return number.bit_length() * 0.30103
