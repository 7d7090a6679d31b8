"""A dry step: the largest steps of a training, really taken by real students, in a process of its own, on a copy of the run.

It measures what the memory planner predicts. The students it moves are thrown away.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qrdistill.errors import PausedError
from qrdistill.machine import peak_memory_bytes
from qrdistill.routing.policy import Evidence, Routing, StepView
from qrdistill.store import Run, adopt
from qrdistill.training.largest import Drawn, largest_steps, sizes
from qrdistill.training.pool import step_work
from qrdistill.training.step import joint_step
from qrdistill.training.team import load_team
from qrdistill.training.trainer import Trainer, build_trainer, embed, knobs

_ROUNDS = 2
"""The optimizer's moments are there from the second step on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryStep:
    """What the largest steps took."""

    peak_bytes: int
    """Peak resident memory of the process, or of the GPU."""
    step_s: float
    """Seconds of the slowest step."""


def dry_step(run: Run) -> DryStep:
    """Take the largest steps of a run whose filter is done.

    Raises:
        PausedError: the process ended without an answer: memory ran out.
    """
    command = [sys.executable, "-m", "qrdistill.training.dry", str(run.folder), json.dumps(run.config.model_dump(mode="json"))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise PausedError(
            f"the dry step of {run.folder} ended with {done.returncode} ({last}); memory is too small for this recipe"
        )
    return DryStep(**json.loads(done.stdout.splitlines()[-1]))


class _Planned:
    """Routes what it is told to."""

    reads_all = False

    def __init__(self, gate_PS: Tensor) -> None:
        self._gate_PS = gate_PS

    def route(self, view: StepView) -> Routing:
        return Routing(prob_PS=self._gate_PS.float(), gate_PS=self._gate_PS)

    def learn(self, view: StepView, evidence: Evidence) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing to load."""


def _take(trainer: Trainer, drawn: Drawn) -> float:
    """Seconds of one step in which students read what was drawn for them."""
    work = step_work([trainer.train_pool[index] for index in drawn.questions])
    method = dataclasses.replace(trainer.method, policy=_Planned(torch.tensor(drawn.is_read).T))
    peers = trainer.config.method.peers
    setting = dataclasses.replace(knobs(trainer), peer_weight=peers.weight if len(trainer.team.students) > 1 else 0.0)
    began = time.perf_counter()
    joint_step(trainer.team, trainer.optimizers, method, work, embed(trainer, work), setting)
    return time.perf_counter() - began


def _child(folder: str, tree: dict[str, Any]) -> DryStep:
    from qrdistill.config import validate

    with tempfile.TemporaryDirectory() as place:
        copy = Run(Path(place) / "run", validate(tree))
        with copy.owned():
            adopt(copy, Run(folder))
            trainer = build_trainer(copy, load_team(copy.config), None)
            steps = largest_steps([sizes(question) for question in trainer.train_pool], copy.config)
            unique = dict.fromkeys(drawn for drawn, _ in steps)
            slowest = max(_take(trainer, drawn) for _ in range(_ROUNDS) for drawn in unique)
            trainer.team.close()
            on_gpu = trainer.team.students[0].device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else peak_memory_bytes()
    return DryStep(peak_bytes=peak, step_s=round(slowest, 3))


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(_child(sys.argv[1], json.loads(sys.argv[2])))))
