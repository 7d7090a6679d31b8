"""What one student does in a joint step: forward, look without gradient, then the weighted loss and its gradient.

The vocabulary may have 262k entries, so logits exist for a few rows at a time only: `observe` reads what routing and peers need
from them and takes each label's gradient while they are there; `backward` weights those gradients, adds the peer loss (whose
logits are made again for its few rows) and hands the gradient of the hidden states to autograd.

Shapes: N label tokens of the step in path order, D model width, V vocabulary, P paths, C aligned positions, J support pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qrdistill.losses import PeerTarget, PieceView, piece_cross_entropy, token_nll
from qrdistill.routing.features import PathState, path_state
from qrdistill.routing.sketch import GradientSketch
from qrdistill.students import PathTokens, Student, has_frozen_head, pack, read_labels
from qrdistill.training.pool import StepWork

LOGIT_FLOATS = 2**24
"""Logits held at once (64 MB in float32)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One student's hidden states at every label of the step (with graph when it trains)."""

    hidden_ND: Tensor
    label_N: Tensor
    path_of_N: Tensor
    start_P: Tensor
    """Row of each path's first label."""
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


def run_forward(student: Student, work: StepWork, index: int, *, is_read_P: Tensor, row_tokens: int) -> Forward:
    """Hidden states of the paths a student reads, prompts shared, in rows of at most `row_tokens` tokens."""
    read = is_read_P.tolist()
    by_question: list[list[PathTokens]] = [[] for _ in work.questions]
    for path, question, is_read in zip(work.paths, work.question_of_P.tolist(), read, strict=True):
        if is_read:
            by_question[question].append(path.tokens[index])
    number = {path.path.id: position for position, path in enumerate(work.paths)}
    hidden = [torch.zeros(0, student.width, device=student.device)]
    labels, owners, values = (
        [torch.zeros(0, dtype=torch.long)],
        [torch.zeros(0, dtype=torch.long)],
        [torch.zeros(0, dtype=torch.bool)],
    )
    for batch in pack([paths for paths in by_question if paths], row_tokens):
        hidden.append(student.hidden(batch)[batch.predict_N.to(student.device)])
        labels.append(batch.label_N)
        owners.append(torch.tensor([number[path_id] for path_id in batch.path_ids])[batch.path_of_N])
    values += [_is_value(path.tokens[index], path.value_spans) for path, is_read in zip(work.paths, read, strict=True) if is_read]
    path_of_N = torch.cat(owners)
    counts = torch.bincount(path_of_N, minlength=len(work.paths))
    return Forward(
        hidden_ND=torch.cat(hidden),
        label_N=torch.cat(labels),
        path_of_N=path_of_N,
        start_P=torch.cumsum(counts, 0) - counts,
        is_value_N=torch.cat(values),
    )


def _is_value(tokens: PathTokens, spans: tuple[tuple[int, int], ...]) -> Tensor:
    return torch.tensor([any(start < stop and end > first for first, stop in spans) for start, end in tokens.response_offsets])


def observe(
    student: Student,
    forward: Forward,
    *,
    num_paths: int,
    is_learning: bool,
    sketch: GradientSketch | None = None,
    aligned_C: Tensor | None = None,
    piece_token_U: Tensor | None = None,
    support: int = 64,
) -> Observation:
    """Read token losses, ranks and Brier scores, and what the utility and the peers need, from the logits.

    Args:
        student: whose forward pass it is.
        forward: its hidden states.
        num_paths: P.
        is_learning: also take each label's gradient while its logits are at hand.
        sketch: hashes last-layer gradients, if the utility wants them.
        aligned_C: label rows at aligned positions in ascending order, if there are peers.
        piece_token_U: the student's token of each shared piece, if there are peers.
        support: pieces reported per aligned position.
    """
    viewer = _Viewer(forward, sketch, aligned_C, piece_token_U, support)
    reading = read_labels(
        student,
        forward.hidden_ND,
        forward.label_N,
        is_grad=is_learning and has_frozen_head(student),
        look=viewer.look if viewer.is_needed else None,
    )
    return Observation(
        state=path_state(
            reading.nll_N.cpu(),
            reading.rank_N.cpu(),
            reading.brier_N.cpu(),
            forward.is_value_N,
            forward.path_of_N,
            num_paths,
        ),
        nll_N=reading.nll_N.cpu(),
        grad_ND=reading.grad_ND,
        sketch_PX=viewer.sketches(num_paths),
        pieces=viewer.pieces(),
    )


