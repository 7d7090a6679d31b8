"""What one student does in a joint step: forward, look without gradient, then the weighted loss and its gradient.

The vocabulary may have 262k entries, so logits exist for a few rows at a time only: `glance` reads what routing and peers need
from them and takes each label's gradient while they are there; `backward` weights those gradients, adds the peer loss (whose
logits are made again for its few rows) and hands the gradient of the hidden states to autograd.

Shapes: N label tokens of the step in path order, D model width, V vocabulary, P paths, C aligned positions, J support pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from qrdistill.losses import PeerTarget, PieceView, piece_cross_entropy, token_nll
from qrdistill.routing.features import PathState, path_state
from qrdistill.routing.sketch import GradientSketch
from qrdistill.students import LabelReading, PathTokens, Student, has_frozen_head, pack, read_labels, rows_at_once
from qrdistill.training.pool import StepWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One student's hidden states at every label of the step (with graph when it trains)."""

    hidden_ND: Tensor
    label_N: Tensor
    path_of_N: Tensor
    start_P: Tensor
    """Row of each path's first label; -1 where the student has not read the path here."""
    is_value_N: Tensor
    """Labels that carry an answer-determining value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a forward pass shows, without graph."""

    state: PathState
    nll_N: Tensor
    grad_ND: Tensor | None
    """Gradient of each label's nll with respect to its hidden state; None where the head itself is trained."""
    sketch_PX: Tensor | None
    pieces: PieceView | None
    """Next pieces where peers compare them; zeros at positions of paths that were not read here."""
    span_nll_C: Tensor | None = None
    """Sum of the token losses over the span of each position; zeros likewise."""
    feature_CD: Tensor | None = None
    """Hidden states where peers compare them; zeros where the student has no such position."""


def run_forward(student: Student, work: StepWork, index: int, *, is_read_P: Tensor, row_tokens: int) -> Forward:
    """Hidden states of the paths a student reads, prompts shared, in rows of at most `row_tokens` tokens."""
    read = is_read_P.tolist()
    by_prompt: dict[tuple[int, ...], list[PathTokens]] = {}
    for path, is_read in zip(work.paths, read, strict=True):
        if is_read:
            by_prompt.setdefault(path.tokens[index].prompt_ids, []).append(path.tokens[index])
    number = {path.path.id: position for position, path in enumerate(work.paths)}
    hidden = [torch.zeros(0, student.width, device=student.device, dtype=student.dtype)]
    labels, owners, values = (
        [torch.zeros(0, dtype=torch.long)],
        [torch.zeros(0, dtype=torch.long)],
        [torch.zeros(0, dtype=torch.bool)],
    )
    for batch in pack(list(by_prompt.values()), row_tokens):
        hidden.append(student.hidden(batch)[batch.predict_N.to(student.device)])
        labels.append(batch.label_N)
        owners.append(torch.tensor([number[path_id] for path_id in batch.path_ids])[batch.path_of_N])
        values += [
            _is_value(path.tokens[index], path.value_spans) for path in (work.paths[number[name]] for name in batch.path_ids)
        ]
    path_of_N = torch.cat(owners)
    return Forward(
        hidden_ND=torch.cat(hidden),
        label_N=torch.cat(labels),
        path_of_N=path_of_N,
        start_P=_first_rows(path_of_N, len(work.paths)),
        is_value_N=torch.cat(values),
    )


def _first_rows(path_of_N: Tensor, num_paths: int) -> Tensor:
    """Row of each path's first label, -1 for a path without any [P]; paths of one prompt stand together, whatever their order."""
    start_P = torch.full((num_paths,), -1)
    is_first_N = torch.diff(path_of_N, prepend=torch.tensor([-1])) != 0
    start_P[path_of_N[is_first_N]] = is_first_N.nonzero().squeeze(1)
    return start_P


def _is_value(tokens: PathTokens, spans: tuple[tuple[int, int], ...]) -> Tensor:
    return torch.tensor([any(start < stop and end > first for first, stop in spans) for start, end in tokens.response_offsets])


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerWish:
    """What a meeting with peers needs from one student's forward pass."""

    row_C: Tensor
    """Label row of each position; -1: not read here."""
    stop_C: Tensor
    """First label row after its span."""
    piece_token_U: Tensor | None = None
    """The student's token of each shared piece, if the likeliest pieces are read."""
    support: int = 0
    """Pieces reported per position."""
    is_feature: bool = False
    """Whether hidden states are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to read from a student's logits besides losses."""

    is_learning: bool
    """Also take each label's gradient while its logits are at hand."""
    sketch: GradientSketch | None
    """Hashes last-layer gradients, if the utility wants them."""
    peers: PeerWish | None
    """What the peers need; None where nobody meets."""


