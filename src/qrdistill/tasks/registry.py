"""Which kinds of tasks there are, and the tasks of one recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qrdistill.config import Config, QuestionsConfig
from qrdistill.tasks.base import Task
from qrdistill.tasks.jsonl import JsonlTask
from qrdistill.tasks.reasoning import FAMILIES, ReasoningTask

TASKS: dict[str, Callable[[Any, QuestionsConfig, int], Task]] = {
    "jsonl": JsonlTask,
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
