"""The router of the paper (equations 1-4) as its text intends, and as the authors' code runs it.

Shapes: P paths, S students, E embedding width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qrdistill.config import content_hash
from qrdistill.config.method import PaperPolicyConfig, ReleasedPolicyConfig
from qrdistill.routing.policy import Evidence, Routing, Setting, StepView, step_generator


class PathRouter(nn.Module):
    """``a = MLP(Enc(R))``: one gate logit per student from the path's text alone (eq 1-2); it never sees the students."""

    def __init__(self, setting: Setting, *, hidden: int, start_prob: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(int(content_hash([setting.seed, "router"]), 16) % 2**62)
        self.inner = nn.Linear(setting.embed_dim, hidden)
        self.outer = nn.Linear(hidden, len(setting.students))
        with torch.no_grad():
            self.inner.weight.normal_(0, 1.0, generator=generator)
            self.inner.bias.zero_()
            self.outer.weight.normal_(0, 0.1 * hidden**-0.5, generator=generator)
            self.outer.bias.fill_(_logit(start_prob))

    def forward(self, path_PE: Tensor) -> Tensor:
        """Gate logits a [P, S]."""
        logits: Tensor = self.outer(nn.functional.gelu(self.inner(path_PE)))
        return logits


def straight_through_gates(logit_PS: Tensor, *, temperature: float, generator: torch.Generator) -> Tensor:
    """Independent binary Gumbel gates: 0 or 1 forwards, the gradient of the relaxed gate backwards (Jang et al., 2017).

    The difference of two Gumbel draws is logistic, so a gate is open with probability sigmoid(a).
    """
    uniform_PS = torch.rand(logit_PS.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
    soft_PS = torch.sigmoid((logit_PS + uniform_PS.logit()) / temperature)
    return (soft_PS > 0.5).float() + soft_PS - soft_PS.detach()


def routed_loss(gate_PS: Tensor, evidence: Evidence) -> Tensor:
    """``sum_s L_distill(s)`` as a function of the gates: each student's mean token loss over its routed paths (eq 9).

    The students' token losses are constants here, so this gradient is the task loss's gradient in the gates, no more and no less.
    """
    weight_PS = gate_PS * evidence.quality_P[:, None]
    total_S = (weight_PS * evidence.nll_PS).sum(dim=0)
    tokens_S = (weight_PS * evidence.tokens_PS).sum(dim=0)
    return torch.where(tokens_S.detach() > 0.5, total_S / tokens_S.clamp(min=0.5), torch.zeros_like(total_S)).sum()


def balance_entropy(gate_PS: Tensor) -> Tensor:
    """``H_binary(mean over students and paths of alpha)``, nats (eq 3-4): largest when half of the gates are open."""
    mean = gate_PS.mean().clamp(1e-6, 1 - 1e-6)
    return -(mean * mean.log() + (1 - mean) * (1 - mean).log())


class PaperPolicy:
    """Equations 1-4 and 9: the router descends the task loss through straight-through gates; entropy is maximised.

    Students read every path, because the loss of a path whose gate is closed is part of that gate's gradient.
    """

    reads_all = True

    def __init__(self, config: PaperPolicyConfig, setting: Setting) -> None:
        self.config = config
        self.seed = setting.seed
        self.router = PathRouter(setting, hidden=config.hidden, start_prob=0.5)
        self.optimizer = torch.optim.AdamW(self.router.parameters(), lr=config.learning_rate, weight_decay=0.0)

    def route(self, view: StepView) -> Routing:
        """Draw this step's gates."""
        with torch.no_grad():
            logit_PS = self.router(view.path_PE)
            return Routing(prob_PS=logit_PS.sigmoid(), gate_PS=self._gates(logit_PS, view) > 0.5)

    def learn(self, view: StepView, evidence: Evidence) -> dict[str, float]:
        """One step on ``sum_s L_distill - lambda1 L_entropy`` with the very gates that were drawn."""
        gate_PS = self._gates(self.router(view.path_PE), view)
        task, entropy = routed_loss(gate_PS, evidence), balance_entropy(gate_PS)
        self.optimizer.zero_grad()
        (task - self.config.entropy_weight * entropy).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return {"loss/router": float(task.detach()), "routing/balance_nats": float(entropy.detach())}

    def _gates(self, logit_PS: Tensor, view: StepView) -> Tensor:
        generator = step_generator(self.seed, "gates", view.step)
        return straight_through_gates(logit_PS, temperature=self.config.temperature, generator=generator)

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


class ReleasedPolicy:
    """What the authors' code does: the router's sample is used as a boolean mask only.

    A comparison has no derivative, so the router gets no gradient and stays as it was drawn: a random drop of about `drop_frac`
    of the rows (METHOD section 2). Kept as a baseline; a test keeps the claim.
    """

    reads_all = False

    def __init__(self, config: ReleasedPolicyConfig, setting: Setting) -> None:
        self.config = config
        self.seed = setting.seed
        self.router = PathRouter(setting, hidden=config.hidden, start_prob=1 - config.drop_frac)

    def route(self, view: StepView) -> Routing:
        """A mask, drawn as the paper's gates are."""
        logit_PS = self.router(view.path_PE)
        gate_PS = straight_through_gates(logit_PS, temperature=1.0, generator=step_generator(self.seed, "gates", view.step))
        return Routing(prob_PS=logit_PS.sigmoid().detach(), gate_PS=gate_PS > 0.5)

    def learn(self, view: StepView, evidence: Evidence) -> dict[str, float]:
        """The objective does not depend on the router through a mask: there is nothing to descend."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """The router as it was drawn."""
        return {f"router/{name}": value.detach().clone() for name, value in self.router.state_dict().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore it."""
        self.router.load_state_dict({k.removeprefix("router/"): v for k, v in state.items() if k.startswith("router/")})


def _logit(prob: float) -> float:
    """Inverse sigmoid, within [-4, 4] so that "everything" and "nothing" still have a gradient."""
    prob = min(max(prob, 1e-6), 1 - 1e-6)
    return max(-4.0, min(4.0, math.log(prob / (1 - prob))))
