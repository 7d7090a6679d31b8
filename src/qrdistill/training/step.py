"""The method on one page: one joint step of all students, the router and the peers.

    1. every student reads every path of the step once (prompts shared)          h_s = forward_s(paths)
    2. without gradient: what each path is for each student right now            u_ps, sketches, next pieces
    3. the policy draws gates                                                    g_ps ~ Bernoulli(p_ps)
    4. students that do better at a shared text position are the target there    t = mixture of the peers
    5. each student steps on its routed paths and on its better peers            sum_n w_n nll_n + lambda mean_c KL_c
    6. the router steps on the held-out utility of the paths                     - mean(A p) + c mean(a^2)

Equations: METHOD section 4 (docs/method.md maps each to its function and test).

Shapes: P paths, S students, N label tokens, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from qrdistill.errors import DataError
from qrdistill.losses import token_weights
from qrdistill.routing.features import state_features
from qrdistill.routing.policies import Policy, Routing, StepView
from qrdistill.routing.sketch import GradientSketch
from qrdistill.routing.utility import Seen, Utility
from qrdistill.students import Student
from qrdistill.training.forward import Forward, Observation, PeerWork, backward, observe, run_forward
from qrdistill.training.peers import Meeting, meet, peer_work
from qrdistill.training.pool import StepWork, select
from qrdistill.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Everything a step needs besides the students and the work."""

    policy: Policy
    utility: Utility | None
    sketches: Sequence[GradientSketch | None]
    piece_token_SU: Sequence[Tensor]
    """Token of each shared piece, per student; empty without peers."""
    support: int
    row_tokens: int
    max_grad_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKnobs:
    """What changes from step to step."""

    step: int
    progress: float
    peer_weight: float
    is_first_sight: bool
    """Whether no path of the step was trained on before."""
    is_open_S: Sequence[bool]
    """Whether each student still has budget to train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step did."""

    work: StepWork
    routing: Routing
    utility_PS: Tensor
    label_tokens: tuple[int, ...]
    """Label tokens each student trained on."""
    metrics: dict[str, float] = field(default_factory=dict)


def joint_step(
    team: Team,
    optimizers: Sequence[torch.optim.Optimizer | None],
    method: Method,
    work: StepWork,
    embeddings: tuple[Tensor, Tensor],
    knobs: StepKnobs,
) -> StepResult:
    """Train every student (and the router) on one step's paths.

    Args:
        team: the students.
        optimizers: one per student (None for a frozen one).
        method: policy, utility and peers.
        work: the step's paths.
        embeddings: encoder rows of each path's question and of each path [P, E].
        knobs: the step's number, schedules and switches.

    Raises:
        DataError: a loss or gradient is not finite (no student has been changed by this step).
    """
    view = StepView(
        step=knobs.step,
        progress=knobs.progress,
        styles=work.styles,
        question_of_P=work.question_of_P,
        question_PE=embeddings[0],
        path_PE=embeddings[1],
    )
    early = None if method.policy.needs_state else method.policy.route(view)
    if early is not None and knobs.peer_weight == 0:
        wanted_P = early.gate_PS.any(dim=1)
        work, early = select(work, wanted_P.tolist()), Routing(prob_PS=early.prob_PS[wanted_P], gate_PS=early.gate_PS[wanted_P])
    if not work.paths:
        assert early is not None
        none = tuple(0 for _ in team.students)
        return StepResult(work=work, routing=early, utility_PS=early.prob_PS * torch.nan, label_tokens=none)

    forwards = read(team, work, method.row_tokens)
    meeting, observations = look(team, work, forwards, method, has_peers=bool(method.piece_token_SU))
    view, utility_PS = judge(view, work, observations, method, knobs)
    routing = early or method.policy.route(view)

    peers, metrics = teach(team, meeting, observations, method, knobs.peer_weight)
    weight_SP = (routing.gate_PS * work.quality_P[:, None] * torch.tensor(knobs.is_open_S)).T
    weights = [token_weights(w_P, forward.path_of_N) for w_P, forward in zip(weight_SP, forwards, strict=True)]
    is_open = [opt is not None and is_on for opt, is_on in zip(optimizers, knobs.is_open_S, strict=True)]
    losses = team.map(_learn, forwards, weights, [p if on else None for p, on in zip(peers, is_open, strict=True)], optimizers)
    norms = team.map(_gradient_norm, [method.max_grad_norm] * len(forwards))
    _insist_on_finite(team, losses, norms, knobs.step)
    for optimizer in optimizers:
        if optimizer is not None:
            optimizer.step()
    metrics |= method.policy.learn(view, utility_PS)
    return StepResult(
        work=work,
        routing=routing,
        utility_PS=utility_PS,
        label_tokens=tuple(int((weight_N > 0).sum()) for weight_N in weights),
        metrics=metrics | _student_metrics(team, losses, norms, routing),
    )


