"""What students of an arm are together, counted by hand; and what equal compute allows a plain fine-tuning."""

import pytest
import torch
from tests.recipes import toy_recipe
from tests.study.test_variants import team

from qrdistill.quality.filter import filter_paths
from qrdistill.store import Run
from qrdistill.study.together import team_figures
from qrdistill.study.variants import VARIANTS
from qrdistill.teacher.generate import generate_paths
from qrdistill.training import loop, probes, step
from qrdistill.training.compute import compute_factor


def answers(marks: str) -> dict[str, dict[str, str]]:
    verdicts = {"+": "match", "-": "differ", "?": "unparsed", "t": "timeout"}
    return {f"q{number}": {"verdict": verdicts[mark]} for number, mark in enumerate(marks)}


def test_oracle_agreement_and_error_overlap_are_those_of_the_table():
    #                                both    only a  only b  neither  (a late check: no question at all)
    found = team_figures([{"a": answers("+++++---?-t"), "b": answers("++---++--?+")}])
    assert found["oracle"] == pytest.approx(7 / 10)
    assert found["low"] < 0.7 < found["high"]
    assert found["agreement"] == pytest.approx(5 / 10)
    assert found["error_overlap"] == pytest.approx(3 / 8, abs=1e-4)


def test_twins_share_every_error_and_perfect_students_have_none():
    assert team_figures([{"a": answers("+--+"), "b": answers("+--+")}])["error_overlap"] == 1.0
    assert team_figures([{"a": answers("++"), "b": answers("++")}])["error_overlap"] is None


def test_seeds_weigh_alike():
    found = team_figures([{"a": answers("++++"), "b": answers("++++")}, {"a": answers("--"), "b": answers("--")}])
    assert found["oracle"] == 0.5


def test_the_compute_factor_counts_shared_paths_and_probes():
    config = toy_recipe(
        generate={"styles": ["cot", "tot", "fact", "vanilla"]},
        method__policy={"kind": "qrdistill", "budget": 2, "probe_steps": 4, "probe_questions": 1, "first_probe_questions": 1},
        method__peers={"weight": 0.2, "warmup_frac": 0.25, "max_paths": 1},
        training={"questions_per_step": 1},
    )
    # taught 2 paths a step; 1 shared path which a student reads only to meet there half the time, in 3/4 of the steps;
    # 4 paths of a probe every 4 steps at a third of the price
    assert compute_factor(config) == pytest.approx(1 + (1 * 0.5 * 0.75 + 4 / 4 / 3) / 2)
    alone = config.model_copy(update={"students": config.students[:1]})
    assert compute_factor(alone) == pytest.approx(1 + (4 / 4 / 3) / 2)
    plain = VARIANTS["random"].apply(config)
    assert compute_factor(plain) == 1.0
    policy = config.method.policy.model_copy(update={"first_probe_questions": 7})
    informed = alone.model_copy(update={"method": alone.method.model_copy(update={"policy": policy})})
    steps = config.questions.num_train * len(config.questions.tasks) * config.training.epochs
    assert compute_factor(informed) == pytest.approx(1 + (4 / 4 / 3 + 6 * 4 / 3 / steps) / 2)


def test_the_factor_is_about_what_a_training_reads(tmp_path, monkeypatch):
    reads = {"step": 0.0, "probe": 0.0, "taught": 0.0}
    real = step.read

    def counting(kind: str):
        def read(team, work, read_PS, row_tokens):
            reads[kind] += float(read_PS.sum()) * (1.0 if kind == "step" else 1 / 3)
            return real(team, work, read_PS, row_tokens)

        return read

    real_step = loop.joint_step

    def joint_step(*args):
        result = real_step(*args)
        reads["taught"] += float(result.routing.gate_PS.sum())
        return result

    run = Run(tmp_path / "run", toy_recipe(training={"questions_per_step": 2, "checkpoint_steps": 50, "epochs": 6}))
    generate_paths(run)
    filter_paths(run)
    monkeypatch.setattr(step, "read", counting("step"))
    monkeypatch.setattr(probes, "read", counting("probe"))
    monkeypatch.setattr(loop, "joint_step", joint_step)
    loop.train(run)
    measured = (reads["step"] + reads["probe"]) / reads["taught"]
    assert compute_factor(run.config) == pytest.approx(measured, rel=0.3)
    assert torch.tensor(measured) > 1.1


def test_equal_compute_is_plain_sft_with_more_tokens():
    base = team(2)
    variant = VARIANTS["equal_compute"]
    recipe = variant.apply(base)
    assert (recipe.method.policy.kind, recipe.method.peers.weight) == ("all", 0.0)
    assert variant.token_factor(base) == compute_factor(base) > 1
    assert all(other.token_factor(base) == 1 for name, other in VARIANTS.items() if name != "equal_compute")
