"""The method on one page: one joint step of all students, the router and the peers.

    1. what each student can do now, from what it showed lately on such paths    u_ps
    2. the policy draws gates                                                    g_ps ~ Bernoulli(p_ps)
    3. every student reads its paths (with peers: and a few that all read)       h_s = forward_s(paths)
    4. without gradient: losses, ranks, sketches, next pieces
    5. students that do better at a shared text position are the target there    t = mixture of the peers
    6. each student steps on its routed paths and on its better peers            sum_n w_n nll_n + lambda mean_c KL_c
    7. the router steps on the held-out utility of the paths                     - mean(A p) + c mean(a^2)

Equations: METHOD section 4 (docs/method.md maps each to its function and test).

Shapes: P paths, S students, N label tokens, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qrdistill.errors import DataError
from qrdistill.losses import token_weights
from qrdistill.routing.features import StateMemory
from qrdistill.routing.policy import Evidence, Policy, Routing, StepView, step_generator
from qrdistill.routing.seen import Seen, Utility
from qrdistill.routing.sketch import GradientSketch
from qrdistill.students import LabelReading, Student
from qrdistill.training.forward import (
    Forward,
    Observation,
    PeerTerm,
    Wanted,
    backward,
    gather,
    look_at,
    paths_to_read,
    run_forward,
)
from qrdistill.training.graphs import GraphLimits
from qrdistill.training.meeting import Meeting
from qrdistill.training.peers import Peers
from qrdistill.training.pool import StepWork
from qrdistill.training.team import Team


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """Everything a step needs besides the students and the work."""

    policy: Policy
    utility: Utility | None
    memory: StateMemory | None
    """The learning state; absent, like the utility, for policies that do not look at the students."""
    sketches: Sequence[GradientSketch | None]
    peers: Peers | None
    row_tokens: int
    max_grad_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKnobs:
    """What changes from step to step."""

    step: int
    seed: int
    epoch: int
    progress: float
    peer_weight: float
    is_first_sight: bool
    """Whether no path of the step was trained on before."""
    is_open_S: Sequence[bool]
    """Whether each student still has budget to train."""
    tokens_left_S: Sequence[int] = ()
    """Label tokens each student may still train on; empty: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step did."""

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
        method: policy, learning state, utility and peers.
        work: the step's paths.
        embeddings: encoder rows of each path's question and of each path [P, E].
        knobs: the step's number, schedules and switches.

    Raises:
        DataError: a loss or gradient is not finite (no student has been changed by this step).
    """
    view = look_back(work, embeddings, method, knobs)
    routing = method.policy.route(view)
    gate_PS = within_budget(work, routing.gate_PS & torch.tensor(knobs.is_open_S), knobs.tokens_left_S)
    routing = Routing(**team.ranks.tell_tensors({"prob_PS": routing.prob_PS, "gate_PS": gate_PS}))
    gate_PS = routing.gate_PS
    collaboration = method.peers if knobs.peer_weight > 0 else None
    shared_P = shared_paths(gate_PS, collaboration.config.max_paths if collaboration else 0, knobs)
    read_PS = gate_PS | shared_P[:, None] | method.policy.reads_all

    _forget_gradients(optimizers)
    forwards = read(team, work, read_PS, method.row_tokens)
    meeting = _meet(work, forwards, read_PS, shared_P, collaboration, knobs)
    observations = look(team, work, forwards, method, meeting, is_grad_PS=gate_PS)
    peers, metrics = teach(team, meeting, observations, method, knobs.peer_weight)

    weight_SP = (gate_PS * work.quality_P[:, None]).T
    question_SP = work.question_weight_PS.T
    everyone = range(len(forwards)), [team.limits] * len(forwards)
    losses = team.map(_learn, *everyone, forwards, observations, weight_SP, question_SP, peers, optimizers, knobs.is_open_S)
    losses = team.ranks.add_gradients(team.students, losses)
    norms = team.map(team.ranks.clip_gradients, [method.max_grad_norm] * len(forwards))
    _insist_on_finite(team, losses, norms, knobs.step)
    for optimizer in optimizers:
        if optimizer is not None:
            optimizer.step()
    if meeting is not None and collaboration is not None:
        collaboration.step()

    utility_PS = take_in(work, observations, method, knobs)
    metrics |= method.policy.learn(view, evidence(work, observations, utility_PS))
    return StepResult(
        routing=routing,
        utility_PS=utility_PS,
        label_tokens=tuple(
            int(seen.state.num_tokens_P[w_P > 0].sum()) for seen, w_P in zip(observations, weight_SP, strict=True)
        ),
        metrics=metrics | _student_metrics(team, losses, norms, routing, work.styles),
    )


def _forget_gradients(optimizers: Sequence[torch.optim.Optimizer | None]) -> None:
    """Before reading: they lie scattered where the last step's graph was, and a new graph would not fit between them.

    Also of a student that learns nothing now: it must not step on old ones.
    """
    for optimizer in optimizers:
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)


