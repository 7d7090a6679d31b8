"""The students of a run side by side: one thread each, shared threads of the machine split between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

import torch

from qrdistill.config import Config, RuntimeConfig, content_hash
from qrdistill.students import Student, load_student
from qrdistill.students.activations import choose_activations
from qrdistill.students.load import Bases
from qrdistill.students.pieces import is_piece
from qrdistill.training.graphs import ROW_TOKENS, GraphLimits
from qrdistill.training.launch import ranks_here
from qrdistill.training.ranks import ALONE, Ranks

T = TypeVar("T")


class Team:
    """Students that work in parallel between two meeting points.

    On the CPU each student has a thread of its own with its share of the cores, so small models do not pay for synchronising
    every operation. Results come back in the order of the students. With several ranks every rank holds the whole team.
    """

    def __init__(self, students: Sequence[Student], runtime: RuntimeConfig, ranks: Ranks = ALONE) -> None:
        self.students = tuple(students)
        self.ranks = ranks
        for student in self.students:
            choose_activations(student, runtime.activations)
        cores = runtime.threads or max(len(os.sched_getaffinity(0)) // ranks_here(), 1)
        # Passes of a sharded student are collectives: one student after the other, in the same order on every rank.
        self.is_sharded = any(is_piece(weight) for student in students for weight in student.model.parameters())
        workers = 1 if self.is_sharded else min(len(self.students), cores)
        names, row_tokens = [student.name for student in self.students], ROW_TOKENS[self.students[0].device.type]
        self.limits = GraphLimits(names, row_tokens, is_fixed=self.is_sharded)
        share = max(cores // workers, 1)
        torch.set_num_threads(share)
        self._pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,))

    def map(self, function: Callable[..., T], *columns: Iterable[Any]) -> list[T]:
        """``function(student, *row)`` for every student; the first error is raised after all are done."""
        futures = [self._pool.submit(function, *row) for row in zip(self.students, *columns, strict=True)]
        wait(futures)
        return [future.result() for future in futures]

    def share(self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]) -> list[T]:
        """``function(*job)`` for every job, each on whichever thread is free; results in the order of the jobs."""
        futures = [self._pool.submit(function, *job) for job in jobs]
        wait(futures)
        return [future.result() for future in futures]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def load_team(config: Config, note: Callable[[str], None] | None = None, ranks: Ranks = ALONE) -> list[Student]:
    """Every student of a recipe, its adapter's initial weights drawn from the seed and its place in the team.

    Students that adapt the same base share its weights, unless those are in pieces.

    Args:
        config: the recipe.
        note: receives one-off messages.
        ranks: who loads them; where the recipe shards, each gets its pieces.
    """
    device, is_sharded = config.runtime.device, config.runtime.sharding == "fsdp" and ranks.size > 1
    sources, bases = [content_hash(student.source) for student in config.students], Bases()
    students = []
    for index, (student, source) in enumerate(zip(config.students, sources, strict=True)):
        students.append(
            load_student(
                student,
                seed=config.seed * 1000 + index,
                device=device,
                note=note,
                place=partial(ranks.shard, student=student.name) if is_sharded else None,
                bases=bases if sources.count(source) > 1 and not is_sharded else None,
            )
        )
        if is_sharded:
            students[-1].keep_up = ranks.most
    return students
