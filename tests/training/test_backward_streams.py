"""Backward streams in the pool: off by default, routed like any style, behind prompts of their own, and learned from."""

import json

import pytest
import torch
from tests.recipes import toy_recipe

from qrdistill.quality.filter import filter_paths
from qrdistill.store import Run
from qrdistill.study.variants import VARIANTS
from qrdistill.teacher.generate import generate_paths
from qrdistill.training.loop import train
from qrdistill.training.pool import load_pool, step_work
from qrdistill.training.reference import losses_per_token
from qrdistill.training.trainer import build_trainer

BACKWARD = ("backward_question", "backward_reasoning")
QUESTIONS = {
    "tasks": [{"kind": "reasoning", "name": "leg_counting"}, {"kind": "reasoning", "name": "chain_sum"}],
    "num_train": 8,
    "num_validation": 6,
    "num_test": 2,
}


def recipe(**changes: object):
    teacher = {"kind": "worked_solution", "wrong_rate": 0.0, "spurious_rate": 0.0}
    generate = {"teachers": [teacher], "styles": ["cot", "fact"]}
    training = {"questions_per_step": 1, "checkpoint_steps": 100, "epochs": 3}
    return toy_recipe(questions=QUESTIONS, generate=generate, training=training, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs without and with backward streams, trained on all paths."""
    base = recipe(method={"policy": {"kind": "all"}, "peers": {"weight": 0.0}})
    runs = {}
    for is_on, styles in ((False, ("cot", "fact")), (True, ("cot", "fact", *BACKWARD))):
        config = base.model_copy(update={"generate": base.generate.model_copy(update={"styles": styles})})
        run = Run(tmp_path_factory.mktemp("streams") / "run", config)
        generate_paths(run)
        filter_paths(run)
        runs[is_on] = (run, train(run))
    return runs


def test_the_variant_adds_the_two_streams_and_nothing_else_and_recipes_do_not_have_them():
    base = recipe()
    on = VARIANTS["backward_streams"].apply(base)
    assert not set(BACKWARD) & set(base.generate.styles)
    assert on.generate.styles == (*base.generate.styles, *BACKWARD)
    assert on.model_copy(update={"generate": base.generate}) == base


def test_streams_stand_in_the_pool_behind_their_own_prompts(trained):
    run, students = trained[True]
    found = dict.fromkeys(BACKWARD, 0)
    for question in load_pool(run, students)[0]:
        plain = {path.tokens[0].prompt_ids for path in question.paths if path.path.style not in BACKWARD}
        assert len(plain) == 1
        for path in question.paths:
            if path.path.style in BACKWARD:
                found[path.path.style] += 1
                assert path.tokens[0].prompt_ids not in plain
    assert min(found.values()) >= 3


def test_the_router_has_gates_for_streams(trained, tmp_path):
    run, _ = trained[True]
    config = recipe().model_copy(update={"generate": run.config.generate})
    routed = Run(tmp_path / "run", config)
    generate_paths(routed)
    filter_paths(routed)
    train(routed)
    lines = [json.loads(line) for line in routed.metrics.read_text().splitlines()]
    for style in BACKWARD:
        rates = [line[f"routing/rate/llama/{style}"] for line in lines if f"routing/rate/llama/{style}" in line]
        assert 0 < sum(rates) / len(rates) < 1


def test_students_taught_backward_solve_held_out_backward_questions_more_readily(trained):
    """Planted: questions that run backwards, never trained on. Their solutions are likelier after the streams than without."""
    with_run, _ = trained[True]
    losses = {}
    for is_on, (_, students) in trained.items():
        trainer = build_trainer(with_run, students, None)
        held_out = [path for question in trainer.probe_pool for path in question.paths if path.path.style == "backward_reasoning"]
        assert len(held_out) >= 3
        work = step_work(trainer.probe_pool)
        is_backward_P = torch.tensor([style == "backward_reasoning" for style in work.styles])
        losses[is_on] = losses_per_token(trainer.team, trainer.method, work)[is_backward_P].mean(dim=0)
        trainer.team.close()
    assert (losses[True] < losses[False] - 0.1).all(), losses  # nats per token
