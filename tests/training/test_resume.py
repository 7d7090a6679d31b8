"""A training that is cut anywhere goes on as if nothing had happened."""

import json

import pytest
import torch

from qrdistill.errors import CorruptRunError
from qrdistill.store import Run
from qrdistill.training import loop
from qrdistill.types import Route


class Cut(Exception):
    """Stands for a kill between two steps."""


def cut_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    real = loop.joint_step
    done = 0

    def step(*args, **kwargs):
        nonlocal done
        if done == steps:
            raise Cut
        done += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "joint_step", step)


def outcome(run: Run) -> tuple[dict[str, bytes], list[Route], list[dict]]:
    files = {str(path.relative_to(run.folder)): path.read_bytes() for path in (run.folder / "students").rglob("*.safetensors")}
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for line in lines:
        line.pop("train/seconds_s")
    return files, run.ledger.all(Route), lines


@pytest.mark.parametrize("checkpoint_steps", [1, 3])
def test_resume_is_bit_identical(toy_run, monkeypatch, checkpoint_steps):
    training = {"questions_per_step": 2, "checkpoint_steps": checkpoint_steps, "epochs": 2}
    whole = toy_run(training=training)
    loop.train(whole)
    broken = toy_run(training=training)
    with monkeypatch.context() as patch:
        cut_after(patch, 5)
        with pytest.raises(Cut):
            loop.train(broken)
    loop.train(Run(broken.folder))
    left, right = outcome(whole), outcome(Run(broken.folder))
    assert left[0].keys() == right[0].keys()
    assert left[0] == right[0]
    assert repr(left[1]) == repr(right[1])
    assert left[2] == right[2]


def test_a_damaged_checkpoint_is_named(toy_run, monkeypatch):
    run = toy_run()
    with monkeypatch.context() as patch:
        cut_after(patch, 2)
        with pytest.raises(Cut):
            loop.train(run)
    file = next(run.checkpoints.glob("step-*/students/llama.safetensors"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    newest = sorted(run.checkpoints.glob("step-*/students/llama.safetensors"))[-1]
    newest.write_bytes(bytes(data))
    with pytest.raises(CorruptRunError, match=r"llama\.safetensors is damaged"):
        loop.train(Run(run.folder))


def test_trained_students_come_back_from_the_run(toy_run):
    run = toy_run()
    trained = loop.train(run)
    again = loop.train(Run(run.folder))
    for one, other in zip(trained, again, strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_routes_cover_every_path_and_student_once_a_step(toy_run):
    run = toy_run()
    loop.train(run)
    routes = run.ledger.all(Route)
    assert len({(route.step, route.path_id, route.student) for route in routes}) == len(routes)
    assert {route.student for route in routes} == {"llama", "gemma3"}
    assert all(0 <= route.prob <= 1 for route in routes)