@dataclass(slots=True, kw_only=True)
class _Glance:
    """What one range of label rows shows."""

    reading: LabelReading
    hashed: list[tuple[Tensor, Tensor]]
    likeliest: list[tuple[Tensor, Tensor]]


def row_ranges(student: Student, forward: Forward) -> list[slice]:
    """Ranges of label rows that are read independently (by whichever thread is free)."""
    size = rows_at_once(student)
    return [slice(start, start + size) for start in range(0, len(forward.label_N), size)]


def glance(student: Student, forward: Forward, wanted: Wanted, rows: slice) -> _Glance:
    """Read token losses, ranks, Brier scores, and what utility and peers need, from the logits of a range of rows."""
    seen = _Glance(reading=None, hashed=[], likeliest=[])  # type: ignore[arg-type]
    hidden_ND, label_N, peers = forward.hidden_ND[rows].detach(), forward.label_N[rows], wanted.peers
    is_aligned_N = _is_aligned(peers, len(forward.label_N))[rows]

    def look(chunk: slice, logits_RV: Tensor, log_total_R: Tensor) -> None:
        if wanted.sketch is not None:
            label_R = label_N[chunk].to(logits_RV.device)
            seen.hashed.append(wanted.sketch.tokens(logits_RV, hidden_ND[chunk].float(), label_R))
        wanted_R = is_aligned_N[chunk].to(logits_RV.device)
        if peers is not None and peers.piece_token_U is not None and wanted_R.any():
            prob_CU = (logits_RV[wanted_R][:, peers.piece_token_U.to(logits_RV.device)] - log_total_R[wanted_R, None]).exp()
            prob_CM, piece_CM = prob_CU.topk(min(peers.support, len(peers.piece_token_U)), dim=1)
            seen.likeliest.append((piece_CM.cpu(), prob_CM.cpu()))

    is_watched = wanted.sketch is not None or bool(is_aligned_N.any())
    is_grad = wanted.is_learning and has_frozen_head(student)
    seen.reading = read_labels(student, hidden_ND, label_N, is_grad=is_grad, look=look if is_watched else None)
    return seen


def _is_aligned(peers: PeerWish | None, num_labels: int) -> Tensor:
    """Which label rows' likeliest shared pieces are read [N]."""
    is_aligned_N = torch.zeros(num_labels, dtype=torch.bool)
    if peers is not None and peers.piece_token_U is not None:
        is_aligned_N[peers.row_C[peers.row_C >= 0]] = True
    return is_aligned_N


def gather(forward: Forward, wanted: Wanted, glances: Sequence[_Glance], *, num_paths: int) -> Observation:
    """Join the ranges of one student's rows."""
    none = torch.zeros(0)
    nll_N = torch.cat([none, *(glance.reading.nll_N.cpu() for glance in glances)])
    rank_N = torch.cat([none, *(glance.reading.rank_N.cpu().float() for glance in glances)])
    brier_N = torch.cat([none, *(glance.reading.brier_N.cpu() for glance in glances)])
    gradients = [glance.reading.grad_ND for glance in glances if glance.reading.grad_ND is not None]
    hashed = [pair for glance in glances for pair in glance.hashed]
    likeliest = [pair for glance in glances for pair in glance.likeliest]
    peers = wanted.peers
    sketch_PX = None
    if wanted.sketch is not None:
        error_NW, hidden_NW = (torch.cat([torch.zeros(0, wanted.sketch.dim), *column]) for column in _columns(hashed))
        sketch_PX = wanted.sketch.paths(error_NW, hidden_NW, forward.path_of_N, num_paths)
    return Observation(
        state=path_state(nll_N, rank_N, brier_N, forward.is_value_N, forward.path_of_N, num_paths),
        nll_N=nll_N,
        grad_ND=torch.cat(gradients) if gradients else None,
        sketch_PX=sketch_PX,
        pieces=_pieces(likeliest, peers) if peers is not None and peers.piece_token_U is not None else None,
        span_nll_C=_spans(nll_N, peers) if peers is not None else None,
        feature_CD=_features(forward, peers.row_C) if peers is not None and peers.is_feature else None,
    )


def _pieces(likeliest: Sequence[tuple[Tensor, Tensor]], peers: PeerWish) -> PieceView:
    """What was read in the order of label rows, in the order of positions."""
    assert peers.piece_token_U is not None
    shape = (len(peers.row_C), min(peers.support, len(peers.piece_token_U)))
    piece_CM, prob_CM = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
    if likeliest:
        here = (peers.row_C >= 0).nonzero().squeeze(1)
        slots = here[peers.row_C[here].argsort()]
        piece_CM[slots], prob_CM[slots] = map(torch.cat, _columns(likeliest))
    return PieceView(piece_CM=piece_CM, prob_CM=prob_CM)


