"""Which kinds of judges there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrdistill.quality.judge import Judge, JudgeFactory
from qrdistill.quality.paid_judge import PaidJudge
from qrdistill.quality.rubric import RUBRIC_VERSION
from qrdistill.quality.step_checker import StepChecker
from qrdistill.store import Run
from qrdistill.tasks.base import Task

JUDGES: dict[str, JudgeFactory] = {
    "step_checker": lambda config, run, tasks: StepChecker(),
    "llm": lambda config, run, tasks: PaidJudge(config, run),
    "none": lambda config, run, tasks: None,
}
"""Judge kind -> factory. A new kind is a small file and one entry here."""


def make_judge(config: Any, run: Run, tasks: Mapping[str, Task]) -> Judge | None:
    """The judge a recipe names."""
    return JUDGES[config.kind](config, run, tasks)


def judge_version(config: Any) -> str:
    """The version of the judge a recipe names."""
    versions = {"step_checker": StepChecker.name, "llm": RUBRIC_VERSION}
    return versions.get(config.kind, "")
