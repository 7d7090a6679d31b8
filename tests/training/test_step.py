"""The joint step: every trainable weight is reached, weights of zero change nothing, order of students does not matter."""

import pytest
import torch

from qrdistill.store import Run
from qrdistill.training import forward
from qrdistill.training.step import joint_step
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer, embed, knobs, remaining_work


def first_steps(run: Run, num_steps: int = 1):
    """Run a few joint steps without the stage around them."""
    with run.owned():
        students = load_team(run.config)
        trainer = build_trainer(run, students, None)
        results = []
        for work in remaining_work(trainer):
            results.append(
                joint_step(trainer.team, trainer.optimizers, trainer.method, work, embed(trainer, work), knobs(trainer))
            )
            trainer.step += 1
            if trainer.step == num_steps:
                break
        trainer.team.close()
    return students, trainer, results


def weights(student) -> dict[str, torch.Tensor]:
    return student.state_dict()


def test_every_trainable_parameter_gets_a_finite_gradient_and_moves(toy_run):
    run = toy_run(questions__num_train=4)
    fresh = [student.state_dict() for student in load_team(run.config)]
    students, _, results = first_steps(run)
    assert results[0].routing.gate_PS.any(dim=0).all()
    for student, before in zip(students, fresh, strict=True):
        for name, parameter in student.trainable():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name
            assert not torch.equal(parameter.detach(), before[name]), name


def test_the_router_has_a_gradient_and_moves(toy_run):
    """In the released code of the paper's authors it has none."""
    run = toy_run()
    _, trainer, _ = first_steps(run, num_steps=3)
    for name, parameter in trainer.method.policy.router.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_peer_weight_zero_is_the_run_without_peers(toy_run):
    off = {"weight": 0.0}
    late = {"weight": 0.0, "support": 8, "max_positions": 4}
    one, _, _ = first_steps(toy_run(method__peers=off), num_steps=2)
    other, _, _ = first_steps(toy_run(method__peers=late), num_steps=2)
    for a, b in zip(one, other, strict=True):
        assert all(torch.equal(value, weights(b)[name]) for name, value in weights(a).items())


def test_peers_change_what_is_learned(toy_run):
    on = {"weight": 0.5, "warmup_frac": 0.0, "support": 16, "max_positions": 64}
    one, _, results = first_steps(toy_run(method__peers=on), num_steps=3)
    other, _, _ = first_steps(toy_run(method__peers={"weight": 0.0}), num_steps=3)
    assert any(result.metrics["loss/peer/llama"] + result.metrics["loss/peer/gemma3"] > 0 for result in results)
    assert any(not torch.equal(value, weights(other[0])[name]) for name, value in weights(one[0]).items())


def test_peer_gradients_from_label_gradients_are_those_through_the_logits(toy_run, monkeypatch):
    """Plain heads need no second pass over the vocabulary for the peer loss; with one, the gradients are the same."""
    students = [
        {"name": name, "source": {"kind": "tiny", "architecture": name, "seed": 7}, "adapter": {"kind": "lora", "rank": 4}}
        for name in ("llama", "qwen2")
    ]
    recipe = {
        "students": students,
        "method__peers": {"weight": 50.0, "warmup_frac": 0.0, "ramp": "constant", "support": 16, "max_positions": 64},
    }

    def gradients(num_steps: int = 2):
        team, _, results = first_steps(toy_run(**recipe), num_steps)
        assert all(results[-1].metrics[f"loss/peer/{name}"] > 0 for name in ("llama", "qwen2"))
        return {(student.name, name): weight.grad.clone() for student in team for name, weight in student.trainable()}

    direct = gradients()
    monkeypatch.setattr(forward, "is_plain_head", lambda student: False)
    through = gradients()
    monkeypatch.setattr(forward.PeerWork, "add_gradients", lambda *args: 1.0)
    without = gradients()
    for name, gradient in through.items():
        assert (direct[name] - gradient).norm() <= 1e-4 * gradient.norm(), name
        assert (without[name] - gradient).norm() > 20 * (direct[name] - gradient).norm(), name


def test_a_student_alone_has_no_peers_and_learns_the_same_as_in_a_team_without_them(toy_run):
    policy = {"kind": "all"}
    team = toy_run(method__policy=policy, method__peers={"weight": 0.0})
    alone = toy_run(method__policy=policy, method__peers={"weight": 0.0}, students=[team.config.students[0].model_dump()])
    pair, _, _ = first_steps(team, num_steps=2)
    single, _, _ = first_steps(alone, num_steps=2)
    for name, value in weights(pair[0]).items():
        assert torch.allclose(value, weights(single[0])[name], atol=1e-6), name


def test_policy_all_trains_the_plain_mean_over_all_label_tokens(toy_run):
    """Reference: each path alone in a row, token losses summed and divided once by their number."""
    run = toy_run(method__policy={"kind": "all"}, method__peers={"weight": 0.0})
    with run.owned():
        students = load_team(run.config)
        trainer = build_trainer(run, students, None)
        work = next(remaining_work(trainer))
        total, count = 0.0, 0
        for path in work.paths:
            tokens = path.tokens[0]
            ids = torch.tensor([[*tokens.prompt_ids, *tokens.response_ids]])
            with torch.no_grad():
                log_probs = students[0].model(input_ids=ids).logits[0].log_softmax(dim=-1)
            for offset, token in enumerate(tokens.response_ids):
                total -= path.quality * float(log_probs[len(tokens.prompt_ids) + offset - 1, token])
                count += path.quality
        result = joint_step(trainer.team, trainer.optimizers, trainer.method, work, embed(trainer, work), knobs(trainer))
        trainer.team.close()
    assert result.metrics["loss/sft/llama"] == pytest.approx(total / count, abs=1e-4)


def test_a_student_without_routed_paths_takes_no_step(toy_run):
    run = toy_run(method__policy={"kind": "single_path", "style": "nobody"}, method__peers={"weight": 0.0})
    before = [student.state_dict() for student in load_team(run.config)]
    students, _, results = first_steps(run, num_steps=2)
    for student, old in zip(students, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in weights(student).items())
    assert results[0].label_tokens == (0, 0)
