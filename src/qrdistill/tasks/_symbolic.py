"""The symbolic engine (math-verify), for formulas this project's own parser cannot read. Used in the worker process only.

Text from a model reaches it by way of its LaTeX grammar, and only if it consists of known LaTeX commands, single letters, digits
and signs: never ``sympify`` or ``parse_expr``, which run Python. Formulas too large to evaluate are refused before it is loaded.
"""

from __future__ import annotations

import re
import sys
from fractions import Fraction

from qrdistill.tasks.compare.exact import rational
from qrdistill.tasks.compare.expression import NotReadable, parse
from qrdistill.tasks.compare.magnitude import Bomb, log10_bound

MAX_CHARS = 300
MAX_DIGITS = 40
"""Longest number the engine is given."""
MAX_TERMS = 1_000
"""Most terms of a sum or product, and the largest exponent or factorial, that it is asked to write out."""
MAX_POWER_DIGITS = 5_000
"""Largest power of a number that it is asked to compute."""

_KNOWN = re.compile(
    r"(?:\\(?:int|iint|sum|prod|lim|frac|sqrt|infty|to|rightarrow|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|ln|log|exp"
    r"|pi|alpha|beta|gamma|delta|theta|lambda|mu|sigma|phi|omega|binom|partial|cdot|max|min|gcd|lcm|bmod|overline|lfloor|rfloor|lceil"
    r"|rceil)(?![A-Za-z])|(?<![A-Za-z\\])[A-Za-z]{1,2}(?![A-Za-z])|\d+|[-+*/^_=(){}\[\]|,.! '])*"
)
_LIMITS = re.compile(r"\\(?P<name>int|iint|sum|prod|lim)\s*(?:\\limits\s*)?(?:_\s*)?")
_GROWING = re.compile(r"\\(?:exp|sinh|cosh)(?![A-Za-z])\s*")
_TOKEN = re.compile(r"\\[A-Za-z]+|\d|[A-Za-z]|.", re.DOTALL)
_CLOSING = {"(": ")", "{": "}", "[": "]"}
_OPENING = {closing: opening for opening, closing in _CLOSING.items()}


def is_readable(text: str) -> bool:
    """Whether a formula may be given to the engine; one that may not is equal to nothing but itself."""
    return len(text) <= MAX_CHARS and _KNOWN.fullmatch(text) is not None


def refuse_bombs(text: str) -> None:
    """Look at every number, power, factorial, sum and product without evaluating anything.

    Raises:
        Bomb: one of them is too large to write out.
    """
    if re.search(rf"\d{{{MAX_DIGITS + 1}}}", text):
        raise Bomb(f"a number of more than {MAX_DIGITS} digits for the symbolic engine")
    upper_limits = _refuse_long_sums(text)
    for found in re.finditer(r"\^", text):
        if found.start() not in upper_limits:
            _refuse_power(_before(text, found.start()), _after(text, found.end()))
    for found in _GROWING.finditer(text):
        _refuse_power("e", _after(text, found.end()))
    for found in re.finditer(r"!", text):
        operand = _before(text, found.start())
        if operand.endswith("!") or (_exact(operand) or 0) > MAX_TERMS:
            raise Bomb(f"a factorial beyond {MAX_TERMS:,}! for the symbolic engine")
    for found in re.finditer(r"\\binom\s*", text):
        if (_exact(_after(text, found.end())) or 0) > 10 * MAX_TERMS:
            raise Bomb(f"a binomial beyond {10 * MAX_TERMS:,} for the symbolic engine")


def is_loaded() -> bool:
    """Whether the engine is there already."""
    return "math_verify.grader" in sys.modules


def load() -> None:
    """Import the engine (about half a second)."""
    import latex2sympy2_extended.latex2sympy2  # noqa: F401
    import math_verify.grader  # noqa: F401


def equal(first: str, second: str) -> bool:
    """math-verify's verdict; what it cannot read or decide is not shown to be equal."""
    from latex2sympy2_extended.latex2sympy2 import latex2sympy
    from math_verify.grader import verify

    try:
        gold, answer = (latex2sympy(text.replace("*", "\\cdot "), normalization_config=None) for text in (first, second))
        return bool(verify(gold, answer, float_rounding=15, numeric_precision=30, strict=True, timeout_seconds=None))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the grammar and the engine raise whatever their parts raise
        return False


def _refuse_long_sums(text: str) -> set[int]:
    """Where the upper limits of integrals, sums and products stand (their ``^`` is no power); too many terms are refused."""
    places: set[int] = set()
    terms = Fraction(1)
    for found in _LIMITS.finditer(text):
        lower = _after(text, found.end())
        end = found.end() + len(lower)
        caret = re.compile(r"\s*\^").match(text, end)
        if not found.group().rstrip().endswith("_") or caret is None:
            continue
        places.add(caret.end() - 1)
        if found.group("name") in {"sum", "prod"}:
            first, last = _exact(lower.strip("{} ").partition("=")[2]), _exact(_after(text, caret.end()))
            if first is not None and last is not None:
                terms *= max(abs(last - first), Fraction(1))
    if terms > MAX_TERMS:
        raise Bomb(f"a sum or product of more than {MAX_TERMS:,} terms")
    return places


def _refuse_power(base: str, exponent: str) -> None:
    """Powers of letters are not written out, so only exponents that are numbers count."""
    size, of = _exact(exponent), _exact(base)
    if size is not None and abs(size) > MAX_TERMS:
        raise Bomb(f"an exponent beyond {MAX_TERMS:,} for the symbolic engine")
    if size is not None and of is not None and _digits(of) * abs(size) > MAX_POWER_DIGITS:
        raise Bomb(f"a power of more than {MAX_POWER_DIGITS:,} digits for the symbolic engine")


def _digits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length()) * 3 // 10


def _exact(text: str) -> Fraction | None:
    """The value of a part of a formula that is a rational number; a part too large to compute is a bomb."""
    try:
        node = parse(text)
        log10_bound(node)
        return rational(node)
    except NotReadable:
        return None


def _after(text: str, start: int) -> str:
    """The operand that begins at `start`: a group in brackets or one token, with a sign if it has one."""
    index = start
    while text[index : index + 1] in {" ", "-", "+"}:
        index += 1
    opening = text[index : index + 1]
    if opening in _CLOSING:
        level = 0
        for end in range(index, len(text)):
            level += (text[end] == opening) - (text[end] == _CLOSING[opening])
            if level == 0:
                return text[start : end + 1]
        return text[start:]
    token = _TOKEN.match(text, index)
    return text[start : token.end()] if token else ""


def _before(text: str, end: int) -> str:
    """The operand that ends at `end`: a group in brackets, a number, or one token."""
    head = text[:end].rstrip()
    closing = head[-1:]
    if closing in _OPENING:
        level = 0
        for start in range(len(head) - 1, -1, -1):
            level += (head[start] == closing) - (head[start] == _OPENING[closing])
            if level == 0:
                return head[start:]
        return head
    found = re.search(r"(?:\d+(?:\.\d+)?|\\?[A-Za-z]+|\S)$", head)
    return found.group() if found else ""
