"""Which kinds of tasks there are, and the tasks of one recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qrdistill.config import Config, QuestionsConfig
from qrdistill.errors import ConfigError
from qrdistill.tasks.base import Task
from qrdistill.tasks.datasets import DatasetTask
from qrdistill.tasks.jsonl import JsonlTask
from qrdistill.tasks.reasoning import FAMILIES, ReasoningTask

TASKS: dict[str, Callable[[Any, QuestionsConfig, int], Task]] = {
    "jsonl": JsonlTask,
    "hub": JsonlTask,
    "dataset": DatasetTask,
    "reasoning": lambda config, questions, seed: ReasoningTask.from_config(config, seed, FAMILIES),
}
"""Task kind -> factory(task config, questions config, seed). A new kind is a small file and one entry here."""


def load_tasks(config: Config) -> dict[str, Task]:
    """The tasks of a recipe by name.

    Raises:
        ConfigError: a task or one of its parameters is not known.
        DataError: a question file cannot be used.
    """
    return {task.name: TASKS[task.kind](task, config.questions, config.seed) for task in config.questions.tasks}


_VERSIONS: dict[str, Callable[[Any], str]] = {
    "jsonl": JsonlTask.version_of,
    "hub": JsonlTask.version_of,
    "dataset": DatasetTask.version_of,
    "reasoning": lambda config: ReasoningTask.version_of(config, FAMILIES),
}


def task_version(config: Any) -> str:
    """The version of the task a recipe names ("" when there is no such task)."""
    try:
        return _VERSIONS[config.kind](config)
    except ConfigError:
        return ""
