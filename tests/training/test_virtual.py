"""The reliability gate on real students: a true score is believed, its opposite and noise are not."""

import json

import torch
from tests.training.test_utilities import policy

from qrdistill.training.loop import train
from qrdistill.training.pool import step_work
from qrdistill.training.reference import losses_per_token
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer
from qrdistill.training.virtual import measure_kappa


def true_scores(trainer, work, validation) -> torch.Tensor:
    """Reference: a virtual step on each path alone, and the drop of the validation loss it makes."""
    team, method = trainer.team, trainer.method
    drops = []
    for row in range(len(work.paths)):
        only = torch.zeros(len(work.paths), len(team.students))
        only[row] = 1.0
        kept = [student.state_dict() for student in team.students]
        before = losses_per_token(team, method, validation).mean(dim=0)
        for index, student in enumerate(team.students):
            tokens = work.paths[row].tokens[index]
            ids = torch.tensor([[*tokens.prompt_ids, *tokens.response_ids]])
            logits = student.model(input_ids=ids).logits[0, len(tokens.prompt_ids) - 1 : -1]
            torch.nn.functional.cross_entropy(logits, torch.tensor(tokens.response_ids)).backward()
            with torch.no_grad():
                for _, weight in student.trainable():
                    weight -= student.config.learning_rate * weight.grad.sign()
                    weight.grad = None
        drops.append(before - losses_per_token(team, method, validation).mean(dim=0))
        for student, weights in zip(team.students, kept, strict=True):
            student.load_state_dict(weights)
    return torch.stack(drops)


def test_kappa_believes_a_true_score_and_neither_its_opposite_nor_noise(toy_run):
    run = toy_run(method__policy=policy("value"))
    trainer = build_trainer(run, load_team(run.config), None)
    work, validation = step_work(trainer.train_pool), step_work(trainer.probe_pool)
    truth = true_scores(trainer, work, validation)
    before = [student.state_dict() for student in trainer.team.students]

    def measured(score: torch.Tensor) -> torch.Tensor:
        return measure_kappa(trainer.team, trainer.method, work, validation, score, bins=5)

    assert (measured(truth) > 0.5).all()
    assert (measured(-truth) < 0).all()
    noise = [measured(torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed))) for seed in range(6)]
    assert torch.stack(noise).mean().abs() < 0.4
    for student, old in zip(trainer.team.students, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in student.state_dict().items())
    trainer.team.close()


def test_kappa_is_measured_once_an_epoch_logged_and_changes_the_gates(toy_run):
    training = {"questions_per_step": 2, "checkpoint_steps": 1, "epochs": 3}
    on = {"is_on": True, "bins": 3}
    run = toy_run(training=training, method__policy=policy("value", reliability=on, warmup_frac=0.0))
    train(run)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    steps = len(lines) // 3
    assert "routing/kappa/llama" not in lines[0], "nothing is measured before the first step"
    values = [line["routing/kappa/llama"] for line in lines[1:]]
    assert all(-1 <= value <= 1 for value in values)
    changes = [index for index in range(1, len(values)) if values[index] != values[index - 1]]
    assert set(changes) <= {steps - 1, 2 * steps - 1}
    assert changes
    off = toy_run(training=training, method__policy=policy("value", warmup_frac=0.0))
    train(off)
    assert not any("kappa" in key for key in json.loads(off.metrics.read_text().splitlines()[-1]))


def test_instruments_are_logged_every_step(toy_run):
    run = toy_run()
    train(run)
    last = json.loads(run.metrics.read_text().splitlines()[-1])
    assert {"routing/entropy_nats", "routing/load/llama", "peer/agreement", "peer/agreement_shuffled", "alarm/collapse"} <= set(
        last
    )
    rates = [value for key, value in last.items() if key.startswith("routing/rate/")]
    assert len(rates) >= 6
    assert all(0 <= rate <= 1 for rate in rates)
