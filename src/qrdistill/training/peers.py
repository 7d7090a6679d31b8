"""Peers: what students match in each other, as one class a kind.

Shapes: C positions where students meet, S students, N label tokens, P paths, U shared pieces, J shared feature space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qrdistill.config import content_hash
from qrdistill.config.method import FeaturePeerConfig, PeerConfig
from qrdistill.losses import agreement, competence, feature_loss, is_peer_better, leave_one_out_targets
from qrdistill.students import Student
from qrdistill.students.align import shared_pieces
from qrdistill.training.forward import FeatureWork, Forward, Observation, PeerTerm, PeerWish, PeerWork
from qrdistill.training.meeting import Meeting, meet, meet_by_index
from qrdistill.training.pool import StepWork

Terms = tuple[list[PeerTerm | None], dict[str, float]]
"""The peer term of each student (None: nobody to learn from) and metrics of the meeting."""


class Peers(Protocol):
    """How students teach each other."""

    config: Any

    def meet(
        self, work: StepWork, forwards: Sequence[Forward], *, read_PS: Tensor, shared_P: Tensor, generator: torch.Generator
    ) -> Meeting:
        """Where they are compared at this step."""

    def wish(self, student: int, meeting: Meeting) -> PeerWish:
        """What the meeting needs from a student's forward pass."""

    def teach(self, meeting: Meeting, observations: Sequence[Observation], weight: float) -> Terms:
        """What each student should match."""

    def step(self) -> None:
        """Train what the peers own themselves (projections, competence heads), if anything."""

    def state(self) -> dict[str, Tensor]:
        """What they own."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved state."""


class TextPeers:
    """Next-piece distributions at shared text positions against a leave-one-out mixture (METHOD section 4, "Peers")."""

    def __init__(self, config: PeerConfig, students: Sequence[Student], *, seed: int) -> None:
        self.config = config
        self._piece_token_SU = shared_pieces(students)

    def meet(
        self, work: StepWork, forwards: Sequence[Forward], *, read_PS: Tensor, shared_P: Tensor, generator: torch.Generator
    ) -> Meeting:
        """Shared token boundaries of the paths that all read."""
        return meet(work, forwards, is_read_P=shared_P, limit=self.config.max_positions, generator=generator)

    def wish(self, student: int, meeting: Meeting) -> PeerWish:
        """The likeliest shared pieces at the positions."""
        return PeerWish(
            row_C=meeting.row_CS[:, student],
            stop_C=meeting.stop_CS[:, student],
            piece_token_U=self._piece_token_SU[student],
            support=self.config.support,
        )

    def teach(self, meeting: Meeting, observations: Sequence[Observation], weight: float) -> Terms:
        """The mixture of the peers, where they are better."""
        return _text_terms(meeting, observations, self._piece_token_SU, weight=weight, support=self.config.support)

    def step(self) -> None:
        """Nothing is owned."""

    def state(self) -> dict[str, Tensor]:
        """Nothing is owned."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing is owned."""


