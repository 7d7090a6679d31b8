"""What a recipe would do: questions, paths, calls, students, sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill.config import Config
from qrdistill.errors import PausedError, QRDistillError, StorageError
from qrdistill.machine import free_disk_bytes
from qrdistill.planning.forecast import Forecast, bounds
from qrdistill.planning.problems import problems
from qrdistill.planning.sizes import disk_bytes, num_weights, source_name, trained_weights

if TYPE_CHECKING:
    from qrdistill.planning.room import Room
    from qrdistill.store import Run

_SAMPLED_PROMPTS = 4
"""Prompts whose length stands for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentPlan:
    """One student: where it comes from and how many weights it has (0: not known before it is downloaded)."""

    name: str
    source: str
    num_weights: int
    adapter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a recipe would do. `problems` names everything that stands in its way, one sentence each.

    `memory_bytes` is the peak of training (see `room`), or without one a lower bound: weights, gradients and optimizer states.
    `disk_bytes` is adapters, checkpoints and the cache of converted weights.
    """

    name: str
    seed: int
    questions: dict[str, dict[str, int]]
    num_paths: int
    calls: dict[str, int]
    students: tuple[StudentPlan, ...]
    policy: str
    memory_bytes: int
    disk_bytes: int
    problems: tuple[str, ...]
    exit_code: int
    forecasts: tuple[Forecast, ...] = ()
    """Calls, tokens and money of each paid teacher and judge and, last, of all together: bounds, unless a pilot measured them."""
    room: Room | None = None
    """The memory planner's prediction; absent while something is missing that it needs."""


def plan(config: Config, *, run: Run | None = None, folder: str | Path = ".") -> Plan:
    """Lay out what a recipe would do. Writes nothing, calls nobody and loads no model.

    Args:
        config: the recipe.
        run: a run of the recipe, whose kept paths tell how long steps are.
        folder: where runs are kept.
    """
    questions = config.questions
    splits = {"train": questions.num_train, "validation": questions.num_validation, "test": questions.num_test}
    num_asked = (questions.num_train + questions.num_validation) * len(questions.tasks)
    per_teacher = num_asked * len(config.generate.styles) * config.generate.samples
    errors = problems(config)
    room = None if errors else _room(config, run)
    errors += _too_little(config, room, run.folder if run is not None else Path(folder))
    return Plan(
        name=config.name,
        seed=config.seed,
        questions={task.name: dict(splits) for task in questions.tasks},
        num_paths=per_teacher * len(config.generate.teachers),
        calls={teacher.name: per_teacher for teacher in config.generate.teachers},
        students=tuple(
            StudentPlan(
                name=student.name, source=source_name(student), num_weights=num_weights(student), adapter=student.adapter.kind
            )
            for student in config.students
        ),
        policy=config.method.policy.kind,
        memory_bytes=room.memory.peaks[0] if room else sum(4 * num_weights(s) + 12 * trained_weights(s) for s in config.students),
        disk_bytes=disk_bytes(config),
        problems=tuple(str(error) for error in errors),
        exit_code=errors[0].exit_code if errors else 0,
        forecasts=() if errors else _forecasts(config),
        room=room,
    )


def _room(config: Config, run: Run | None) -> Room | None:
    try:
        from qrdistill.planning.room import room_for
    except ImportError:  # without the training packages there is nothing to count on
        return None
    return room_for(config, run)


def _too_little(config: Config, room: Room | None, folder: Path) -> list[QRDistillError]:
    found: list[QRDistillError] = []
    if room is not None and room.problem:
        found.append(PausedError(room.problem))
    needed, free = disk_bytes(config), free_disk_bytes(folder)
    if needed > free:
        found.append(
            StorageError(
                f"{folder} has {free / 1e9:.1f} GB free, and students, checkpoints and converted weights take "
                f"{needed / 1e9:.1f} GB; free disk space, keep runs elsewhere (-o), or lower training.keep_checkpoints"
            )
        )
    return found


def _forecasts(config: Config) -> tuple[Forecast, ...]:
    from qrdistill.tasks import load_tasks
    from qrdistill.teacher.client.checks import paid_endpoints

    if not paid_endpoints(config):
        return ()
    tasks = load_tasks(config)
    each = -(-_SAMPLED_PROMPTS // len(tasks))
    drawn = [task.questions("train", min(each, config.questions.num_train)) for task in tasks.values()]
    return bounds(config, [question for questions in drawn for question in questions])
