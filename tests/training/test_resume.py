"""A training that is cut anywhere goes on as if nothing had happened."""

import json

import pytest
import torch

from qrdistill.errors import CorruptRunError, DataError
from qrdistill.store import Run
from qrdistill.training import loop
from qrdistill.training.pool import load_pool
from qrdistill.training.team import load_team
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


def whole_and_resumed(toy_run, monkeypatch: pytest.MonkeyPatch, *, steps: int, **settings) -> tuple[tuple, tuple]:
    """Outcomes of a training left alone and of the same one cut after some steps and gone on with."""
    whole, broken = toy_run(**settings), toy_run(**settings)
    loop.train(whole)
    with monkeypatch.context() as patch:
        cut_after(patch, steps)
        with pytest.raises(Cut):
            loop.train(broken)
    loop.train(Run(broken.folder))
    return outcome(whole), outcome(Run(broken.folder))


@pytest.mark.parametrize("checkpoint_steps", [1, 3])
def test_resume_is_bit_identical(toy_run, monkeypatch, checkpoint_steps):
    training = {"questions_per_step": 2, "checkpoint_steps": checkpoint_steps, "epochs": 2}
    left, right = whole_and_resumed(toy_run, monkeypatch, steps=5, training=training)
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


def student_paths(run: Run, name: str) -> list[tuple[int, ...]]:
    students = load_team(run.config)
    index = [student.name for student in students].index(name)
    return [path.tokens[index].response_ids for question in load_pool(run, students)[0] for path in question.paths]


BUDGET = {"questions_per_step": 2, "checkpoint_steps": 1, "max_label_tokens": 900}


@pytest.mark.parametrize("policy", [{"kind": "all"}, {"kind": "random", "budget": 2}, {"kind": "single_path", "style": "cot"}])
def test_arms_train_on_the_same_number_of_label_tokens_whatever_they_route(toy_run, policy):
    run = toy_run(training=BUDGET, method={"policy": policy, "peers": {"weight": 0.0}})
    loop.train(run)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for name in ("llama", "gemma3"):
        used = [0] + [line[f"train/label_tokens/{name}"] for line in lines]
        first_full = next(index for index, tokens in enumerate(used) if tokens >= BUDGET["max_label_tokens"])
        assert used[first_full - 1] < BUDGET["max_label_tokens"]  # never more than the step that fills the budget
        assert set(used[first_full:]) == {used[first_full]}  # and nothing after it
        assert run.summary("train")["label_tokens"][name] == used[-1]
        longest = max(len(tokens) for tokens in (student_paths(run, name)))
        assert BUDGET["max_label_tokens"] <= used[-1] < BUDGET["max_label_tokens"] + longest


def test_a_student_whose_budget_is_used_up_keeps_its_weights(toy_run, monkeypatch):
    """The two tokenizers give the same text other lengths, so one student ends first; stale gradients would move it on."""
    run = toy_run(training=BUDGET, method={"policy": {"kind": "all"}, "peers": {"weight": 0.0}})
    seen = []
    real = loop.record

    def record(trainer, *args):
        real(trainer, *args)
        weights = [{name: value.detach().clone() for name, value in student.trainable()} for student in trainer.team.students]
        seen.append((list(trainer.label_tokens), weights))

    monkeypatch.setattr(loop, "record", record)
    loop.train(run)
    for index in (0, 1):
        closed = [weights[index] for tokens, weights in seen if tokens[index] >= BUDGET["max_label_tokens"]]
        for weights in closed:
            assert all(torch.equal(closed[0][name], weights[name]) for name in weights)
    assert seen[-1][0][0] != seen[-1][0][1]


def test_resume_within_a_token_budget_is_bit_identical(toy_run, monkeypatch):
    whole, broken = toy_run(training=BUDGET), toy_run(training=BUDGET)
    loop.train(whole)
    with monkeypatch.context() as patch:
        cut_after(patch, 2)
        with pytest.raises(Cut):
            loop.train(broken)
    loop.train(Run(broken.folder))
    assert outcome(whole)[0] == outcome(Run(broken.folder))[0]


def test_a_budget_nobody_can_reach_is_refused(toy_run):
    run = toy_run(training=BUDGET, method={"policy": {"kind": "single_path", "style": "no_such"}, "peers": {"weight": 0.0}})
    with pytest.raises(DataError, match="never reached"):
        loop.train(run)


def test_a_smaller_share_of_the_questions_is_part_of_a_larger_one(toy_run):
    asked = []
    for share in (0.25, 0.5, 1.0):
        run = toy_run(training={"questions_per_step": 2, "question_frac": share})
        asked.append({question.question.id for question in load_pool(run, load_team(run.config))[0]})
    assert asked[0] < asked[1] < asked[2]
    assert len(asked[0]) * 4 == len(asked[1]) * 2 == len(asked[2])
