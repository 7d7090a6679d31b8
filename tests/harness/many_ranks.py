"""Trains one run with several processes on this machine, without torchrun, so that a rank can be killed and the others watched.

Processes are forked from a server that has imported torch once, so that two ranks start in a second.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["qrdistill.training.loop", "qrdistill.pipeline", "peft.tuners.lora"])
WAIT_S = 240.0
"""How long nothing may end before a rank counts as hung."""


@dataclass(frozen=True)
class Ended:
    """How and when a rank ended, and what it said on stderr."""

    exit_code: int
    said: str
    at_s: float


def train_with(size: int, folder: Path, *, plant: str = "") -> list[Ended]:
    """Train a run with `size` ranks until all have ended.

    Args:
        size: number of ranks.
        folder: the run folder, its filter stage done.
        plant: what goes wrong, functions of `harness.plants` with their arguments: "kill_at_step 1 3; memory_runs_out 0".
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    logs = [folder / f"rank{rank}.txt" for rank in range(size)]
    ranks = [_context.Process(target=_rank, args=(rank, size, port, str(folder), plant, str(logs[rank]))) for rank in range(size)]
    for rank in ranks:
        rank.start()
    at_s = [0.0] * size
    while not all(at_s):  # a rank may end between two waits: ask for every one whose end has not been noted
        gone = wait([rank.sentinel for rank, at in zip(ranks, at_s, strict=True) if not at], timeout=WAIT_S)
        if not gone:
            break
        at_s = [at or (time.monotonic() if rank.sentinel in gone else 0.0) for rank, at in zip(ranks, at_s, strict=True)]
    for rank in ranks:
        rank.kill()
        rank.join()
    assert all(at_s), ["still running" if not at else "ended" for at in at_s]
    return [
        Ended(exit_code=rank.exitcode or 0, said=log.read_text(), at_s=at)
        for rank, log, at in zip(ranks, logs, at_s, strict=True)
    ]


def _rank(rank: int, size: int, port: int, folder: str, plant: str, log: str) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "QRDISTILL_DEBUG": "1",
    }
    from harness import plants
    from qrdistill.cli.main import run_app

    for one in filter(None, plant.split(";")):
        name, *arguments = one.split()
        plants.PLANTS[name](rank, *map(int, arguments))
    sys.stdout.flush()
    code = run_app(["train", folder])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
