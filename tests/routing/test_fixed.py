"""Policies without a router: what they route and that they keep the budget."""

from pathlib import Path

import pytest
import torch

from qrdistill.config.method import ByStylePolicyConfig, FrozenPolicyConfig, ScorePolicyConfig
from qrdistill.errors import ConfigError, DataError
from qrdistill.routing.features import FEATURES
from qrdistill.routing.fixed import ByStylePolicy, ScorePolicy
from qrdistill.routing.policies import POLICIES
from qrdistill.routing.policy import Setting, StepView
from qrdistill.routing.replay import FrozenPolicy

TEAM = Setting(students=("a", "b"), seed=0)


def view(state_PSF: torch.Tensor | None = None, *, questions: int = 3, paths: int = 6, step: int = 9) -> StepView:
    total = questions * paths
    return StepView(
        step=step,
        progress=0.5,
        styles=tuple(f"s{row % paths}" for row in range(total)),
        question_of_P=torch.arange(questions).repeat_interleave(paths),
        question_PE=torch.zeros(total, 0),
        path_PE=torch.zeros(total, 0),
        state_PSF=state_PSF,
        path_ids=tuple(str(row) for row in range(total)),
    )


def test_score_takes_the_best_paths_of_each_question_per_student():
    state = torch.zeros(18, 2, len(FEATURES))
    state[:, 0, FEATURES.index("utility")] = torch.tensor([0.0, 1, 2, 3, 4, 5] * 3)
    state[:, 1, FEATURES.index("rank_surprisal")] = torch.tensor([5.0, 4, 3, 2, 1, 0] * 3)
    config = ScorePolicyConfig(budget=2, weights={"utility": 1.0, "rank_surprisal": -2.0})
    gate = ScorePolicy(config, TEAM).route(view(state)).gate_PS.reshape(3, 6, 2)
    assert gate[:, :, 0].tolist() == [[False] * 4 + [True] * 2] * 3
    assert gate[:, :, 1].tolist() == [[False] * 4 + [True] * 2] * 3


def test_score_draws_at_random_where_scores_say_nothing():
    policy = ScorePolicy(ScorePolicyConfig(budget=2.5), TEAM)
    flat = torch.zeros(600, 2, len(FEATURES))
    gates = [policy.route(view(flat, questions=100, step=step)).gate_PS for step in range(2)]
    assert not torch.equal(*gates)
    sizes = gates[0].reshape(100, 6, 2).sum(dim=1).float()
    assert set(sizes.unique().tolist()) == {2.0, 3.0}
    rates = gates[0].reshape(100, 6, 2).float().mean(dim=(0, 2))
    assert (rates - 2.5 / 6).abs().max() < 0.12, "no place in the question is favoured"


def test_by_style_follows_its_table_to_the_letter():
    policy = ByStylePolicy(ByStylePolicyConfig(table={"s0": ("a",), "s1": ("a", "b"), "s2": ()}), TEAM)
    gate = policy.route(view(questions=1)).gate_PS
    assert gate.tolist() == [[True, False], [True, True]] + [[False, False]] * 4


def test_by_style_names_a_student_that_does_not_exist():
    with pytest.raises(ConfigError, match=r"no student 'c'"):
        ByStylePolicy(ByStylePolicyConfig(table={"s0": ("c",)}), TEAM)


def test_replay_of_no_run_is_a_sentence(tmp_path: Path):
    with pytest.raises(DataError, match="there is no run at"):
        FrozenPolicy(FrozenPolicyConfig(run=str(tmp_path)), TEAM)


def test_every_policy_kind_of_a_recipe_has_its_class():
    from typing import get_args

    from qrdistill.config.method import FeatureName, PolicyConfig

    kinds = {model.model_fields["kind"].default for model in get_args(get_args(PolicyConfig)[0])}
    assert kinds == set(POLICIES)
    assert get_args(FeatureName) == FEATURES
