"""The trained router as a policy (METHOD section 4, "Gate" and "Router loss").

Shapes: P paths, S students, E embedding width, F learning-state features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qrdistill.config import content_hash
from qrdistill.config.method import FrozenRouterPolicyConfig, QRDistillPolicyConfig
from qrdistill.routing.features import FEATURES, standardise_within
from qrdistill.routing.objective import router_loss, within_share
from qrdistill.routing.policy import Evidence, Routing, Setting, StepView, budget_share, step_generator
from qrdistill.routing.reliability import trusted
from qrdistill.routing.router import Router


class QRDistillPolicy:
    """The trained router with independent Bernoulli gates (METHOD section 4).

    ``p = (1 - eps) sigmoid(a / tau + c) + eps rho0``, ``g ~ Bernoulli(p)``, c such that a question's gates
    have mean rho0 (`within_share`). While fewer than `warmup_frac` of the steps are done,
    p = rho0 and the router only learns.
    """

    reads_all = False

    def __init__(self, config: QRDistillPolicyConfig | FrozenRouterPolicyConfig, setting: Setting) -> None:
        self.config = config
        self.seed = setting.seed
        self.router = Router(
            embed_dim=setting.embed_dim,
            num_features=len(FEATURES),
            num_students=len(setting.students),
            hidden=config.hidden,
            seed=int(content_hash([setting.seed, "router"]), 16) % 2**62,
        )
        self.students = setting.students
        self.kappa_S = torch.full((len(setting.students),), torch.nan)
        """Trust in the router, per student; NaN (full trust) until the reliability gate has measured it."""
        self.optimizer = torch.optim.AdamW(self.router.parameters(), lr=config.learning_rate, weight_decay=0.0)

    def route(self, view: StepView) -> Routing:
        """Draw gates from the router's probabilities."""
        with torch.no_grad():
            target_P = budget_share(view.question_of_P, self.config.budget)
            prob_PS = trusted(self._probabilities(self._logits(view), view), target_P, self.kappa_S.nan_to_num(1.0))
            if view.progress < self.config.warmup_frac:
                prob_PS = target_P[:, None].expand_as(prob_PS)
            uniform_PS = torch.rand(prob_PS.shape, generator=step_generator(self.seed, "gates", view.step))
            return Routing(prob_PS=prob_PS, gate_PS=uniform_PS < prob_PS)

    def learn(self, view: StepView, evidence: Evidence) -> dict[str, float]:
        """One AdamW step on the router loss."""
        logit_PS = self._logits(view)
        prob_PS = self._probabilities(logit_PS, view)
        advantage_PS = standardise_within(evidence.utility_PS, view.question_of_P)
        loss = router_loss(logit_PS, prob_PS, advantage_PS, weight_penalty=self.config.weight_penalty)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.router.parameters(), 1.0)
        self.optimizer.step()
        metrics = {"loss/router": float(loss.detach())}
        if self.config.reliability.is_on:
            trust = zip(self.students, self.kappa_S.tolist(), strict=True)
            metrics |= {f"routing/kappa/{name}": value for name, value in trust}
        return metrics

    def scores(self, view: StepView) -> Tensor:
        """What the router thinks of each path for each student, as gate logits [P, S]: what kappa is measured on."""
        with torch.no_grad():
            return self._logits(view)

    def state(self) -> dict[str, Tensor]:
        """Router weights, its optimizer's moments and the trust in it."""
        tensors = {"kappa_S": self.kappa_S.clone()}
        tensors |= {f"router/{name}": value.detach().clone() for name, value in self.router.state_dict().items()}
        for name, parameter in self.router.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{name}/{key}"] = value.detach().clone()
        return tensors

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore router, optimizer and trust."""
        self.kappa_S = state["kappa_S"].clone()
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
        share_P, epsilon = budget_share(view.question_of_P, self.config.budget), self.config.epsilon
        prob_PS = within_share(logit_PS / self.config.temperature, share_P, view.question_of_P)
        return (1 - epsilon) * prob_PS + epsilon * share_P[:, None]
