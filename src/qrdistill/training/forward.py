"""What one student does in a joint step: forward, look without gradient, then the weighted loss and its gradient.

The vocabulary may have 262k entries, so logits exist for a moment only: `look_at` and `gather` say what routing and peers need of
them and take each label's gradient while they are there; `backward` weights those gradients, adds that of the peer loss and hands
the gradient of the hidden states to autograd.

Shapes: N label tokens of the step in path order, D model width, V vocabulary, P paths, C aligned positions, J support pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from qrdistill.losses import PeerTarget, PieceView, piece_cross_entropy, piece_slopes, token_nll
from qrdistill.routing.features import PathState, path_state
from qrdistill.routing.sketch import GradientSketch
from qrdistill.students import (
    HeadPass,
    LabelReading,
    PackedBatch,
    PathTokens,
    PieceRequest,
    Student,
    has_frozen_head,
    head_pass,
    is_plain_head,
    pack,
    rows_at_once,
)
from qrdistill.students.batch import Segment
from qrdistill.training.pool import StepWork

PEER_ROWS = 32
"""Positions whose target pieces' output vectors are held at once (64 pieces of width 640: 5 MB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One student's hidden states at every label of the step.

    They carry their graph when the student trains, unless its memory does not allow it: `paths` are then read again.
    """

    hidden_ND: Tensor
    label_N: Tensor
    path_of_N: Tensor
    start_P: Tensor
    """Row of each path's first label; -1 where the student has not read the path here."""
    is_value_N: Tensor
    """Labels that carry an answer-determining value."""
    paths: Sequence[Sequence[PathTokens]]
    """What was read, by prompt, in the order of the labels."""
    is_learning: bool
    """Whether the student will take a gradient through what it read."""
    row_tokens: int
    """Most tokens of a row it was read in."""

    def let_go(self) -> None:
        """Drop the graph; the numbers stay."""
        self.hidden_ND.detach_()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a forward pass shows, without graph."""

    state: PathState
    nll_N: Tensor
    log_total_N: Tensor
    """Logarithm of the sum of all exponentiated logits, on the student's device."""
    grad_ND: Tensor | None
    """Gradient of each label's nll with respect to its hidden state (zeros where nobody asked); None where the head itself is
    trained."""
    sketch_PX: Tensor | None
    pieces: PieceView | None
    """Next pieces where peers compare them; zeros at positions of paths that were not read here."""
    span_nll_C: Tensor | None = None
    """Sum of the token losses over the span of each position; zeros likewise."""
    feature_CD: Tensor | None = None
    """Hidden states where peers compare them; zeros where the student has no such position."""


def paths_to_read(work: StepWork, index: int, is_read_P: Tensor) -> list[list[PathTokens]]:
    """A student's tokens of the paths it reads, those behind one prompt together."""
    by_prompt: dict[tuple[int, ...], list[PathTokens]] = {}
    for path, is_read in zip(work.paths, is_read_P.tolist(), strict=True):
        if is_read:
            by_prompt.setdefault(path.tokens[index].prompt_ids, []).append(path.tokens[index])
    return list(by_prompt.values())


def run_forward(
    student: Student, work: StepWork, index: int, *, is_read_P: Tensor, row_tokens: int, is_kept: bool = True
) -> Forward:
    """Hidden states of the paths a student reads, prompts shared, in rows of at most `row_tokens` tokens.

    Args:
        student: the reader.
        work: the step's paths.
        index: the student's place in the team.
        is_read_P: which paths it reads.
        row_tokens: most tokens of a packed row.
        is_kept: whether the graph is kept, where gradients are wanted at all.
    """
    is_learning = torch.is_grad_enabled()
    paths = paths_to_read(work, index, is_read_P)
    number = {path.path.id: position for position, path in enumerate(work.paths)}
    hidden = [torch.zeros(0, student.width, device=student.device, dtype=student.dtype)]
    labels, owners, values = (
        [torch.zeros(0, dtype=torch.long)],
        [torch.zeros(0, dtype=torch.long)],
        [torch.zeros(0, dtype=torch.bool)],
    )
    rows = pack(paths, row_tokens)
    passes = sum(map(student.num_passes, rows))
    for batch in [*rows, *[_UNSEEN] * (student.keep_up(passes) - passes)]:
        with torch.set_grad_enabled(is_learning and is_kept):
            hidden.append(student.hidden(batch)[batch.predict_N.to(student.device)])
        labels.append(batch.label_N)
        owners.append(torch.tensor([number[path_id] for path_id in batch.path_ids], dtype=torch.long)[batch.path_of_N])
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
        paths=paths,
        is_learning=is_learning,
        row_tokens=row_tokens,
    )


