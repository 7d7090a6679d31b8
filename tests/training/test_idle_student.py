"""F4: a student without paths keeps its weights and its optimizer, nothing hangs, and one alert says so."""

import dataclasses

import pytest
import torch
from tests.training.test_resume import Cut, cut_after

from qrdistill.config.method import AllPolicyConfig, ByStylePolicyConfig
from qrdistill.progress import Silent
from qrdistill.routing.policies import make_policy
from qrdistill.routing.policy import Setting
from qrdistill.training import loop
from qrdistill.training.alerts import IDLE_STEPS, alert_idle
from qrdistill.training.step import joint_step
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer, embed, knobs, remaining_work


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def snapshot(student, optimizer) -> dict[str, torch.Tensor]:
    moments = {
        f"{name}/{key}": torch.as_tensor(value).clone()
        for name, weight in student.trainable()
        for key, value in optimizer.state[weight].items()
    }
    return student.state_dict() | moments


@pytest.mark.parametrize(
    "num_steps", [IDLE_STEPS + 20, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])]
)
def test_a_student_without_paths_stays_as_it_is(toy_run, num_steps):
    """It has learned before, so that moments could move its weights on; weight decay would shrink them."""
    run = toy_run(
        training={"questions_per_step": 1, "epochs": num_steps, "weight_decay": 0.1},
        method__policy={"kind": "all"},
        method__peers={"weight": 0.0},
    )
    trainer = build_trainer(run, load_team(run.config), None)
    setting = Setting(students=("llama", "gemma3"), seed=1, embed_dim=0)
    policies = {
        "all": make_policy(AllPolicyConfig(), setting),
        "one": make_policy(ByStylePolicyConfig(table={"cot": ("llama",)}), setting),
    }
    notes, alarms, before = Notes(), [], {}
    for work in remaining_work(trainer):
        method = dataclasses.replace(trainer.method, policy=policies["one" if trainer.step >= 2 else "all"])
        result = joint_step(trainer.team, trainer.optimizers, method, work, embed(trainer, work), knobs(trainer))
        trainer.step += 1
        alarms += alert_idle(trainer, result.routing.gate_PS, notes)
        if trainer.step == 2:
            before = snapshot(trainer.team.students[1], trainer.optimizers[1])
        if trainer.step == num_steps + 2:
            break
    trainer.team.close()
    after = snapshot(trainer.team.students[1], trainer.optimizers[1])
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert alarms == ["alarm/idle/gemma3"]
    assert len(notes.said) == 1
    assert f"student 'gemma3' was routed no path in {IDLE_STEPS} steps" in notes.said[0]


def test_the_alert_comes_once_over_a_cut_as_well(toy_run, monkeypatch):
    monkeypatch.setattr("qrdistill.training.alerts.IDLE_STEPS", 5)
    settings = {
        "training": {"questions_per_step": 2, "epochs": 3, "checkpoint_steps": 1},
        "method__policy": {"kind": "single_path", "style": "nobody"},
        "method__peers": {"weight": 0.0},
    }
    run, notes = toy_run(**settings), Notes()
    with monkeypatch.context() as patch:
        cut_after(patch, 3)
        with pytest.raises(Cut):
            loop.train(run, progress=notes)
    assert not [text for text in notes.said if "no path" in text]
    loop.train(run, progress=notes)
    assert len([text for text in notes.said if "no path" in text]) == 2  # one a student
