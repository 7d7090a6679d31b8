"""Adapters on one base: its weights are in memory once, everything else is each student's own, and all learn the same."""

import pytest
import torch
from tests.training.test_step import first_steps

from qrdistill.students.phantom import phantom
from qrdistill.training import loop, team
from qrdistill.training.footprint import Reading
from qrdistill.training.memory import plan_memory
from qrdistill.training.team import load_team

BASE = {"kind": "tiny", "architecture": "gemma3", "seed": 3}
STUDENTS = [
    {"name": "wide", "source": BASE, "adapter": {"kind": "lora", "rank": 8}, "learning_rate": 3e-3},
    {"name": "narrow", "source": BASE, "adapter": {"kind": "lora", "rank": 2}, "learning_rate": 1e-3},
    {"name": "frozen", "source": BASE, "adapter": {"kind": "frozen"}},
    {"name": "whole", "source": BASE, "adapter": {"kind": "full"}, "learning_rate": 1e-3},
]


def base_weights(student) -> dict[str, torch.Tensor]:
    found = student.causal_lm.named_parameters(remove_duplicate=False)
    return {name.replace(".base_layer", ""): weight for name, weight in found if ".lora_" not in name}


def test_the_base_is_in_memory_once(toy_run):
    wide, narrow, frozen, whole = load_team(toy_run(students=STUDENTS).config)
    mine, theirs = base_weights(wide), base_weights(narrow)
    assert mine.keys() == theirs.keys()
    for name, weight in mine.items():
        assert weight.data_ptr() == theirs[name].data_ptr() == base_weights(frozen)[name].data_ptr(), name
        assert weight.data_ptr() != base_weights(whole)[name].data_ptr(), f"{name}: trained by its own student"
    modules = [set(map(id, student.model.modules())) for student in (wide, narrow, frozen)]
    assert not modules[0] & modules[1]
    assert not modules[1] & modules[2]
    assert wide.tokenizer is not narrow.tokenizer
    assert {wide.base_identity} == {narrow.base_identity, frozen.base_identity, whole.base_identity}


def test_another_source_or_dtype_is_another_base(toy_run):
    others = [
        STUDENTS[0],
        {**STUDENTS[1], "source": {**BASE, "seed": 4}},
        {**STUDENTS[1], "name": "half", "dtype": "bfloat16"},
    ]
    places = [base_weights(student) for student in load_team(toy_run(students=others).config)]
    for name in places[0]:
        assert len({weights[name].data_ptr() for weights in places}) == 3


def test_gradients_are_separate(toy_run):
    """At the second step: until then the adapters' zeros stop the gradient of the other half."""
    students, _, _ = first_steps(toy_run(students=STUDENTS[:2], method__policy={"kind": "all"}), num_steps=2)
    for student in students:
        for name, weight in student.trainable():
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name
        assert all(weight.grad is None for weight in base_weights(student).values())
    (one,), (other,) = ([w for n, w in student.trainable() if "layers.0.self_attn.q_proj.lora_B" in n] for student in students)
    assert one.shape != other.shape


@pytest.mark.parametrize("members", [STUDENTS[:2], STUDENTS])
def test_students_learn_what_they_learn_on_bases_of_their_own(toy_run, monkeypatch, members):
    shared = loop.train(toy_run(students=members))
    with monkeypatch.context() as patch:
        patch.setattr(team, "Bases", lambda: None)
        separate = loop.train(toy_run(students=members))
    places = [{base_weights(student)["model.norm.weight"].data_ptr() for student in group} for group in (shared, separate)]
    assert len(places[0]) < len(places[1]) == len(members)
    for one, other in zip(shared, separate, strict=True):
        for name, weight in one.state_dict().items():
            assert torch.equal(weight, other.state_dict()[name]), f"{one.name}: {name}"


def test_the_planner_counts_the_base_once(toy_run):
    config = toy_run(students=STUDENTS).config
    phantoms = [phantom(student, device=torch.device("cpu")) for student in config.students]
    plan = plan_memory(config, phantoms, [Reading((5,), ((6,),))] * 4, device=torch.device("cpu"))
    assert [one.weights > 0 for one in plan.students] == [True, False, False, True]
