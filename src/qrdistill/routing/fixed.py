"""Policies that learn nothing: everything, random subsets, one style, a table, and the best paths by features.

Shapes: P paths, S students, F learning-state features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qrdistill.config.method import (
    AllPolicyConfig,
    ByStylePolicyConfig,
    RandomPolicyConfig,
    ScorePolicyConfig,
    SinglePathPolicyConfig,
)
from qrdistill.errors import ConfigError, suggest
from qrdistill.routing.features import FEATURES
from qrdistill.routing.policy import Evidence, Routing, Setting, StepView, budget_share, step_generator


class FixedPolicy:
    """What policies that do not learn have in common."""

    reads_all = False

    def __init__(self, config: Any, setting: Setting) -> None:
        self.config = config
        self.students = setting.students
        self.num_students = len(setting.students)
        self.seed = setting.seed

    def learn(self, view: StepView, evidence: Evidence) -> dict[str, float]:
        """Nothing to learn."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing to load."""


class AllPolicy(FixedPolicy):
    """Every path to every student."""

    config: AllPolicyConfig

    def route(self, view: StepView) -> Routing:
        """All gates open."""
        gate_PS = torch.ones(len(view.styles), self.num_students, dtype=torch.bool)
        return Routing(prob_PS=gate_PS.float(), gate_PS=gate_PS)


class RandomPolicy(FixedPolicy):
    """RS2: a fresh random subset of each question's paths whenever the question comes up, drawn per student."""

    config: RandomPolicyConfig

    def route(self, view: StepView) -> Routing:
        """Draw floor(budget) paths a question, and one more with the probability of the fraction."""
        return random_subset(view, self.config.budget, self.num_students, seed=self.seed)


class SinglePathPolicy(FixedPolicy):
    """Paths of one style only (symbolic chain-of-thought distillation, with style = cot)."""

    config: SinglePathPolicyConfig

    def route(self, view: StepView) -> Routing:
        """Open the gates of one style."""
        gate_P = torch.tensor([style == self.config.style for style in view.styles], dtype=torch.bool)
        gate_PS = gate_P[:, None].expand(-1, self.num_students)
        return Routing(prob_PS=gate_PS.float(), gate_PS=gate_PS)


class ByStylePolicy(FixedPolicy):
    """A fixed table of styles and students.

    Raises:
        ConfigError: the table names a student the team does not have.
    """

    config: ByStylePolicyConfig

    def __init__(self, config: ByStylePolicyConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        named = {name for names in config.table.values() for name in names}
        if unknown := sorted(named - set(setting.students)):
            hint = suggest(unknown[0], list(setting.students))
            raise ConfigError(
                f"method.policy.table: there is no student {unknown[0]!r}{hint}; students: {', '.join(self.students)}"
            )

    def route(self, view: StepView) -> Routing:
        """Open the gates the table names."""
        rows = [[name in self.config.table.get(style, ()) for name in self.students] for style in view.styles]
        gate_PS = torch.tensor(rows, dtype=torch.bool).reshape(len(view.styles), self.num_students)
        return Routing(prob_PS=gate_PS.float(), gate_PS=gate_PS)


class ScorePolicy(FixedPolicy):
    """Each question's top-budget paths by ``sum_f weight_f u_psf``: selection by features alone, the control of the router."""

    config: ScorePolicyConfig

    def route(self, view: StepView) -> Routing:
        """Take the best paths of each question per student; ties (and features not known yet) are drawn at random."""
        if view.progress < self.config.warmup_frac:
            return random_subset(view, self.config.budget, self.num_students, seed=self.seed)
        assert view.state_PSF is not None, "the policy 'score' needs learning-state features"
        weight_F = torch.tensor([self.config.weights.get(name, 0.0) for name in FEATURES])
        return random_subset(view, self.config.budget, self.num_students, seed=self.seed, score_PS=view.state_PSF @ weight_F)


def random_subset(view: StepView, budget: float, num_students: int, *, seed: int, score_PS: Tensor | None = None) -> Routing:
    """For each question and student floor(budget) paths, and one more with the probability of the fraction.

    Args:
        view: the step's paths.
        budget: paths per question and student.
        num_students: S.
        seed: of the draws.
        score_PS: take the highest scores (equal ones at random); without it any paths.
    """
    generator = step_generator(seed, "random", view.step)
    gate_PS = torch.zeros(len(view.styles), num_students, dtype=torch.bool)
    prob_PS = budget_share(view.question_of_P, budget)[:, None].expand(-1, num_students)
    for question in sorted(set(view.question_of_P.tolist())):
        rows = (view.question_of_P == question).nonzero().squeeze(1)
        share = min(budget, float(len(rows)))
        for student in range(num_students):
            extra = float(torch.rand((), generator=generator)) < share - int(share)
            order = torch.randperm(len(rows), generator=generator)
            if score_PS is not None:
                order = order[score_PS[rows[order], student].argsort(descending=True, stable=True)]
            gate_PS[rows[order[: int(share) + int(extra)]], student] = True
    return Routing(prob_PS=prob_PS if score_PS is None else gate_PS.float(), gate_PS=gate_PS)
