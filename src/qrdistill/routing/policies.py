"""Policies: which paths go to which students at this step.

A policy sees the step's paths and answers with gate probabilities and gates drawn from them. Draws are a function of (seed, step)
alone, so a resumed run and any number of ranks draw the same gates. Gates are drawn before the forward pass, so paths nobody
wants cost nothing.

Shapes: P paths, S students, E embedding width, F learning-state features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qrdistill.config import content_hash
from qrdistill.config.tree import (
    AllPolicyConfig,
    QRDistillPolicyConfig,
    RandomPolicyConfig,
    SinglePathPolicyConfig,
)
from qrdistill.routing.features import FEATURES, standardise_within
from qrdistill.routing.objective import budget_bias_step, router_loss
from qrdistill.routing.router import Router


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """What a policy may look at."""

    step: int
    progress: float
    """Share of the run's steps that are done, in [0, 1)."""
    styles: tuple[str, ...]
    question_of_P: Tensor
    question_PE: Tensor
    path_PE: Tensor
    state_PSF: Tensor | None = None
    """Learning-state features; absent when the recipe's policy has no utility."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Gate probabilities and gates of one step."""

    prob_PS: Tensor
    gate_PS: Tensor
    """bool."""


class Policy(Protocol):
    """Decides routes and, if it can learn, learns from utilities."""

    def route(self, view: StepView) -> Routing:
        """Gates of this step."""

    def learn(self, view: StepView, utility_PS: Tensor) -> dict[str, float]:
        """One update from the utilities of this step's paths; returns metrics (empty for fixed policies)."""

    def state(self) -> dict[str, Tensor]:
        """Everything learned so far."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved state."""


class _FixedPolicy:
    """What policies that do not learn have in common."""

    def __init__(self, config: Any, *, num_students: int, embed_dim: int, start_prob: float, seed: int) -> None:
        self.config = config
        self.num_students = num_students
        self.seed = seed

    def learn(self, view: StepView, utility_PS: Tensor) -> dict[str, float]:
        """Nothing to learn."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing to load."""


class AllPolicy(_FixedPolicy):
    """Every path to every student."""

    config: AllPolicyConfig

    def route(self, view: StepView) -> Routing:
        """All gates open."""
        gate_PS = torch.ones(len(view.styles), self.num_students, dtype=torch.bool)
        return Routing(prob_PS=gate_PS.float(), gate_PS=gate_PS)


class RandomPolicy(_FixedPolicy):
    """RS2: a fresh random subset of each question's paths whenever the question comes up, drawn per student."""

    config: RandomPolicyConfig

    def route(self, view: StepView) -> Routing:
        """Draw floor(budget) paths a question, and one more with the probability of the fraction."""
        generator = step_generator(self.seed, "random", view.step)
        gate_PS = torch.zeros(len(view.styles), self.num_students, dtype=torch.bool)
        prob_PS = budget_share(view.question_of_P, self.config.budget)[:, None].expand(-1, self.num_students)
        for question in sorted(set(view.question_of_P.tolist())):
            rows = (view.question_of_P == question).nonzero().squeeze(1)
            budget = min(self.config.budget, float(len(rows)))
            for student in range(self.num_students):
                extra = float(torch.rand((), generator=generator)) < budget - int(budget)
                chosen = torch.randperm(len(rows), generator=generator)[: int(budget) + int(extra)]
                gate_PS[rows[chosen], student] = True
        return Routing(prob_PS=prob_PS, gate_PS=gate_PS)


class SinglePathPolicy(_FixedPolicy):
    """Paths of one style only (symbolic chain-of-thought distillation, with style = cot)."""

    config: SinglePathPolicyConfig

    def route(self, view: StepView) -> Routing:
        """Open the gates of one style."""
        gate_P = torch.tensor([style == self.config.style for style in view.styles], dtype=torch.bool)
        gate_PS = gate_P[:, None].expand(-1, self.num_students)
        return Routing(prob_PS=gate_PS.float(), gate_PS=gate_PS)


