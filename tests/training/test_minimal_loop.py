"""The example on one page and the library's training are the same method."""

import importlib.util
import sys

import torch

from qrdistill.training.loop import train
from qrdistill.types import Route

PEERS = {"weight": 0.4, "warmup_frac": 0.2, "support": 16, "max_positions": 24}


def test_the_flat_loop_trains_the_same_students_on_the_same_routes(toy_run, root):
    spec = importlib.util.spec_from_file_location("minimal_loop", root / "examples" / "minimal_loop.py")
    example = importlib.util.module_from_spec(spec)
    sys.modules["minimal_loop"] = example
    spec.loader.exec_module(example)
    training = {"questions_per_step": 2, "checkpoint_steps": 50, "epochs": 2}
    run, again = (toy_run(training=training, method__peers=PEERS) for _ in range(2))
    before = [student.state_dict() for student in example.load_team(run.config)]
    library = train(run)
    flat, history = example.train_flat(again)
    routes = run.ledger.all(Route)
    steps = sorted({route.step for route in routes})
    assert len(history) == len(steps) == 8
    for step, gates in zip(steps, history, strict=True):
        assert {(route.path_id, route.student): route.is_routed for route in routes if route.step == step} == gates, step
    moved = 0.0
    for one, other, old in zip(library, flat, before, strict=True):
        for name, value in one.state_dict().items():
            assert torch.allclose(value, other.state_dict()[name], atol=2e-4), name
            moved = max(moved, float((value - old[name]).abs().max()))
    assert moved > 5e-3, "both have learned something"
