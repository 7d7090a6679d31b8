"""The process that compares formulas: it can be killed, and it limits itself.

It speaks JSON lines: it says ``{"ready": true}``, then answers each ``{"first", "second", "is_equation", "cpu_s"}`` with
``{"equal", "symbolic", "cpu_s"}`` or ``{"undecided": why, "cpu_s"}`` (the seconds of computing it may take and has taken). Before
it loads the symbolic engine it says ``{"ready": false}`` and after that ``{"ready": true}``; the time this takes is not counted.

A formula is read by this project's own parser and compared numerically to many digits. Only what that parser cannot read
(integrals, sums, limits) goes to the symbolic engine (:mod:`qrdistill.tasks._symbolic`).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import IO, Any

from qrdistill.tasks import _symbolic
from qrdistill.tasks.compare import numeric
from qrdistill.tasks.compare.expression import NotReadable, parse
from qrdistill.tasks.compare.magnitude import Bomb

Answer = dict[str, Any] | None

MEMORY_BYTES = 1 << 30
"""Address space of a worker; with the symbolic engine loaded it takes about 0.1 GB."""


def main() -> None:
    """Serve until the other end closes the socket."""
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # nothing a library prints may be taken for a reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that owns this process
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _say(replies, ready=True)
    for line in sys.stdin:
        question = json.loads(line)
        first, second = question["first"], question["second"]
        clock = _Clock(question["cpu_s"])
        answer = _guarded(_without_engine, first, second, question["is_equation"])
        if answer is None:
            if not _symbolic.is_loaded():
                clock.stop()
                _say(replies, ready=False)
                _symbolic.load()
                _say(replies, ready=True)
                clock.go()
            answer = _guarded(_by_engine, first, second)
        clock.stop()
        assert answer is not None
        _say(replies, **answer, cpu_s=clock.used_s)


class _Clock:
    """Seconds of computing; the kernel ends this process when they are used up, whatever it is in the middle of."""

    def __init__(self, cpu_s: float) -> None:
        self.cpu_s = cpu_s
        self.used_s = 0.0
        self.go()

    def go(self) -> None:
        self.begun_s = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, max(self.cpu_s - self.used_s, 1e-3))

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.used_s += time.process_time() - self.begun_s


def _guarded(decide: Callable[..., Answer], *arguments: Any) -> Answer:
    try:
        return decide(*arguments)
    except Bomb as bomb:
        return {"undecided": f"refused: {bomb}"}
    except (MemoryError, RecursionError) as limit:
        return {"undecided": f"ran into a limit: {type(limit).__name__}"}


def _without_engine(first: str, second: str, is_equation: bool) -> Answer:
    """The answer by numbers, or that there is none; None when the symbolic engine has to be asked.

    Raises:
        Bomb: a formula is too large for either.
    """
    try:
        decided = numeric.equal(parse(first), parse(second), is_equation)
    except NotReadable:
        decided = None
    if decided is not None:
        return {"equal": decided, "symbolic": False}
    if is_equation or not (_symbolic.is_readable(first) and _symbolic.is_readable(second)):
        return {"equal": False, "symbolic": False}
    _symbolic.refuse_bombs(first)
    _symbolic.refuse_bombs(second)
    return None


def _by_engine(first: str, second: str) -> Answer:
    return {"equal": _symbolic.equal(first, second), "symbolic": True}


def _say(replies: IO[str], **reply: Any) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _limit(what: int, at_most: int) -> None:
    """Lower a resource limit (a stricter one of the caller's stays)."""
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        at_most = min(at_most, hard)
    resource.setrlimit(what, (at_most, at_most))