_UNSEEN = PackedBatch(
    input_ids=torch.zeros(2, dtype=torch.long),
    position_ids=torch.arange(2),
    segments=(Segment(trunk_start=0, trunk_end=1, start=1, end=2),),
    path_ids=(),
    predict_N=torch.zeros(0, dtype=torch.long),
    label_N=torch.zeros(0, dtype=torch.long),
    path_of_N=torch.zeros(0, dtype=torch.long),
)
"""A row without labels: one pass that changes nothing, for students whose processes make every pass together."""


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

    is_grad_P: Tensor | None
    """Paths whose labels' gradients are taken while the logits are at hand (as at every position where peers compare next
    pieces); None: none."""
    sketch: GradientSketch | None
    """Hashes last-layer gradients, if the utility wants them."""
    peers: PeerWish | None
    """What the peers need; None where nobody meets."""


def look_at(student: Student, forward: Forward, wanted: Wanted) -> HeadPass:
    """The pass over a student's logits that shows what is wanted."""
    pieces = []
    if (peers := _with_pieces(wanted)) is not None:
        assert peers.piece_token_U is not None
        pieces.append(PieceRequest(row_A=peers.row_C[peers.row_C >= 0], token_U=peers.piece_token_U, number=peers.support))
    if wanted.sketch is not None:
        everything_N, tokens_V = torch.arange(len(forward.label_N)), torch.arange(student.vocab_size)
        pieces.append(PieceRequest(row_A=everything_N, token_U=tokens_V, number=wanted.sketch.top_tokens))
    is_grad_N = None
    if wanted.is_grad_P is not None and has_frozen_head(student):
        is_grad_N = wanted.is_grad_P[forward.path_of_N]
        if peers is not None:
            is_grad_N[peers.row_C[peers.row_C >= 0]] = True
    return head_pass(student, forward.hidden_ND, forward.label_N, is_grad_N=is_grad_N, pieces=pieces)


def _with_pieces(wanted: Wanted) -> PeerWish | None:
    return wanted.peers if wanted.peers is not None and wanted.peers.piece_token_U is not None else None


def gather(forward: Forward, wanted: Wanted, reading: LabelReading, *, num_paths: int) -> Observation:
    """What the reading of all of a student's rows says about its paths."""
    nll_N, rank_N, brier_N = reading.nll_N.cpu(), reading.rank_N.cpu().float(), reading.brier_N.cpu()
    return Observation(
        state=path_state(nll_N, rank_N, brier_N, forward.is_value_N, forward.path_of_N, num_paths),
        nll_N=nll_N,
        log_total_N=reading.log_total_N,
        grad_ND=reading.grad_ND,
        sketch_PX=_sketch(forward, wanted.sketch, reading, num_paths) if wanted.sketch is not None else None,
        pieces=_pieces(peers, *reading.pieces[0]) if (peers := _with_pieces(wanted)) is not None else None,
        span_nll_C=_spans(nll_N, wanted.peers) if wanted.peers is not None else None,
        feature_CD=_features(forward, wanted.peers.row_C) if wanted.peers is not None and wanted.peers.is_feature else None,
    )


