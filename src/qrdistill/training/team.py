"""The students of a run side by side: one thread each, shared threads of the machine split between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from qrdistill.config import Config, RuntimeConfig
from qrdistill.students import Student, load_student

T = TypeVar("T")


class Team:
    """Students that work in parallel between two meeting points.

    On the CPU each student has a thread of its own with its share of the cores, so small models do not pay for synchronising
    every operation. Results come back in the order of the students.
    """

    def __init__(self, students: Sequence[Student], runtime: RuntimeConfig) -> None:
        self.students = tuple(students)
        cores = runtime.threads or len(os.sched_getaffinity(0))
        workers = min(len(self.students), cores)
        share = max(cores // workers, 1)
        torch.set_num_threads(share)
        self._pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,))

    def map(self, function: Callable[..., T], *columns: Iterable[Any]) -> list[T]:
        """``function(student, *row)`` for every student; the first error is raised after all are done."""
        futures = [self._pool.submit(function, *row) for row in zip(self.students, *columns, strict=True)]
        return [future.result() for future in futures]

    def share(self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]) -> list[T]:
        """``function(*job)`` for every job, each on whichever thread is free; results in the order of the jobs."""
        return [future.result() for future in [self._pool.submit(function, *job) for job in jobs]]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def load_team(config: Config, note: Callable[[str], None] | None = None) -> list[Student]:
    """Every student of a recipe, its adapter's initial weights drawn from the seed and its place in the team."""
    return [
        load_student(student, seed=config.seed * 1000 + index, device=config.runtime.device, note=note)
        for index, student in enumerate(config.students)
    ]
