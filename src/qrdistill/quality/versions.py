"""Versions of the tasks, teachers and judge a config names, for the fingerprints of its stages."""

from __future__ import annotations

from qrdistill.config import Config
from qrdistill.quality.registry import judge_version
from qrdistill.tasks.registry import task_version
from qrdistill.teacher.registry import teacher_version


def component_versions(config: Config) -> dict[str, dict[str, str]]:
    """Stage -> name -> version. The grader's version is not among them: verdicts carry it and `regrade` renews them."""
    return {
        "generate": {
            **{f"task/{task.name}": task_version(task) for task in config.questions.tasks},
            **{f"teacher/{teacher.name}": teacher_version(teacher) for teacher in config.generate.teachers},
        },
        "filter": {"judge": judge_version(config.filter.judge)},
    }
