"""Accuracy on validation questions while training goes on, and which checkpoint it makes the best one."""

from __future__ import annotations

import torch

from qrdistill.routing.policy import step_generator
from qrdistill.students import Student, decode
from qrdistill.tasks import load_tasks
from qrdistill.training.trainer import Trainer


def is_due(trainer: Trainer) -> bool:
    """Whether students are validated after this step."""
    every = trainer.config.training.validation.every_steps
    return bool(every and trainer.probe_pool) and (trainer.step % every == 0 or trainer.is_over)


def validate(trainer: Trainer) -> dict[str, float]:
    """Share of the validation questions that each student answers right, greedily and behind the plain prompt.

    Returns:
        "validation/accuracy/NAME" of every student, and "validation/accuracy", the mean over those that are trained; what rank 0
        found, since a verdict may run out of time on one rank and not on another.
    """
    settings, team = trainer.config.training.validation, trainer.team
    order = torch.randperm(len(trainer.probe_pool), generator=step_generator(trainer.config.seed, "validation", 0)).tolist()
    chosen = [trainer.probe_pool[index] for index in order[: settings.num_questions]]
    tasks = load_tasks(trainer.config)

    def answer(student: Student) -> float:
        answers = decode(student, [each.prompt for each in chosen], max_new_tokens=settings.max_new_tokens)
        pairs = zip(chosen, answers, strict=True)
        verdicts = [tasks[each.question.task].grade(each.question, reply.text).verdict for each, reply in pairs]
        return verdicts.count("match") / len(chosen)

    accuracy_S = team.map(answer)
    trained = [accuracy for accuracy, optimizer in zip(accuracy_S, trainer.optimizers, strict=True) if optimizer is not None]
    found = {f"validation/accuracy/{student.name}": value for student, value in zip(team.students, accuracy_S, strict=True)}
    return team.ranks.tell({**found, "validation/accuracy": sum(trained) / max(len(trained), 1)})


def is_best(trainer: Trainer, accuracy: float) -> bool:
    """Whether no earlier step was as good; remembers the step if so."""
    if accuracy <= trainer.best_accuracy:
        return False
    trainer.best_accuracy, trainer.best_step = accuracy, trainer.step
    return True