def _text_terms(
    meeting: Meeting,
    observations: Sequence[Observation],
    piece_token_SU: Sequence[Tensor],
    *,
    weight: float,
    support: int,
) -> tuple[list[PeerTerm | None], dict[str, float]]:
    """The peer loss of each student at this step (None where it has nobody better to learn from), and metrics.

    `agreement` is the share of positions where all students' likeliest shared pieces are the same (`agreement_shuffled`:
    against other positions), `entropy_nats` the smallest mean next-piece entropy of a student, `gate_frac` per student the share
    of positions where its peers are better. `alarm/collapse` is 1 where students say one thing everywhere.
    """
    views = [observation.pieces for observation in observations]
    if any(view is None for view in views):
        return [None] * len(observations), {}
    columns = [observation.span_nll_C / meeting.bytes_C for observation in observations if observation.span_nll_C is not None]
    better_CS = is_peer_better(torch.stack(columns, dim=1))
    known = [view for view in views if view is not None]
    targets = leave_one_out_targets(known, support=support)
    favourites = torch.stack([view.piece_CM[:, 0] for view in known], dim=1)
    moved = torch.stack([favourites[:, s].roll(s * max(len(favourites) // 2, 1)) for s in range(len(known))], dim=1)
    entropy = torch.stack([torch.special.entr(view.prob_CM).sum(dim=1).mean() for view in known])
    metrics = {
        "peer/agreement": float((favourites == favourites[:, :1]).all(dim=1).float().mean()),
        "peer/agreement_shuffled": float((moved == moved[:, :1]).all(dim=1).float().mean()),
        "peer/entropy_nats": float(entropy.min()),
    }
    metrics["alarm/collapse"] = float(metrics["peer/agreement_shuffled"] > 0.9 and metrics["peer/entropy_nats"] < 0.1)
    work: list[PeerTerm | None] = []
    for student, target in enumerate(targets):
        is_active_C = better_CS[:, student]
        metrics[f"peer/gate_frac/{student}"] = float(is_active_C.float().mean())
        work.append(
            PeerWork(
                aligned_C=meeting.row_CS[:, student],
                is_active_C=is_active_C,
                target=target,
                piece_token_U=piece_token_SU[student],
                weight=weight,
            )
            if weight > 0 and bool(is_active_C.any())
            else None
        )
    return work, metrics


class FeaturePeers:
    """Projected hidden states against an ensemble (the paper's equations 5-8), with its failings as switches."""

    def __init__(self, config: FeaturePeerConfig, students: Sequence[Student], *, seed: int) -> None:
        self.config = config
        self.dim = min(config.dim, *(student.width for student in students))
        generator = torch.Generator().manual_seed(int(content_hash([seed, "projections"]), 16) % 2**62)
        self.project_SDJ = nn.ParameterList(
            nn.Parameter(_projection(student.width, self.dim, config.projection, generator)) for student in students
        )
        self.head_SJ = nn.Parameter(torch.randn(len(students), self.dim, generator=generator) * self.dim**-0.5)
        self._own = [*self.project_SDJ, self.head_SJ] if config.projection == "trainable" else []
        self._optimizer = torch.optim.AdamW(self._own, lr=config.learning_rate, weight_decay=0.0) if self._own else None

    def meet(
        self, work: StepWork, forwards: Sequence[Forward], *, read_PS: Tensor, shared_P: Tensor, generator: torch.Generator
    ) -> Meeting:
        """Shared text positions of the paths that all read, or equal token indices of everything."""
        if self.config.positions == "index":
            return meet_by_index(work, forwards, is_read_PS=read_PS)
        return meet(work, forwards, is_read_P=shared_P, limit=self.config.max_positions, generator=generator)

    def wish(self, student: int, meeting: Meeting) -> PeerWish:
        """Hidden states at the positions."""
        return PeerWish(row_C=meeting.row_CS[:, student], stop_C=meeting.stop_CS[:, student], is_feature=True)

    def teach(self, meeting: Meeting, observations: Sequence[Observation], weight: float) -> Terms:
        """The loss over all students and its gradient in each one's hidden states."""
        rows_SCD = [observation.feature_CD.requires_grad_() for observation in observations if observation.feature_CD is not None]
        projected_S = [rows_CD @ project_DJ for rows_CD, project_DJ in zip(rows_SCD, self.project_SDJ, strict=True)]
        gamma_CS = competence(projected_S, self.head_SJ, meeting.path_of_C)
        loss = feature_loss(
            projected_S,
            gamma_CS if not self.config.is_target_detached else gamma_CS.detach(),
            target=self.config.target,
            is_target_detached=self.config.is_target_detached,
            is_normalised=self.config.is_normalised,
        )
        gradients = torch.autograd.grad(weight * loss, [*rows_SCD, *self._own], allow_unused=True)
        for parameter, gradient in zip(self._own, gradients[len(rows_SCD) :], strict=True):
            parameter.grad = gradient
        value = float(loss.detach()) / len(rows_SCD)
        share_S = (meeting.row_CS >= 0).sum(dim=0) / meeting.num_rows_S.clamp(min=1)
        terms: list[PeerTerm | None] = [
            FeatureWork(row_C=meeting.row_CS[:, student], grad_CD=gradient, value=value * float(share_S[student]))
            for student, gradient in enumerate(gradients[: len(rows_SCD)])
            if gradient is not None
        ]
        metrics = agreement([z_CJ.detach() for z_CJ in projected_S])
        is_collapsed = metrics["norm_ratio"] < 0.1 or metrics["effective_rank"] < 1.5
        named = {f"peer/feature_{name}": number for name, number in metrics.items()}
        return terms, named | {"alarm/collapse": float(is_collapsed)}

    def step(self) -> None:
        """One AdamW step of trainable projections and competence heads."""
        if self._optimizer is not None:
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Trained projections and heads with their moments; fixed ones are drawn from the seed."""
        tensors: dict[str, Tensor] = {}
        for index, parameter in enumerate(self._own):
            tensors[f"own/{index}"] = parameter.detach().clone()
            assert self._optimizer is not None
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"moment/{index}/{key}"] = torch.as_tensor(value).detach().clone()
        return tensors

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put them back."""
        for index, parameter in enumerate(self._own):
            assert self._optimizer is not None
            with torch.no_grad():
                parameter.copy_(state[f"own/{index}"])
            prefix = f"moment/{index}/"
            if moments := {k.removeprefix(prefix): v.clone() for k, v in state.items() if k.startswith(prefix)}:
                self._optimizer.state[parameter] = moments


def _projection(width: int, dim: int, kind: str, generator: torch.Generator) -> Tensor:
    gaussian_DJ = torch.randn(width, dim, generator=generator)
    if kind == "orthogonal":
        orthonormal_DJ: Tensor = torch.linalg.qr(gaussian_DJ)[0]
        return orthonormal_DJ.contiguous()
    scale: float = width**-0.5
    return gaussian_DJ * scale


PEERS: dict[str, Callable[..., Peers]] = {"text": TextPeers, "feature": FeaturePeers}
"""kind -> class built with (config, students, seed=)."""


def make_peers(config: Any, students: Sequence[Student], *, seed: int) -> Peers | None:
    """Build the peers a config asks for; None where it switches them off or nobody is there to teach."""
    return PEERS[config.kind](config, students, seed=seed) if len(students) > 1 and config.weight > 0 else None
