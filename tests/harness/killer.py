"""Runs a command, kills it at random moments, and runs it again until it ends by itself."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TESTS = Path(__file__).parents[1]


def python_path() -> str:
    """Where a child finds tests/ and whatever this process was given."""
    return os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH", "")])])


def start(arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a Python command (`-m module ...`) in a process group of its own, with tests/ importable."""
    env = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", **(environment or {})}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    """Send a signal to the process alone, as the kernel's out-of-memory killer does."""
    process.send_signal(number)


def run_killed(
    arguments: Sequence[str],
    *,
    kills: int,
    dice: random.Random,
    delay_s: tuple[float, float],
    environment: Mapping[str, str] | None = None,
    after_kill: Callable[[], None] = lambda: None,
) -> tuple[int, str]:
    """Kill the command `kills` times after a random delay, then let it finish.

    Returns:
        How many kills hit a living process, and what the last run printed.
    """
    hits = 0
    for _ in range(kills):
        process = start(arguments, environment=environment)
        try:
            process.wait(dice.uniform(*delay_s))
        except subprocess.TimeoutExpired:
            hits += 1
            kill(process)
        process.communicate(timeout=30)
        after_kill()
    process = start(arguments, environment=environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return hits, out
