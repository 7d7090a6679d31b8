"""A few killable worker processes that compare formulas, usable from any thread, from asyncio and after a fork.

Workers are started by plain `subprocess` on first use (no `multiprocessing`, so a script needs no ``if __name__ ==
"__main__"``), talk over pipes and never touch the caller's signal handlers. One comparison may take :data:`WALL_S` seconds;
then the worker is killed and :class:`qrdistill.tasks.compare.formulas.Undecided` is raised. A forked child forgets its parent's
workers and starts its own.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from functools import lru_cache

from qrdistill.tasks.compare.formulas import Undecided

WALL_S = 4.0
STARTUP_S = 60.0
"""How long a worker may take to start or to load the symbolic engine (a busy machine, a cold disk)."""
MAX_WORKERS = 2
CACHE_SIZE = 4096
MAX_REPLY_BYTES = 1 << 16
_COMMAND = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from qrdistill.tasks._math_worker import main; main()"


class _Worker:
    """One process and its pipes. Owned by one thread at a time."""

    def __init__(self) -> None:
        path = json.dumps([entry for entry in sys.path if entry])  # "" would import from whatever folder the caller is in
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", _COMMAND, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self.buffer = b""
        self.deadline = time.monotonic() + STARTUP_S
        self.read_reply()

    def ask(self, first: str, second: str, is_equation: bool) -> bool:
        request = json.dumps({"first": first, "second": second, "is_equation": is_equation}) + "\n"
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(request.encode())
        except BrokenPipeError as gone:
            raise Undecided("the checking process had ended") from gone
        self.deadline = time.monotonic() + WALL_S
        while True:
            reply = self.read_reply()
            if "loading" in reply:
                self.deadline = time.monotonic() + STARTUP_S
            elif "ready" in reply:
                self.deadline = time.monotonic() + WALL_S
            elif "undecided" in reply:
                raise Undecided(str(reply["undecided"]))
            else:
                return bool(reply["equal"])

    def read_reply(self) -> dict[str, object]:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"\n" not in self.buffer:
                left = self.deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    if time.monotonic() < self.deadline:
                        continue
                    self.kill()
                    raise Undecided(f"the check took more than {WALL_S:g} s")
                chunk = os.read(self.process.stdout.fileno(), MAX_REPLY_BYTES)
                if not chunk or len(self.buffer) > MAX_REPLY_BYTES:
                    self.kill()
                    raise Undecided("the checking process ran out of its time or memory")
                self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        reply: dict[str, object] = json.loads(line)
        return reply

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.abandon()

    def abandon(self) -> None:
        """Close the pipes; a process that still lives ends when it reads the end of its input."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class _Pool:
    """Idle workers and a count of all of them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.idle: list[_Worker] = []
        self.all: list[_Worker] = []
        self.num_starting = 0

    def ask(self, first: str, second: str, is_equation: bool) -> bool:
        worker = self._take()
        is_usable = False
        try:
            equal = worker.ask(first, second, is_equation)
            is_usable = True
            return equal
        except Undecided:
            is_usable = worker.is_alive()
            raise
        finally:
            self._give_back(worker, is_usable)

    def _take(self) -> _Worker:
        with self.changed:
            while not self.idle and len(self.all) + self.num_starting >= MAX_WORKERS:
                self.changed.wait()
            if self.idle:
                return self.idle.pop()
            self.num_starting += 1
        worker = None
        try:
            worker = _Worker()
            return worker
        finally:
            with self.changed:
                self.num_starting -= 1
                if worker is not None:
                    self.all.append(worker)
                self.changed.notify()

    def _give_back(self, worker: _Worker, is_usable: bool) -> None:
        if not is_usable and worker.is_alive():
            worker.kill()  # interrupted in mid-reply: what it says next would answer the wrong question
        with self.changed:
            if is_usable:
                self.idle.append(worker)
            else:
                worker.abandon()
                self.all.remove(worker)
            self.changed.notify()

    def close(self) -> None:
        with self.changed:
            for worker in self.all:
                worker.kill()
            self.all, self.idle = [], []

    def forget(self) -> None:
        """In a forked child: let go of the parent's workers without touching them."""
        for worker in self.all:
            worker.abandon()
            worker.process.returncode = 0  # not ours to wait for


_pool = _Pool()


@lru_cache(maxsize=CACHE_SIZE)
def engine(first: str, second: str, is_equation: bool) -> bool:
    """Whether two formulas are equal, decided in a worker.

    Raises:
        Undecided: when it did not finish within its limits or was refused.
    """
    return _pool.ask(first, second, is_equation)


def _after_fork() -> None:
    global _pool
    _pool.forget()
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _pool.close())