class _Viewer:
    """Looks at each chunk of logits while it is there: gradient sketches, and next pieces at the aligned positions."""

    def __init__(
        self,
        forward: Forward,
        sketch: GradientSketch | None,
        aligned_C: Tensor | None,
        piece_token_U: Tensor | None,
        support: int,
    ) -> None:
        self._forward = forward
        self._sketch = sketch
        self._piece_token_U = piece_token_U
        self._support = support
        self._is_aligned_N = torch.zeros(len(forward.label_N), dtype=torch.bool)
        if aligned_C is not None:
            self._is_aligned_N[aligned_C] = True
        self._hashed: list[tuple[Tensor, Tensor]] = []
        self._likeliest: list[tuple[Tensor, Tensor]] = []

    @property
    def is_needed(self) -> bool:
        return self._sketch is not None or bool(self._is_aligned_N.any())

    def look(self, rows: slice, logits_RV: Tensor, log_total_R: Tensor) -> None:
        if self._sketch is not None:
            hidden_RD, label_R = self._forward.hidden_ND[rows].detach().float(), self._forward.label_N[rows]
            self._hashed.append(self._sketch.tokens(logits_RV, hidden_RD, label_R.to(logits_RV.device)))
        wanted_R = self._is_aligned_N[rows].to(logits_RV.device)
        if self._piece_token_U is not None and wanted_R.any():
            prob_CU = (logits_RV[wanted_R][:, self._piece_token_U] - log_total_R[wanted_R, None]).exp()
            prob_CM, piece_CM = prob_CU.topk(min(self._support, len(self._piece_token_U)), dim=1)
            self._likeliest.append((piece_CM.cpu(), prob_CM.cpu()))

    def sketches(self, num_paths: int) -> Tensor | None:
        if self._sketch is None:
            return None
        empty = torch.zeros(0, self._sketch.dim)
        error_NW = torch.cat([empty, *(error for error, _ in self._hashed)])
        hidden_NW = torch.cat([empty, *(hidden for _, hidden in self._hashed)])
        return self._sketch.paths(error_NW, hidden_NW, self._forward.path_of_N, num_paths)

    def pieces(self) -> PieceView | None:
        if not self._likeliest:
            return None
        return PieceView(
            piece_CM=torch.cat([piece for piece, _ in self._likeliest]),
            prob_CM=torch.cat([prob for _, prob in self._likeliest]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerWork:
    """The peer loss of one student at one step: where, what to match, and the weight lambda of its mean."""

    aligned_C: Tensor
    is_active_C: Tensor
    target: PeerTarget
    piece_token_U: Tensor
    weight: float


def backward(
    student: Student, forward: Forward, observation: Observation, weight_N: Tensor, peer: PeerWork | None
) -> dict[str, float]:
    """Accumulate gradients of ``sum_N w_N nll_N + lambda * mean_C KL_C`` in the student's trainable weights.

    Both terms are sums over rows, so their gradients with respect to the hidden states add up; one backward pass through the
    decoder carries them on. A student without any weighted row gets no gradient at all.

    Returns:
        "sft": the weighted NLL (nats per token), "peer": the mean KL at active positions (nats), 0 where there are none.
    """
    gradient_ND = torch.zeros_like(forward.hidden_ND)
    weight_N = weight_N.to(student.device)
    if observation.grad_ND is not None:
        gradient_ND += weight_N[:, None] * observation.grad_ND
    else:
        _add_label_gradients(student, forward, weight_N, gradient_ND)
    divergence = _add_peer_gradients(student, forward, peer, gradient_ND) if peer else 0.0
    if peer is not None or bool((weight_N > 0).any()):
        forward.hidden_ND.backward(gradient_ND)  # type: ignore[no-untyped-call]
    return {"sft": float((weight_N.cpu() * observation.nll_N).sum()), "peer": divergence}


def _add_label_gradients(student: Student, forward: Forward, weight_N: Tensor, gradient_ND: Tensor) -> None:
    """The student loss through autograd, for a head that is trained itself."""
    for rows in torch.split((weight_N > 0).nonzero().squeeze(1), _chunk_rows(student)):
        hidden_RD = forward.hidden_ND[rows].detach().requires_grad_()
        nll_R = token_nll(student.logits(hidden_RD).float(), forward.label_N.to(student.device)[rows])
        (weight_N[rows] * nll_R).sum().backward()  # type: ignore[no-untyped-call]
        assert hidden_RD.grad is not None
        gradient_ND[rows] += hidden_RD.grad


def _add_peer_gradients(student: Student, forward: Forward, peer: PeerWork, gradient_ND: Tensor) -> float:
    """The peer loss at the positions where the peers are better; returns its mean KL."""
    active = peer.is_active_C.nonzero().squeeze(1)
    total = 0.0
    for slots in torch.split(active, _chunk_rows(student)):
        rows = peer.aligned_C[slots]
        hidden_RD = forward.hidden_ND[rows].detach().requires_grad_()
        target = PeerTarget(
            piece_CJ=peer.target.piece_CJ[slots].to(student.device), prob_CK=peer.target.prob_CK[slots].to(student.device)
        )
        divergence = piece_cross_entropy(student.logits(hidden_RD).float(), target, peer.piece_token_U).sum() / len(active)
        (peer.weight * divergence).backward()  # type: ignore[no-untyped-call]
        assert hidden_RD.grad is not None
        gradient_ND[rows] += hidden_RD.grad
        total += float(divergence.detach())
    return total


def _chunk_rows(student: Student) -> int:
    return max(LOGIT_FLOATS // student.vocab_size, 8)
