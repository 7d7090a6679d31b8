"""The exact value of a formula that is a rational number."""

from __future__ import annotations

import math
from fractions import Fraction

from qrdistill.tasks.compare.expression import Node
from qrdistill.tasks.compare.magnitude import Bomb


def rational(node: Node) -> Fraction | None:
    """The exact value, or None for a formula that is no rational number or divides by zero.

    Call :func:`qrdistill.tasks.compare.magnitude.log10_bound` first: it bounds the work done here.
    """
    if node.kind == "number":
        return node.value
    if node.kind == "symbol":
        return None
    values = []
    for arg in node.args:
        value = rational(arg)
        if value is None:
            return None
        values.append(value)
    if node.kind == "add":
        return sum(values, Fraction(0))
    if node.kind == "mul":
        return math.prod(values, start=Fraction(1))
    if node.kind == "neg":
        return -values[0]
    if node.kind in {"inv", "div"}:
        return _quotient(Fraction(1) if node.kind == "inv" else values[0], values[-1])
    if node.kind == "pow":
        return _power(values[0], values[1])
    if node.kind == "fact":
        return Fraction(math.factorial(values[0].numerator)) if values[0].denominator == 1 and values[0] >= 0 else None
    return _call(node.name, values)


def _quotient(numerator: Fraction, denominator: Fraction) -> Fraction | None:
    return numerator / denominator if denominator else None


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator == 1:
        if base == 0 and exponent <= 0:
            return None
        if abs(exponent) > 100_000:
            raise Bomb("an exponent beyond 100,000")
        return base**exponent.numerator
    root = exact_root(base, exponent.denominator)
    return _power(root, Fraction(exponent.numerator)) if root is not None else None


def exact_root(value: Fraction, degree: int) -> Fraction | None:
    """The real root if it is rational (odd roots of negative numbers are negative), else None."""
    if degree < 1 or degree > 64 or (value < 0 and degree % 2 == 0):
        return None
    size = abs(value)
    numerator, denominator = _integer_root(size.numerator, degree), _integer_root(size.denominator, degree)
    if numerator**degree != size.numerator or denominator**degree != size.denominator:
        return None
    root = Fraction(numerator, denominator)
    return -root if value < 0 else root


def _integer_root(number: int, degree: int) -> int:
    """The integer part of the root, by Newton's method."""
    if degree == 2:
        return math.isqrt(number)
    if number < 2:
        return number
    guess = 1 << -(-number.bit_length() // degree)
    while True:
        better = ((degree - 1) * guess + number // guess ** (degree - 1)) // degree
        if better >= guess:
            return guess
        guess = better


def _call(name: str, values: list[Fraction]) -> Fraction | None:
    if name == "root":
        return exact_root(values[0], values[1].numerator) if values[1].denominator == 1 else None
    if name == "abs":
        return abs(values[0])
    if name == "floor":
        return Fraction(math.floor(values[0]))
    if name == "ceil":
        return Fraction(math.ceil(values[0]))
    if name == "binom" and all(value.denominator == 1 and value >= 0 for value in values):
        return Fraction(math.comb(values[0].numerator, values[1].numerator))
    if name == "log" and values[0] > 0 and values[1] > 0 and values[1] != 1:
        return _logarithm(values[0], values[1])
    return None


def _logarithm(value: Fraction, base: Fraction) -> Fraction | None:
    """A logarithm that is an integer, else None."""
    guess = (
        round(math.log(value) / math.log(base))
        if value.numerator.bit_length() < 900 and value.denominator.bit_length() < 900
        else None
    )
    if guess is not None and abs(guess) < 1000 and base**guess == value:
        return Fraction(guess)
    return None