def within_budget(work: StepWork, gate_PS: Tensor, tokens_left_S: Sequence[int]) -> Tensor:
    """Close gates, last path first, so that each student ends less than one path above its budget of label tokens."""
    if not tokens_left_S:
        return gate_PS
    length_PS = torch.tensor([[len(tokens.response_ids) for tokens in path.tokens] for path in work.paths])
    before_PS = torch.cumsum(length_PS * gate_PS, dim=0) - length_PS * gate_PS
    return gate_PS & (before_PS < torch.tensor(tokens_left_S))


def look_back(work: StepWork, embeddings: tuple[Tensor, Tensor], method: Method, knobs: StepKnobs) -> StepView:
    """What the policy may know before anybody reads the paths: texts, and what each student showed on their like lately."""
    state_PSF = None
    if method.memory is not None and method.utility is not None:
        tokens = [[float(len(tokens.response_ids)) for tokens in path.tokens] for path in work.paths]
        state_PSF = method.memory.features(
            method.memory.groups(work.styles, work.families),
            tokens_PS=torch.tensor(tokens),
            quality_P=work.quality_P,
            utility_PS=method.utility.expect(work.styles, work.families),
            question_of_P=work.question_of_P,
        )
    return StepView(
        step=knobs.step,
        progress=knobs.progress,
        styles=work.styles,
        question_of_P=work.question_of_P,
        question_PE=embeddings[0],
        path_PE=embeddings[1],
        state_PSF=state_PSF,
        epoch=knobs.epoch,
        path_ids=tuple(path.path.id for path in work.paths),
    )


def read(team: Team, work: StepWork, read_PS: Tensor, row_tokens: int) -> list[Forward]:
    """Every student's hidden states on the paths it reads (this rank's part of them)."""
    is_learning = torch.is_grad_enabled()  # asked here: the students' threads have a switch of their own
    mine_PS = team.ranks.part(work, read_PS)

    def one(student: Student, index: int) -> Forward:
        is_read_P = mine_PS[:, index]

        def within(limit: int) -> Forward:
            size = min(limit or row_tokens, row_tokens)
            return run_forward(student, work, index, is_read_P=is_read_P, row_tokens=size, is_kept=not limit)

        with torch.set_grad_enabled(is_learning and bool(student.trainable())):
            return team.limits.attempt(index, paths_to_read(work, index, is_read_P), within)

    return team.map(one, range(len(team.students)))


def shared_paths(gate_PS: Tensor, limit: int, knobs: StepKnobs) -> Tensor:
    """Paths that every student reads so that peers can meet there: at most `limit` of the routed ones, drawn at random."""
    routed = gate_PS.any(dim=1).nonzero().squeeze(1)
    chosen = torch.randperm(len(routed), generator=step_generator(knobs.seed, "shared", knobs.step))[:limit]
    shared_P = torch.zeros(len(gate_PS), dtype=torch.bool)
    shared_P[routed[chosen]] = True
    return shared_P


def _meet(
    work: StepWork, forwards: Sequence[Forward], read_PS: Tensor, shared_P: Tensor, peers: Peers | None, knobs: StepKnobs
) -> Meeting | None:
    if peers is None:
        return None
    generator = step_generator(knobs.seed, "meet", knobs.step)
    meeting = peers.meet(work, forwards, read_PS=read_PS, shared_P=shared_P, generator=generator)
    return meeting if len(meeting.row_CS) else None


def look(
    team: Team,
    work: StepWork,
    forwards: Sequence[Forward],
    method: Method,
    meeting: Meeting | None,
    *,
    is_grad_PS: Tensor | None = None,
) -> list[Observation]:
    """Observe every student's forward pass; where students meet also its next pieces at the aligned positions.

    The head of a large vocabulary costs as much as the rest of a student, so its parts are shared out between all threads. A
    student that learns takes the gradients of the labels of the paths `is_grad_PS` (None: of all). What is seen of a path is
    known to every rank; what is seen of a token stays with the rank that read it.
    """
    everything_PS = torch.ones(len(work.paths), len(forwards), dtype=torch.bool)
    is_grad_PS = everything_PS if is_grad_PS is None else is_grad_PS
    wanted = [_wanted(index, forward, method, meeting, is_grad_PS[:, index]) for index, forward in enumerate(forwards)]

    def read_all() -> list[LabelReading]:
        passes = team.map(look_at, forwards, wanted)
        jobs = [(whole, part) for whole in passes for part in whole.parts]
        read = iter(team.share(lambda whole, part: whole.read(part), jobs))
        return [whole.join([next(read) for _ in whole.parts]) for whole in passes]

    readings = team.limits.attempt_all(forwards, read_all)
    observations = [
        gather(forward, wish, reading, num_paths=len(work.paths))
        for forward, wish, reading in zip(forwards, wanted, readings, strict=True)
    ]
    return team.ranks.add_up(observations)