def read(team: Team, work: StepWork, row_tokens: int) -> list[Forward]:
    """Every student's hidden states on every path of the step."""
    indices = range(len(team.students))

    def one(student: Student, index: int) -> Forward:
        with torch.set_grad_enabled(bool(student.trainable())):
            return run_forward(student, work, index, row_tokens=row_tokens)

    return team.map(one, list(indices))


def look(
    team: Team, work: StepWork, forwards: Sequence[Forward], method: Method, *, has_peers: bool
) -> tuple[Meeting | None, list[Observation]]:
    """Observe every student's forward pass; with peers also its next pieces at the aligned positions."""
    meeting = meet(work, forwards) if has_peers else None
    indices = list(range(len(team.students)))

    def one(student: Student, index: int) -> Observation:
        return observe(
            student,
            forwards[index],
            num_paths=len(work.paths),
            sketch=method.sketches[index],
            aligned_C=meeting.row_CS[:, index] if meeting else None,
            piece_token_U=method.piece_token_SU[index] if meeting else None,
            support=method.support,
        )

    return meeting, team.map(one, indices)


def judge(
    view: StepView, work: StepWork, observations: Sequence[Observation], method: Method, knobs: StepKnobs
) -> tuple[StepView, Tensor]:
    """Utilities of the step's paths, and the view with the learning state a router needs.

    Evidence from this step's own paths (when they are seen for the first time) is taken in *after* they were scored.
    """
    if method.utility is None:
        return view, torch.full((len(work.paths), len(observations)), torch.nan)
    seen = as_seen(work, observations)
    utility_PS = method.utility.score(seen)
    if knobs.is_first_sight and method.utility.counts_first_sight:
        method.utility.witness(seen)
    state_PSF = state_features(
        seen.states, bytes_P=work.bytes_P, quality_P=work.quality_P, utility_PS=utility_PS, question_of_P=work.question_of_P
    )
    return StepView(**{name: getattr(view, name) for name in view.__slots__} | {"state_PSF": state_PSF}), utility_PS


def teach(
    team: Team, meeting: Meeting | None, observations: Sequence[Observation], method: Method, weight: float
) -> tuple[list[PeerWork | None], dict[str, float]]:
    """The peer loss of each student at this step."""
    if meeting is None or not len(meeting.row_CS):
        return [None] * len(observations), {}
    work, metrics = peer_work(meeting, observations, method.piece_token_SU, weight=weight, support=method.support)
    for index, student in enumerate(team.students):
        if (share := metrics.pop(f"peer/gate_frac/{index}", None)) is not None:
            metrics[f"peer/gate_frac/{student.name}"] = share
    return work, metrics


def as_seen(work: StepWork, observations: Sequence[Observation]) -> Seen:
    """Observations in the form utilities read."""
    sketches = [observation.sketch_PX for observation in observations]
    return Seen(
        styles=work.styles,
        families=work.families,
        states=[observation.state for observation in observations],
        sketches=[sketch for sketch in sketches if sketch is not None] or None,
    )


def _learn(
    student: Student,
    forward: Forward,
    weight_N: Tensor,
    peer: PeerWork | None,
    optimizer: torch.optim.Optimizer | None,
) -> dict[str, float]:
    if optimizer is None:
        return {"sft": float("nan"), "peer": 0.0}
    optimizer.zero_grad(set_to_none=True)
    return backward(student, forward, weight_N, peer)


def _gradient_norm(student: Student, max_norm: float) -> float:
    """Clip to `max_norm`; a student without routed paths has no gradients and so takes no step (AdamW skips them)."""
    weights = [weight for _, weight in student.trainable() if weight.grad is not None]
    return float(nn.utils.clip_grad_norm_(weights, max_norm)) if weights else 0.0


def _insist_on_finite(team: Team, losses: Sequence[dict[str, float]], norms: Sequence[float], step: int) -> None:
    for student, loss, norm in zip(team.students, losses, norms, strict=True):
        total = norm + (0.0 if not student.trainable() else loss["sft"] + loss["peer"])
        if total != total or total in (float("inf"), float("-inf")):
            raise DataError(
                f"step {step}: the loss of student {student.name!r} is not finite (gradient norm {norm}); "
                "lower its learning_rate or max_grad_norm, then run again: the last checkpoint is intact"
            )


def _student_metrics(
    team: Team, losses: Sequence[dict[str, float]], norms: Sequence[float], routing: Routing
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for index, student in enumerate(team.students):
        metrics[f"loss/sft/{student.name}"] = losses[index]["sft"]
        metrics[f"loss/peer/{student.name}"] = losses[index]["peer"]
        metrics[f"optim/grad_norm/{student.name}"] = norms[index]
        metrics[f"routing/load/{student.name}"] = float(routing.prob_PS[:, index].mean())
    return metrics