def _sketch(forward: Forward, sketch: GradientSketch, reading: LabelReading, num_paths: int) -> Tensor:
    """Hashed on the CPU, where the hash is."""
    column_NK, prob_NK = reading.pieces[-1]
    hidden_ND = forward.hidden_ND.detach().float().cpu()
    rows = sketch.tokens(column_NK, prob_NK, (-reading.nll_N.cpu()).exp(), forward.label_N, hidden_ND)
    return sketch.paths(*rows, forward.path_of_N, num_paths)


def _pieces(peers: PeerWish, piece_AM: Tensor, prob_AM: Tensor) -> PieceView:
    """What was read where the student is, at all positions; zeros at the others."""
    is_here_C = peers.row_C >= 0
    shape = (len(is_here_C), piece_AM.shape[1])
    piece_CM, prob_CM = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
    piece_CM[is_here_C], prob_CM[is_here_C] = piece_AM, prob_AM
    return PieceView(piece_CM=piece_CM, prob_CM=prob_CM)


def _spans(nll_N: Tensor, peers: PeerWish) -> Tensor:
    running = torch.cat([torch.zeros(1, dtype=torch.double), nll_N.double().cumsum(0)])
    return ((running[peers.stop_C] - running[peers.row_C]) * (peers.row_C >= 0)).float()


def _features(forward: Forward, row_C: Tensor) -> Tensor:
    """Detached hidden states of chosen label rows on the CPU; zeros for row -1."""
    padded = torch.cat([forward.hidden_ND.detach().float().cpu(), torch.zeros(1, forward.hidden_ND.shape[1])])
    return padded[row_C]


class PeerTerm(Protocol):
    """The peer loss of one student at one step."""

    def add_gradients(self, student: Student, forward: Forward, seen: Observation, gradient_ND: Tensor) -> float:
        """Add its gradient in the hidden states; returns its value (without lambda)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureWork:
    """A term whose gradient in some hidden states is known already."""

    row_C: Tensor
    """Label rows; -1: none."""
    grad_CD: Tensor
    value: float
    """What these rows add to the loss."""

    def add_gradients(self, student: Student, forward: Forward, seen: Observation, gradient_ND: Tensor) -> float:
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

    def add_gradients(self, student: Student, forward: Forward, seen: Observation, gradient_ND: Tensor) -> float:
        """At the positions where the peers are better; returns their mean KL (what these rows add to it)."""
        active, count = (self.is_active_C & (self.aligned_C >= 0)).nonzero().squeeze(1), int(self.is_active_C.sum())
        is_known = seen.grad_ND is not None and is_plain_head(student)
        total = 0.0
        for slots in torch.split(active, PEER_ROWS if is_known else max(rows_at_once(student) // 2, 1)):
            rows = self.aligned_C[slots]
            target = PeerTarget(
                piece_CJ=self.target.piece_CJ[slots].to(student.device), prob_CK=self.target.prob_CK[slots].to(student.device)
            )
            way = self._from_labels if is_known else self._through_logits
            divergence_C, gradient_CD = way(student, forward, seen, rows, target, self.weight / count)
            gradient_ND[rows] += gradient_CD.to(gradient_ND.dtype)
            total += float(divergence_C.sum()) / count
        return total

    @torch.no_grad()
    def _from_labels(
        self, student: Student, forward: Forward, seen: Observation, rows: Tensor, target: PeerTarget, scale: float
    ) -> tuple[Tensor, Tensor]:
        """KL and its scaled gradient without another pass over the vocabulary: sum_v p_v W_v is in the label's gradient."""
        assert seen.grad_ND is not None
        weight_VD: Tensor = student.head.weight
        hidden_CD = forward.hidden_ND[rows].detach().float()
        piece_CJD = weight_VD[self.piece_token_U.to(student.device)[target.piece_CJ]].float()
        logits_CJ = torch.bmm(piece_CJD, hidden_CD[:, :, None]).squeeze(2).to(weight_VD.dtype).float()
        divergence_C, slope_CJ, slope_C = piece_slopes(logits_CJ - seen.log_total_N[rows, None], target)
        mean_CD = seen.grad_ND[rows].float() + weight_VD[forward.label_N.to(student.device)[rows]].float()
        return divergence_C, scale * (torch.bmm(slope_CJ[:, None], piece_CJD).squeeze(1) + slope_C[:, None] * mean_CD)

    def _through_logits(
        self, student: Student, forward: Forward, seen: Observation, rows: Tensor, target: PeerTarget, scale: float
    ) -> tuple[Tensor, Tensor]:
        """The same through autograd, for heads with a soft cap, a bias or weights of their own to train."""
        hidden_CD = forward.hidden_ND[rows].detach().requires_grad_()
        divergence_C = piece_cross_entropy(student.logits(hidden_CD).float(), target, self.piece_token_U)
        (scale * divergence_C.sum()).backward()  # type: ignore[no-untyped-call]
        assert hidden_CD.grad is not None
        return divergence_C.detach(), hidden_CD.grad


