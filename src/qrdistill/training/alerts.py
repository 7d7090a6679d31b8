"""What a person should be told while a training runs."""

from __future__ import annotations

from torch import Tensor

from qrdistill.progress import Progress
from qrdistill.training.trainer import Trainer

IDLE_STEPS = 100
"""Steps in a row without a path after which a student is reported, once."""


def alert_idle(trainer: Trainer, gate_PS: Tensor, progress: Progress) -> dict[str, float]:
    """Count the steps each trained student goes without a routed path, and say so when they become many.

    Returns:
        "alarm/idle/NAME" at the step of the alert.
    """
    alarms = {}
    for index, (student, is_due) in enumerate(zip(trainer.team.students, trainer.is_due_S, strict=True)):
        is_idle = is_due and not bool(gate_PS[:, index].any())
        trainer.idle_steps[index] = trainer.idle_steps[index] + 1 if is_idle else 0
        if trainer.idle_steps[index] == IDLE_STEPS:
            alarms[f"alarm/idle/{student.name}"] = 1.0
            progress.note(
                f"student {student.name!r} was routed no path in {IDLE_STEPS} steps and learns nothing; "
                "look at method.policy (budget, style, table) and at the routes: qrdistill report RUN"
            )
    return alarms
