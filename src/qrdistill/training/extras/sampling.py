"""Students answer training questions with drawn tokens, and every answer is checked like a teacher's.

Shapes: Q questions of the training pool, S students.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from qrdistill.config import OwnSamplesConfig, PassRateConfig, content_hash
from qrdistill.routing.policy import step_generator
from qrdistill.students import Decoded, Student, decode
from qrdistill.tasks import load_tasks
from qrdistill.tasks.base import Task
from qrdistill.types import Finish, Question, Verdict

if TYPE_CHECKING:
    from qrdistill.training.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One answer of a student to a training question, with what the answer check says."""

    question: int
    """Its place in the training pool."""
    student: int
    text: str
    finish: Finish
    verdict: Verdict
    extracted: str = ""
    start: int = -1
    end: int = -1
    is_strict: bool = False


def is_round(trainer: Trainer, config: OwnSamplesConfig | PassRateConfig) -> bool:
    """Whether students are asked before the coming step."""
    return trainer.step % (config.every_steps or trainer.steps_per_epoch) == 0


def sample_answers(trainer: Trainer, config: OwnSamplesConfig | PassRateConfig) -> list[Sample]:
    """Every student's answers to the questions of this round; draws are a function of seed, step, question and student.

    Rank 0 asks and checks (with sharded students all ranks ask, whose passes are in step); the others are told.
    """
    team, step = trainer.team, trainer.step
    order = torch.randperm(len(trainer.train_pool), generator=step_generator(trainer.config.seed, config.kind, step)).tolist()
    asked = sorted(order[: config.questions or len(order)])
    rows = [index for index in asked for _ in range(config.samples)]

    def answer(student: Student) -> list[Decoded]:
        identity = [trainer.config.seed, config.kind, step, student.name]
        return decode(
            student,
            [trainer.train_pool[index].prompt for index in rows],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seeds=[int(content_hash([*identity, number]), 16) % 2**62 for number in range(len(rows))],
        )

    answers = team.map(answer) if team.is_sharded or team.ranks.is_first else []
    tasks = load_tasks(trainer.config)
    found = [
        dataclasses.asdict(_checked(tasks, trainer.train_pool[index].question, index, student, reply))
        for student, replies in enumerate(answers)
        for index, reply in zip(rows, replies, strict=True)
    ]
    return [Sample(**each) for each in team.ranks.tell(found)]


def _checked(tasks: Mapping[str, Task], question: Question, index: int, student: int, reply: Decoded) -> Sample:
    grade = tasks[question.task].grade(question, reply.text)
    return Sample(
        question=index,
        student=student,
        text=reply.text,
        finish=reply.finish,
        verdict=grade.verdict,
        extracted=grade.extracted,
        start=grade.start,
        end=grade.end,
        is_strict=grade.is_strict,
    )