def backward(
    student: Student,
    forward: Forward,
    observation: Observation,
    weight_N: Tensor,
    peer: PeerTerm | None,
    *,
    row_tokens: int = 0,
) -> dict[str, float]:
    """Accumulate gradients of ``sum_N w_N nll_N + lambda * mean_C KL_C`` in the student's trainable weights.

    Both terms are sums over rows, so their gradients with respect to the hidden states add up; one backward pass through the
    decoder carries them on.

    Args:
        student: the student.
        forward: what it read.
        observation: what was seen there.
        weight_N: weight of each label token.
        peer: its peer loss.
        row_tokens: read the paths again for the backward pass, in rows of at most so many tokens; 0: only where no graph was
            kept, in rows as long as they were read in.

    Returns:
        "sft": the weighted NLL (nats per token), "peer": the value of the peer term, 0 where there is none.
    """
    gradient_ND = torch.zeros_like(forward.hidden_ND)
    weight_N = weight_N.to(student.device)
    if observation.grad_ND is not None:
        gradient_ND += weight_N[:, None] * observation.grad_ND
    else:
        _add_label_gradients(student, forward, weight_N, gradient_ND)
    divergence = peer.add_gradients(student, forward, observation, gradient_ND) if peer is not None else 0.0
    if row_tokens or (forward.is_learning and not forward.hidden_ND.requires_grad):
        _read_again(student, forward, gradient_ND, min(row_tokens or forward.row_tokens, forward.row_tokens))
    elif forward.hidden_ND.requires_grad:
        forward.hidden_ND.backward(gradient_ND)  # type: ignore[no-untyped-call]
    return {"sft": float((weight_N.cpu() * observation.nll_N).sum()), "peer": divergence}


def _read_again(student: Student, forward: Forward, gradient_ND: Tensor, row_tokens: int) -> None:
    """The backward pass row by row; rows end elsewhere, but labels stand in the same order."""
    forward.let_go()
    start = 0
    for batch in pack(forward.paths, row_tokens):
        gradient_RD = gradient_ND[start : start + batch.num_labels]
        start += batch.num_labels
        if bool(gradient_RD.any()):
            student.hidden(batch)[batch.predict_N.to(student.device)].backward(gradient_RD)  # type: ignore[no-untyped-call]


def _add_label_gradients(student: Student, forward: Forward, weight_N: Tensor, gradient_ND: Tensor) -> None:
    """The student loss through autograd, for a head that is trained itself."""
    for rows in torch.split((weight_N != 0).nonzero().squeeze(1), max(rows_at_once(student) // 2, 1)):
        hidden_RD = forward.hidden_ND[rows].detach().requires_grad_()
        nll_R = token_nll(student.logits(hidden_RD).float(), forward.label_N.to(student.device)[rows])
        (weight_N[rows] * nll_R).sum().backward()  # type: ignore[no-untyped-call]
        assert hidden_RD.grad is not None
        gradient_ND[rows] += hidden_RD.grad
