"""A few killable worker processes that compare formulas, usable from any thread, from asyncio and after a fork.

Workers are started by plain `subprocess` when they are first needed (no `multiprocessing`, so a script needs no
``if __name__ == "__main__"``), talk over a socket and never touch the caller's signal handlers.

All questions of one comparison together may take :data:`CPU_S` seconds of computing, after which a worker ends itself, and
:data:`WALL_S` seconds of time, after which it is killed. The first decides, so that a busy machine changes no verdict; the second
is for a worker that gets no processor. Either way :class:`qrdistill.tasks.compare.formulas.Undecided` is raised. A worker also
ends when its owner is gone. A forked child forgets its parent's workers and starts its own.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

from qrdistill.errors import UsageError
from qrdistill.tasks.compare.formulas import Undecided

CPU_S = 1.5
WALL_S = 10.0
STARTUP_S = 60.0
"""How long a worker may take to start or to load the symbolic engine (a busy machine, a cold disk)."""
MAX_WORKERS = max(2, min(8, os.cpu_count() or 2))
CACHE_SIZE = 4096
MAX_REPLY_BYTES = 1 << 16
_NO_SIGPIPE = getattr(socket, "MSG_NOSIGNAL", 0)
"""A caller for whom a broken pipe is deadly lives on when a worker ends."""

_COMMAND = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
try:
    from qrdistill.tasks._math_worker import main
except Exception as error:
    print(json.dumps({"failed": repr(error)}))
else:
    main()
"""
# Fixed when this module is imported: an entry relative to a folder the caller leaves later would mean something else.
_IMPORT_PATH = json.dumps([*(os.path.abspath(entry) for entry in sys.path if entry), str(Path(__file__).resolve().parents[2])])


class Engine:
    """Answers the questions of one comparison (see :data:`qrdistill.tasks.compare.formulas.Engine`).

    Raises (when called):
        Undecided: a formula was refused, or a worker did not finish within its limits.
        UsageError: no worker can be started.
    """

    def __init__(self) -> None:
        self.left_s = WALL_S
        self.left_cpu_s = CPU_S
        self.is_symbolic = False
        """Whether the symbolic engine had a part in an answer."""

    def __call__(self, first: str, second: str, is_equation: bool) -> bool:
        key = (first, second, is_equation)
        known = _known.get(key)
        if known is None:
            question = {"first": first, "second": second, "is_equation": is_equation, "cpu_s": self.left_cpu_s}
            known = _pool.ask(json.dumps(question).encode() + b"\n", self)
            if len(_known) >= CACHE_SIZE:
                _known.clear()
            _known[key] = known
        is_equal, is_symbolic = known
        self.is_symbolic |= is_symbolic
        return is_equal


_known: dict[tuple[str, str, bool], tuple[bool, bool]] = {}
"""Answers by question: (are equal, the symbolic engine was asked)."""


class _Ended(Exception):
    """A worker ended by itself in the middle of a question, and not because of a limit."""


