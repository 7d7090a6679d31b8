"""Which kinds of teachers there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qrdistill.store import Run
from qrdistill.tasks.base import Task
from qrdistill.teacher.base import Teacher
from qrdistill.teacher.cassette import CassetteTeacher
from qrdistill.teacher.client.openai_compatible import OpenAICompatibleTeacher
from qrdistill.teacher.client.opening import open_teacher
from qrdistill.teacher.replay import ReplayTeacher
from qrdistill.teacher.worked_solution import WorkedSolutionTeacher

TeacherFactory = Callable[[Any, Run, Mapping[str, Task]], Teacher]
"""From a teacher's config, the run (opened for writing) and its tasks to the teacher."""

TEACHERS: dict[str, TeacherFactory] = {
    "replay": lambda config, run, tasks: ReplayTeacher(config),
    "worked_solution": lambda config, run, tasks: WorkedSolutionTeacher(
        config, tasks=tasks, seed=run.config.seed, num_spare=run.config.questions.num_train
    ),
    "cassette": lambda config, run, tasks: CassetteTeacher(config),
    "openai_compatible": lambda config, run, tasks: open_teacher(config, run),
}
"""Teacher kind -> factory. A new kind is a small file and one entry here."""


def make_teacher(config: Any, run: Run, tasks: Mapping[str, Task]) -> Teacher:
    """The teacher a recipe names."""
    return TEACHERS[config.kind](config, run, tasks)


def teacher_version(config: Any) -> str:
    """The version of the teacher a recipe names."""
    versions = {
        "replay": ReplayTeacher.version,
        "worked_solution": WorkedSolutionTeacher.version,
        "cassette": CassetteTeacher.version,
        "openai_compatible": OpenAICompatibleTeacher.version,
    }
    return versions[config.kind]
