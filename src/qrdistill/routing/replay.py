"""Policies that replay another run: its routes one by one, or its trained router.

What is replayed is hashed into the policy's state, so a training never goes on from a checkpoint with other routes.

Shapes: P paths, S students.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from qrdistill.config.method import FrozenPolicyConfig, FrozenRouterPolicyConfig
from qrdistill.errors import DataError
from qrdistill.routing.fixed import FixedPolicy
from qrdistill.routing.learned import QRDistillPolicy
from qrdistill.routing.policy import Evidence, Routing, Setting, StepView
from qrdistill.store import Run
from qrdistill.types import Route


class FrozenPolicy(FixedPolicy):
    """Every (path, student) goes where it went in the same epoch of another run.

    An epoch the other run did not have replays its epochs in turn.

    Raises:
        DataError: the other run is not trained or lacks a student, or (on routing) did not have a path.
    """

    config: FrozenPolicyConfig

    def __init__(self, config: FrozenPolicyConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        routes = _trained(config.run).ledger.all(Route)
        known = {route.student for route in routes}
        if absent := sorted(set(setting.students) - known):
            raise DataError(
                f"{config.run} routed nothing to a student {absent[0]!r} (it has {', '.join(sorted(known))}); "
                "give the students of both runs the same names"
            )
        self._routes = {(route.epoch, route.path_id, route.student): (route.prob, route.is_routed) for route in routes}
        self._num_epochs = 1 + max(route.epoch for route in routes)

    def route(self, view: StepView) -> Routing:
        """Look the gates up."""
        rows = [[self._lookup(view.epoch, path, name) for name in self.students] for path in view.path_ids]
        shape = (len(view.path_ids), self.num_students)
        return Routing(
            prob_PS=torch.tensor([[prob for prob, _ in row] for row in rows]).reshape(shape),
            gate_PS=torch.tensor([[is_routed for _, is_routed in row] for row in rows], dtype=torch.bool).reshape(shape),
        )

    def _lookup(self, epoch: int, path_id: str, student: str) -> tuple[float, bool]:
        found = self._routes.get((epoch % self._num_epochs, path_id, student))
        if found is None:
            raise DataError(
                f"path {path_id} was not in the pool of {self.config.run}, so its route cannot be replayed; "
                "the two runs must share questions, teacher and filter"
            )
        return found

    def state(self) -> dict[str, Tensor]:
        """The hash of the replayed routes."""
        return {"digest": _digest(repr(sorted(self._routes.items())).encode())}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Refuse other routes than before."""
        _insist_on_same(self.state(), state, self.config.run)


class FrozenRouterPolicy(QRDistillPolicy):
    """The router of another run, used and not trained.

    Raises:
        DataError: the other run has no trained router, or one of another shape.
    """

    def __init__(self, config: FrozenRouterPolicyConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.run = config.run
        path = _trained(config.run).router
        if not path.is_file():
            raise DataError(
                f"{config.run} has no trained router (its policy does not learn); name a run of the policy 'qrdistill'"
            )
        saved = {name.removeprefix("router/"): value for name, value in load_file(path).items() if name.startswith("router/")}
        mine = self.router.state_dict()
        if {name: value.shape for name, value in saved.items()} != {name: value.shape for name, value in mine.items()}:
            raise DataError(
                f"the router of {config.run} has another shape; use its encoder, its hidden width and as many students here"
            )
        self.router.load_state_dict(saved)

    def route(self, view: StepView) -> Routing:
        """Fresh gates from the frozen probabilities; there is no warm-up."""
        fields = {name: getattr(view, name) for name in view.__slots__}
        return super().route(StepView(**fields | {"progress": 1.0}))

    def learn(self, view: StepView, evidence: Evidence) -> dict[str, float]:
        """Nothing is learned."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """The hash of the router."""
        weights = [value.numpy().tobytes() for _, value in sorted(self.router.state_dict().items())]
        return {"digest": _digest(b"".join(weights))}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Refuse another router than before."""
        _insist_on_same(self.state(), state, self.run)


def _trained(folder: str) -> Run:
    if not (Path(folder) / "config.yaml").is_file():
        raise DataError(f"method.policy.run: there is no run at {folder}; name the folder of a run whose training is done")
    run = Run(folder)
    if not run.is_done("train"):
        raise DataError(f"method.policy.run: the training of {folder} is not done; run it first")
    return run


def _digest(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(hashlib.sha256(data).digest()), dtype=torch.uint8)


def _insist_on_same(mine: dict[str, Tensor], saved: dict[str, Tensor], run: str) -> None:
    if not torch.equal(mine["digest"], saved["digest"]):
        raise DataError(f"{run} has been trained anew since this training began; delete this run's checkpoints to start over")
