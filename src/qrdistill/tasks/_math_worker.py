"""The process that compares formulas: it can be killed, and it limits itself.

It speaks JSON lines: it says ``{"ready": true}``, then answers each ``{"first", "second", "is_equation"}`` with ``{"equal":
true | false}`` or ``{"undecided": why}``. Before it loads the symbolic engine it says ``{"loading": true}`` and after that
``{"ready": true}``, so that the time this takes is not counted as the formula's.

A formula is read by this project's own parser and compared numerically to many digits. Only what that parser cannot read
(integrals, sums, limits) goes to math-verify, by way of its LaTeX grammar, and only if it consists of known LaTeX commands,
single letters, digits and signs: text from a model never reaches ``sympify`` or ``parse_expr``, which run Python.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from typing import IO, Any

from qrdistill.tasks.compare.expression import NotReadable, parse
from qrdistill.tasks.compare.magnitude import Bomb

MEMORY_BYTES = 2 << 30
CPU_S = 3
MAX_SYMBOLIC_CHARS = 300
MAX_SYMBOLIC_DIGITS = 40
"""Longest number the symbolic engine is given."""

_KNOWN = re.compile(
    r"(?:\\(?:int|iint|sum|prod|lim|frac|sqrt|infty|to|rightarrow|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|ln|log|exp|pi|alpha|beta|gamma|delta|theta|lambda|mu|sigma"
    r"|phi|omega|binom|partial|cdot|max|min|gcd|lcm|bmod|overline|lfloor|rfloor|lceil|rceil)(?![A-Za-z])"
    r"|\b[A-Za-z]{1,2}(?![A-Za-z])|\d+|[-+*/^_=(){}\[\]|,.! '])*"
)


def main() -> None:
    """Serve until the other end closes the pipe."""
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # nothing a library prints may be taken for a reply
    _limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that owns this process
    _say(replies, ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        _limit_cpu()
        try:
            _say(replies, equal=_equal(request["first"], request["second"], request["is_equation"], replies))
        except Bomb as bomb:
            _say(replies, undecided=f"refused: {bomb}")
        except (MemoryError, RecursionError) as limit:
            _say(replies, undecided=f"ran into a limit: {type(limit).__name__}")


def _say(replies: IO[str], **reply: Any) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _equal(first: str, second: str, is_equation: bool, replies: IO[str]) -> bool:
    from qrdistill.tasks.compare import numeric

    try:
        decided = numeric.equal(parse(first), parse(second), is_equation)
    except NotReadable:
        decided = None
    if decided is not None:
        return decided
    return not is_equation and _symbolically_equal(first, second, replies)


def _symbolically_equal(first: str, second: str, replies: IO[str]) -> bool:
    """math-verify's verdict; unreadable formulas are equal to nothing but themselves, which was checked before."""
    for text in (first, second):
        if len(text) > MAX_SYMBOLIC_CHARS or not _KNOWN.fullmatch(text) or re.search(rf"\d{{{MAX_SYMBOLIC_DIGITS}}}", text):
            return False
        if re.search(r"!\s*!|\)\s*!|\^\s*\{?[^{}]*\^|\d{4,}\s*!|\^\s*\{?\s*\d{5,}", text):
            raise Bomb("a tower of powers or factorials in a formula for the symbolic engine")
    if "latex2sympy2_extended" not in sys.modules:
        _say(replies, loading=True)
    from latex2sympy2_extended.latex2sympy2 import latex2sympy
    from math_verify.grader import verify

    _say(replies, ready=True)
    _limit_cpu()
    try:
        parsed = [latex2sympy(text.replace("*", "\\cdot "), normalization_config=None) for text in (first, second)]
        return bool(verify(parsed[0], parsed[1], float_rounding=15, numeric_precision=30, strict=True, timeout_seconds=None))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the grammar and the engine raise whatever their parts raise; unreadable means not shown to be equal
        return False


def _limit_memory() -> None:
    resource = _resource()
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _limit_cpu() -> None:
    """At most CPU_S seconds from now; the kernel ends the process after that even if the other end is gone."""
    resource = _resource()
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_S + 1, hard))


def _resource() -> Any:
    """The module of resource limits; None where the system has none (the owner's time limit still holds)."""
    try:
        import resource
    except ImportError:
        return None
    return resource


if __name__ == "__main__":
    main()
