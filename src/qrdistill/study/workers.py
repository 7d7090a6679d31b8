"""Several worker processes that do a study's units side by side."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import qrdistill
from qrdistill import errors
from qrdistill.errors import QRDistillError
from qrdistill.study.units import Unit

GRACE_S = 30.0
"""How long a worker may take to end its unit cleanly when the study is interrupted."""


class WorkerDiedError(QRDistillError):
    """A worker process ended without an answer (out of memory, killed)."""

    exit_code = 75


class Workers:
    """A pool of worker processes; use as a context manager.

    Args:
        jobs: processes at most.
        logs: folder of their logs.
    """

    def __init__(self, jobs: int, logs: Path) -> None:
        self._jobs = jobs
        self._logs = logs
        self._processes: list[subprocess.Popen[str]] = []
        self._files: list[IO[str]] = []

    def __enter__(self) -> Workers:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        for file in self._files:
            file.close()

    def do(self, units: Sequence[Unit], on_done: Callable[[Unit], None]) -> None:
        """Do every unit; `on_done` is called from this thread as each ends.

        The first error lets the units that are under way end, starts no other, and is raised.
        """
        todo: queue.SimpleQueue[Unit] = queue.SimpleQueue()
        for unit in units:
            todo.put(unit)
        ended: queue.SimpleQueue[tuple[Unit | None, Exception | None]] = queue.SimpleQueue()
        number = min(self._jobs, len(units))
        while len(self._processes) < number:
            self._start()
        stopped = threading.Event()
        for process in self._processes[:number]:
            threading.Thread(target=_serve, args=(process, todo, ended, stopped), daemon=True).start()
        first: Exception | None = None
        try:
            while number:
                done, error = ended.get()
                if done is None:
                    number -= 1
                elif error is None:
                    on_done(done)
                else:
                    first = first or error
                    stopped.set()
        finally:
            stopped.set()
        if first is not None:
            raise first

    def _start(self) -> None:
        log = (self._logs / f"worker-{len(self._processes)}.log").open("a", encoding="utf-8")
        root = str(Path(qrdistill.__file__).parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH", "")])]
        self._files.append(log)
        self._processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "qrdistill.study.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )
        )


def _serve(
    process: subprocess.Popen[str],
    todo: queue.SimpleQueue[Unit],
    ended: queue.SimpleQueue[tuple[Unit | None, Exception | None]],
    stopped: threading.Event,
) -> None:
    while not stopped.is_set():
        try:
            unit = todo.get_nowait()
        except queue.Empty:
            break
        error = _ask(process, unit)
        ended.put((unit, error))
        if isinstance(error, WorkerDiedError):
            break
    ended.put((None, None))


def _ask(process: subprocess.Popen[str], unit: Unit) -> Exception | None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(unit.to_dict()) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except (OSError, ValueError):
        line = ""
    if not line:
        return WorkerDiedError(
            f"{unit.label}: its worker process died (out of memory?); lower --jobs, then run the same command to go on"
        )
    answer = json.loads(line)
    if "error" not in answer:
        return None
    if not answer["kind"]:
        return RuntimeError(f"{unit.label}: {answer['error']} (the traceback is in the study's logs folder)")
    known: type[QRDistillError] = getattr(errors, answer["kind"], QRDistillError)
    return known(f"{unit.label}: {answer['error']}")
