"""One to eight students of every kind in one loop, and a frozen one that only teaches."""

import json

import pytest
import torch
from tests.training.test_step import first_steps

from qrdistill.training import loop
from qrdistill.training.team import load_team
from qrdistill.types import Route

KINDS = [
    {"adapter": {"kind": "full"}},
    {"adapter": {"kind": "lora", "rank": 4}},
    {"adapter": {"kind": "lora", "rank": 2, "target_modules": "all-linear"}, "template": "plain", "max_length": 2048},
    {"adapter": {"kind": "frozen"}},
]
ARCHITECTURES = ("llama", "gemma3", "gpt_neox", "qwen2")


def team(size: int) -> list[dict]:
    """Architectures and adapters take turns, at different rhythms, so that all eight differ; each has its own learning rate."""
    return [
        {
            "name": f"s{index}",
            "source": {"kind": "tiny", "architecture": ARCHITECTURES[index % 4], "seed": index // 4},
            "learning_rate": 1e-3 * (index + 1),
            **KINDS[(index + index // 4) % 4],
        }
        for index in range(size)
    ]


@pytest.mark.parametrize("size", range(1, 9))
def test_every_student_of_a_team_learns_what_its_kind_allows(toy_run, size):
    run = toy_run(students=team(size))
    fresh = [student.state_dict() for student in load_team(run.config)]
    whole = [{name: weight.clone() for name, weight in s.model.named_parameters()} for s in load_team(run.config)]
    trained = loop.train(run)
    assert [student.name for student in trained] == [f"s{index}" for index in range(size)]
    for student, before, all_before in zip(trained, fresh, whole, strict=True):
        assert all(not torch.equal(value, before[name]) for name, value in student.state_dict().items() if value.numel() > 1)
        frozen = [name for name, weight in student.model.named_parameters() if not weight.requires_grad]
        now = dict(student.model.named_parameters())
        assert all(torch.equal(now[name], all_before[name]) for name in frozen)
        assert bool(frozen) == (student.config.adapter.kind != "full")
    routes = run.ledger.all(Route)
    assert {route.student for route in routes} == {f"s{index}" for index in range(size)}
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for student in trained:
        rates = [line[f"optim/lr/{student.name}"] for line in lines]
        assert max(rates) == (pytest.approx(student.config.learning_rate) if student.trainable() else 0.0)


def test_a_frozen_peer_teaches_and_stays_as_it_is(toy_run):
    """With another frozen peer the trained student learns something else: what it is taught comes from there."""

    def learned(seed: int, weight: float):
        members = [
            {"name": "pupil", "source": {"kind": "tiny"}, "adapter": {"kind": "full"}, "learning_rate": 3e-3},
            {
                "name": "teacher",
                "source": {"kind": "tiny", "architecture": "gemma3", "seed": seed},
                "adapter": {"kind": "frozen"},
            },
        ]
        peers = {"weight": weight, "warmup_frac": 0.0, "ramp": "constant", "support": 16, "max_positions": 64}
        run = toy_run(students=members, method__peers=peers, method__policy={"kind": "all"})
        students, _, results = first_steps(run, num_steps=2)
        fresh = load_team(run.config)[1].model.state_dict()
        assert all(torch.equal(value, fresh[name]) for name, value in students[1].model.state_dict().items())
        assert results[-1].metrics["loss/sft/teacher"] == results[-1].metrics["loss/peer/teacher"] == 0.0
        return students[0].state_dict(), results

    one, results = learned(1, 0.5)
    assert any(result.metrics["loss/peer/pupil"] > 0 for result in results)
    other, alone, same = learned(2, 0.5)[0], learned(1, 0.0)[0], learned(1, 0.5)[0]
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    for different in (other, alone):
        assert any(not torch.equal(value, different[name]) for name, value in one.items())