class QRDistillPolicy:
    """The trained router with independent Bernoulli gates (METHOD section 4).

    ``p = (1 - eps) sigmoid(a / tau) + eps rho0``, ``g ~ Bernoulli(p)``. While fewer than `warmup_frac` of the steps are done,
    p = rho0 and the router only learns.
    """

    def __init__(self, config: QRDistillPolicyConfig, *, num_students: int, embed_dim: int, start_prob: float, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.router = Router(
            embed_dim=embed_dim,
            num_features=len(FEATURES),
            num_students=num_students,
            hidden=config.hidden,
            start_prob=start_prob,
            seed=int(content_hash([seed, "router"]), 16) % 2**62,
        )
        self.optimizer = torch.optim.AdamW(self.router.parameters(), lr=config.learning_rate, weight_decay=0.0)

    def route(self, view: StepView) -> Routing:
        """Draw gates from the router's probabilities."""
        with torch.no_grad():
            prob_PS = self._probabilities(self._logits(view), view)
            if view.progress < self.config.warmup_frac:
                prob_PS = budget_share(view.question_of_P, self.config.budget)[:, None].expand_as(prob_PS)
            uniform_PS = torch.rand(prob_PS.shape, generator=step_generator(self.seed, "gates", view.step))
            return Routing(prob_PS=prob_PS, gate_PS=uniform_PS < prob_PS)

    def learn(self, view: StepView, utility_PS: Tensor) -> dict[str, float]:
        """One AdamW step on the router loss, then one step of the budget controller."""
        logit_PS = self._logits(view)
        prob_PS = self._probabilities(logit_PS, view)
        advantage_PS = standardise_within(utility_PS, view.question_of_P)
        loss = router_loss(logit_PS, prob_PS, advantage_PS, weight_penalty=self.config.weight_penalty)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.router.parameters(), 1.0)
        self.optimizer.step()
        target_P = budget_share(view.question_of_P, self.config.budget)
        self.router.bias_S = budget_bias_step(self.router.bias_S, prob_PS.detach(), target_P, step=self.config.bias_step)
        entropy = torch.special.entr(prob_PS.detach()) + torch.special.entr(1 - prob_PS.detach())
        return {"loss/router": float(loss.detach()), "routing/entropy_nats": float(entropy.mean())}

    def state(self) -> dict[str, Tensor]:
        """Router weights and its optimizer's moments."""
        tensors = {f"router/{name}": value.detach().clone() for name, value in self.router.state_dict().items()}
        for name, parameter in self.router.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{name}/{key}"] = value.detach().clone()
        return tensors

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore router and optimizer."""
        self.router.load_state_dict({k.removeprefix("router/"): v for k, v in state.items() if k.startswith("router/")})
        for name, parameter in self.router.named_parameters():
            prefix = f"optimizer/{name}/"
            moments = {k.removeprefix(prefix): v.clone() for k, v in state.items() if k.startswith(prefix)}
            if moments:
                self.optimizer.state[parameter] = moments

    def _logits(self, view: StepView) -> Tensor:
        assert view.state_PSF is not None, "the router needs learning-state features"
        logits: Tensor = self.router(view.question_PE, view.path_PE, view.state_PSF)
        return logits

    def _probabilities(self, logit_PS: Tensor, view: StepView) -> Tensor:
        share_P1 = budget_share(view.question_of_P, self.config.budget)[:, None]
        epsilon = self.config.epsilon
        return (1 - epsilon) * torch.sigmoid(logit_PS / self.config.temperature) + epsilon * share_P1


def budget_share(question_of_P: Tensor, budget: float) -> Tensor:
    """rho0 of each path: budget / number of paths of its question, at most 1 [P]."""
    counts = torch.bincount(question_of_P)
    return (budget / counts[question_of_P].float()).clamp(max=1.0)


def step_generator(seed: int, purpose: str, step: int) -> torch.Generator:
    """A generator whose draws depend on (seed, purpose, step) alone."""
    return torch.Generator().manual_seed(int(content_hash([seed, purpose, step]), 16) % 2**62)


POLICIES: dict[str, Callable[..., Policy]] = {
    "all": AllPolicy,
    "random": RandomPolicy,
    "single_path": SinglePathPolicy,
    "qrdistill": QRDistillPolicy,
}
"""kind -> class built with (config, num_students=, embed_dim=, start_prob=, seed=)."""


def make_policy(config: Any, *, num_students: int, embed_dim: int, start_prob: float, seed: int) -> Policy:
    """Build the policy a config asks for."""
    return POLICIES[config.kind](config, num_students=num_students, embed_dim=embed_dim, start_prob=start_prob, seed=seed)