def _spans(nll_N: Tensor, peers: PeerWish) -> Tensor:
    running = torch.cat([torch.zeros(1, dtype=torch.double), nll_N.double().cumsum(0)])
    return ((running[peers.stop_C] - running[peers.row_C]) * (peers.row_C >= 0)).float()


def _features(forward: Forward, row_C: Tensor) -> Tensor:
    """Detached hidden states of chosen label rows on the CPU; zeros for row -1."""
    padded = torch.cat([forward.hidden_ND.detach().float().cpu(), torch.zeros(1, forward.hidden_ND.shape[1])])
    return padded[row_C]


def _columns(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [first for first, _ in pairs], [second for _, second in pairs]


class PeerTerm(Protocol):
    """The peer loss of one student at one step."""

    def add_gradients(self, student: Student, forward: Forward, gradient_ND: Tensor) -> float:
        """Add its gradient in the hidden states; returns its value (without lambda)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureWork:
    """A term whose gradient in some hidden states is known already."""

    row_C: Tensor
    """Label rows; -1: none."""
    grad_CD: Tensor
    value: float
    """What these rows add to the loss."""

    def add_gradients(self, student: Student, forward: Forward, gradient_ND: Tensor) -> float:
        """Put the gradient where it belongs."""
        is_real_C = self.row_C >= 0
        grad_CD = self.grad_CD[is_real_C].to(gradient_ND.device, gradient_ND.dtype)
        gradient_ND.index_add_(0, self.row_C[is_real_C].to(gradient_ND.device), grad_CD)
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerWork:
    """KL to the peers' mixture at aligned positions: where, what to match, and the weight lambda of its mean."""

    aligned_C: Tensor
    is_active_C: Tensor
    target: PeerTarget
    piece_token_U: Tensor
    weight: float

    def add_gradients(self, student: Student, forward: Forward, gradient_ND: Tensor) -> float:
        """At the positions where the peers are better; returns their mean KL (what these rows add to it)."""
        active, count = (self.is_active_C & (self.aligned_C >= 0)).nonzero().squeeze(1), int(self.is_active_C.sum())
        total = 0.0
        for slots in torch.split(active, max(rows_at_once(student) // 2, 1)):
            rows = self.aligned_C[slots]
            hidden_RD = forward.hidden_ND[rows].detach().requires_grad_()
            target = PeerTarget(
                piece_CJ=self.target.piece_CJ[slots].to(student.device), prob_CK=self.target.prob_CK[slots].to(student.device)
            )
            divergence = piece_cross_entropy(student.logits(hidden_RD).float(), target, self.piece_token_U).sum() / count
            (self.weight * divergence).backward()  # type: ignore[no-untyped-call]
            assert hidden_RD.grad is not None
            gradient_ND[rows] += hidden_RD.grad
            total += float(divergence.detach())
        return total


def backward(
    student: Student, forward: Forward, observation: Observation, weight_N: Tensor, peer: PeerTerm | None
) -> dict[str, float]:
    """Accumulate gradients of ``sum_N w_N nll_N + lambda * mean_C KL_C`` in the student's trainable weights.

    Both terms are sums over rows, so their gradients with respect to the hidden states add up; one backward pass through the
    decoder carries them on.

    Returns:
        "sft": the weighted NLL (nats per token), "peer": the value of the peer term, 0 where there is none.
    """
    gradient_ND = torch.zeros_like(forward.hidden_ND)
    weight_N = weight_N.to(student.device)
    if observation.grad_ND is not None:
        gradient_ND += weight_N[:, None] * observation.grad_ND
    else:
        _add_label_gradients(student, forward, weight_N, gradient_ND)
    divergence = peer.add_gradients(student, forward, gradient_ND) if peer is not None else 0.0
    if forward.hidden_ND.requires_grad:
        forward.hidden_ND.backward(gradient_ND)  # type: ignore[no-untyped-call]
    return {"sft": float((weight_N.cpu() * observation.nll_N).sum()), "peer": divergence}


def _add_label_gradients(student: Student, forward: Forward, weight_N: Tensor, gradient_ND: Tensor) -> None:
    """The student loss through autograd, for a head that is trained itself."""
    for rows in torch.split((weight_N > 0).nonzero().squeeze(1), max(rows_at_once(student) // 2, 1)):
        hidden_RD = forward.hidden_ND[rows].detach().requires_grad_()
        nll_R = token_nll(student.logits(hidden_RD).float(), forward.label_N.to(student.device)[rows])
        (weight_N[rows] * nll_R).sum().backward()  # type: ignore[no-untyped-call]
        assert hidden_RD.grad is not None
        gradient_ND[rows] += hidden_RD.grad
