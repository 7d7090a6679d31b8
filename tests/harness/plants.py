"""What can be made to go wrong in a rank of a training; each is called in the rank before it begins."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Any

import torch

from qrdistill.students import Student
from qrdistill.training import checkpoint, loop
from qrdistill.training.ranks import Ranks


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_step(rank: int, victim: int, step: int) -> None:
    """The victim dies between the forward passes of a step and its update."""
    _before(loop, "joint_step", lambda count: _die() if rank == victim and count == step else None)


def kill_in_save(rank: int, victim: int, number: int) -> None:
    """The victim dies when the files of a checkpoint are written and its name is not yet."""
    _before(checkpoint, "_sync", lambda count: _die() if rank == victim and count == number else None)


def kill_while_others_cannot_hear(rank: int, victim: int) -> None:
    """The victim dies while the others are in a C function that no exception interrupts, as in a collective on a GPU."""
    _before(loop, "joint_step", lambda count: _die() if rank == victim else ctypes.CDLL(None).sleep(100))


def forget_to_add_gradients(rank: int) -> None:
    """Every rank steps on its own gradients."""
    Ranks.add_gradients = lambda self, students, values=None: [dict(value) for value in values or [{}] * len(students)]  # type: ignore[method-assign]


def fail_on_one(rank: int, victim: int) -> None:
    """The victim runs into an error of its own."""

    def fail(count: int) -> None:
        if rank == victim and count == 2:
            raise OSError(28, "No space left on device", "/somewhere")

    _before(loop, "joint_step", fail)


def memory_runs_out(rank: int, victim: int) -> None:
    """The victim finds no memory for the first graph it would keep."""
    is_planted = rank == victim

    def refuse(count: int) -> None:
        nonlocal is_planted
        if is_planted and torch.is_grad_enabled():
            is_planted = False
            raise torch.OutOfMemoryError("planted")

    _before(Student, "hidden", refuse)


def _before(module: Any, name: str, act: Callable[[int], object]) -> None:
    real, count = getattr(module, name), 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        act(count)
        return real(*arguments, **options)

    setattr(module, name, call)


PLANTS: dict[str, Callable[..., None]] = {
    plant.__name__: plant
    for plant in (
        kill_at_step,
        kill_in_save,
        kill_while_others_cannot_hear,
        forget_to_add_gradients,
        fail_on_one,
        memory_runs_out,
    )
}