def _wanted(index: int, forward: Forward, method: Method, meeting: Meeting | None, is_grad_P: Tensor) -> Wanted:
    wish = method.peers.wish(index, meeting) if meeting is not None and method.peers is not None else None
    return Wanted(
        is_grad_P=is_grad_P if forward.is_learning else None,
        sketch=method.sketches[index],
        peers=wish,
    )


def teach(
    team: Team, meeting: Meeting | None, observations: Sequence[Observation], method: Method, weight: float
) -> tuple[list[PeerTerm | None], dict[str, float]]:
    """The peer loss of each student at this step."""
    if meeting is None or method.peers is None:
        return [None] * len(team.students), {}
    terms, metrics = method.peers.teach(meeting, observations, weight)
    for index, student in enumerate(team.students):
        if (share := metrics.pop(f"peer/gate_frac/{index}", None)) is not None:
            metrics[f"peer/gate_frac/{student.name}"] = share
    return terms, metrics


def take_in(work: StepWork, observations: Sequence[Observation], method: Method, knobs: StepKnobs) -> Tensor:
    """Utilities of the step's paths, scored before the evidence they bring themselves is taken in."""
    if method.utility is None or method.memory is None:
        return torch.full((len(work.paths), len(knobs.is_open_S)), torch.nan)
    seen = as_seen(work, observations)
    utility_PS = method.utility.score(seen)
    if knobs.is_first_sight and method.utility.counts_first_sight:
        method.utility.witness(seen)
    method.memory.witness(method.memory.groups(work.styles, work.families), seen.states, work.bytes_P)
    return utility_PS


def evidence(work: StepWork, observations: Sequence[Observation], utility_PS: Tensor) -> Evidence:
    """What the policy may learn from."""
    return Evidence(
        utility_PS=utility_PS,
        nll_PS=torch.stack([observation.state.nll_P for observation in observations], dim=1),
        tokens_PS=torch.stack([observation.state.num_tokens_P for observation in observations], dim=1),
        quality_P=work.quality_P,
    )


def as_seen(work: StepWork, observations: Sequence[Observation]) -> Seen:
    """Observations in the form utilities read."""
    sketches = [observation.sketch_PX for observation in observations]
    return Seen(
        styles=work.styles,
        families=work.families,
        path_ids=tuple(path.path.id for path in work.paths),
        states=[observation.state for observation in observations],
        sketches=[sketch for sketch in sketches if sketch is not None] or None,
    )


def _learn(
    student: Student,
    index: int,
    limits: GraphLimits,
    forward: Forward,
    observation: Observation,
    weight_P: Tensor,
    question_P: Tensor,
    peer: PeerTerm | None,
    optimizer: torch.optim.Optimizer | None,
    is_open: bool,
) -> dict[str, float]:
    def within(limit: int) -> dict[str, float]:
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)  # a try for which memory did not suffice may have left some
        if optimizer is None or not is_open or (peer is None and not weight_P.any()):
            return {"sft": 0.0, "peer": 0.0}
        weight_N = token_weights(weight_P, forward.path_of_N, observation.state.num_tokens_P)
        return backward(student, forward, observation, weight_N * question_P[forward.path_of_N], peer, row_tokens=limit)

    return limits.attempt(index, forward.paths, within)


def _insist_on_finite(team: Team, losses: Sequence[dict[str, float]], norms: Sequence[float], step: int) -> None:
    for student, loss, norm in zip(team.students, losses, norms, strict=True):
        total = norm + loss["sft"] + loss["peer"]
        if total != total or total in (float("inf"), float("-inf")):
            raise DataError(
                f"step {step}: the loss of student {student.name!r} is not finite (gradient norm {norm}); "
                "lower its learning_rate or max_grad_norm, then run again: the last checkpoint is intact"
            )


def _student_metrics(
    team: Team, losses: Sequence[dict[str, float]], norms: Sequence[float], routing: Routing, styles: Sequence[str]
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    prob_PS = routing.prob_PS
    metrics["routing/entropy_nats"] = float((torch.special.entr(prob_PS) + torch.special.entr(1 - prob_PS)).mean())
    for index, student in enumerate(team.students):
        for style in sorted(set(styles)):
            is_mine_P = torch.tensor([other == style for other in styles])
            metrics[f"routing/rate/{student.name}/{style}"] = float(routing.gate_PS[is_mine_P, index].float().mean())
        metrics[f"loss/sft/{student.name}"] = losses[index]["sft"]
        metrics[f"loss/peer/{student.name}"] = losses[index]["peer"]
        metrics[f"optim/grad_norm/{student.name}"] = norms[index]
        metrics[f"routing/load/{student.name}"] = float(routing.prob_PS[:, index].mean())
    return metrics