class _Worker:
    """One process and the socket to it, owned by one thread at a time. It starts with its first question."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.buffer = b""
        self.is_ready = False
        self.is_usable = True
        """False from the beginning of a question to its answer: what the process says next would belong to another question."""

    def start(self) -> None:
        self.channel, theirs = socket.socketpair()
        with theirs:
            if not sys.executable:
                raise UsageError("this Python does not know its own executable, which compares formulas; set sys.executable")
            command, end = [sys.executable, "-I", "-c", _COMMAND, _IMPORT_PATH], theirs.fileno()
            try:
                self.process = subprocess.Popen(command, stdin=end, stdout=end, stderr=subprocess.DEVNULL)
            except OSError as error:
                raise UsageError(
                    f"cannot start the process that compares formulas ({error}); free some processes or memory"
                ) from error

    def ask(self, question: bytes, engine: Engine) -> tuple[bool, bool]:
        """(are equal, the symbolic engine was asked). What it takes, but for starting and loading, is taken off `engine`."""
        self.is_usable = False
        if self.process is None:
            self.start()
        self.send(question)
        while True:
            begun_s = time.monotonic()
            reply = self.read_reply(engine.left_s if self.is_ready else STARTUP_S)
            if self.is_ready:
                engine.left_s -= time.monotonic() - begun_s
            if "failed" in reply:
                raise UsageError(
                    f"the process that compares formulas did not start ({reply['failed']}); install qrdistill's packages again"
                )
            if "ready" in reply:
                self.is_ready = bool(reply["ready"])
                continue
            self.is_usable = True
            engine.left_cpu_s -= float(str(reply["cpu_s"]))
            if "undecided" in reply:
                raise Undecided(str(reply["undecided"]))
            return bool(reply["equal"]), bool(reply["symbolic"])

    def send(self, question: bytes) -> None:
        assert self.channel is not None
        self.channel.settimeout(STARTUP_S)
        try:
            self.channel.sendall(question, _NO_SIGPIPE)
        except OSError as gone:
            raise self.ending() from gone

    def read_reply(self, patience_s: float) -> dict[str, object]:
        assert self.channel is not None
        deadline_s = time.monotonic() + patience_s
        while b"\n" not in self.buffer:
            left_s = deadline_s - time.monotonic()
            try:
                self.channel.settimeout(max(left_s, 0.001))
                chunk = self.channel.recv(MAX_REPLY_BYTES)
            except TimeoutError:
                if left_s > 0:
                    continue
                raise Undecided(f"the comparison took more than {WALL_S:g} s") from None
            except ConnectionError as gone:
                raise self.ending() from gone
            if not chunk or len(self.buffer) > MAX_REPLY_BYTES:
                raise self.ending()
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        reply: dict[str, object] = json.loads(line)
        return reply

    def ending(self) -> Exception:
        """What the end of the process means."""
        assert self.process is not None
        try:
            code = self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return _Ended("the checking process closed its socket")
        if code == -signal.SIGPROF:
            return Undecided(f"the comparison took more than {CPU_S:g} s of computing")
        return _Ended(f"the checking process ended with code {code}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.abandon()

    def abandon(self) -> None:
        """Close the socket; a process that still lives ends when it reads the end of its input."""
        if self.channel is not None:
            self.channel.close()


class _Pool:
    """Idle workers, and all of them. A worker that an interrupt took out of its owner's hands is garbage and is not counted."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.idle: list[_Worker] = []
        self.all: weakref.WeakSet[_Worker] = weakref.WeakSet()
        self.is_closed = False

    def ask(self, question: bytes, engine: Engine) -> tuple[bool, bool]:
        """An answer; a question whose worker was ended by something else than a limit is asked once more."""
        ended = ""
        for _ in range(2):
            worker = self._take()
            try:
                return worker.ask(question, engine)
            except _Ended as end:
                if self.is_closed and threading.current_thread().daemon:
                    raise SystemExit from None  # the program has ended; a thread it leaves behind ends without a word
                ended = str(end)
            finally:
                self._give_back(worker)
        raise Undecided(ended)

    def _take(self) -> _Worker:
        with self.changed:
            while not self.idle and len(self.all) >= MAX_WORKERS:
                self.changed.wait(1.0)
            if self.idle:
                return self.idle.pop()
            worker = _Worker()
            self.all.add(worker)
            return worker

    def _give_back(self, worker: _Worker) -> None:
        if not worker.is_usable:
            worker.kill()
        with self.changed:
            if worker.is_usable:
                self.idle.append(worker)
            else:
                self.all.discard(worker)
            self.changed.notify()

    def close(self) -> None:
        """End the processes. Their sockets stay open: a daemon thread may be reading one, and then sees its end."""
        self.is_closed = True
        for worker in list(self.all):
            if worker.process is not None:
                worker.process.kill()
                worker.process.wait()

    def forget(self) -> None:
        """In a forked child: let go of the parent's workers without touching them."""
        for worker in list(self.all):
            worker.abandon()
            if worker.process is not None:
                worker.process.returncode = 0  # not ours to wait for


_pool = _Pool()


def _after_fork() -> None:
    global _pool
    _pool.forget()
    _pool = _Pool()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _pool.close())
