"""What one student does in a joint step: forward, look without gradient, then the weighted loss and its gradient.

The vocabulary may have 262k entries, so logits exist for a few rows at a time only: `observe` reads what routing and peers need
from them; `backward` makes them again for the rows that carry a loss and hands the gradient of the hidden states to autograd.

Shapes: N label tokens of the step in path order, D model width, V vocabulary, P paths, C aligned positions, J support pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qrdistill.losses import PeerTarget, PieceView, piece_cross_entropy, token_nll
from qrdistill.routing.features import RANK_CAP, PathState, path_state
from qrdistill.routing.sketch import GradientSketch
from qrdistill.students import PathTokens, Student, pack
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
    """What a forward pass shows, without gradient."""

    state: PathState
    nll_N: Tensor
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
        sketch: hashes last-layer gradients, if the utility wants them.
        aligned_C: label rows at aligned positions, if there are peers.
        piece_token_U: the student's token of each shared piece, if there are peers.
        support: pieces reported per aligned position.
    """
    nll, rank, brier = [torch.zeros(0)], [torch.zeros(0)], [torch.zeros(0)]
    error, projected, pieces, probs = ([] for _ in range(4))
    is_aligned_N = torch.zeros(len(forward.label_N), dtype=torch.bool)
    if aligned_C is not None:
        is_aligned_N[aligned_C] = True
    with torch.no_grad():
        for start in range(0, len(forward.label_N), _chunk_rows(student)):
            rows = slice(start, start + _chunk_rows(student))
            hidden_ND = forward.hidden_ND[rows].detach()
            label_N = forward.label_N[rows].to(student.device)
            logits_NV = student.logits(hidden_ND).float()
            gold_N1 = logits_NV.gather(1, label_N[:, None])
            log_total_N = torch.logsumexp(logits_NV, dim=1)
            log_prob_N = gold_N1.squeeze(1) - log_total_N
            nll.append(-log_prob_N)
            rank.append(1 + (logits_NV > gold_N1).sum(dim=1).clamp(max=RANK_CAP))
            squares_N = (torch.logsumexp(2 * logits_NV, dim=1) - 2 * log_total_N).exp()
            brier.append(1 - 2 * log_prob_N.exp() + squares_N)
            if sketch is not None:
                error_NW, hidden_NW = sketch.tokens(logits_NV, hidden_ND.float(), label_N)
                error.append(error_NW)
                projected.append(hidden_NW)
            wanted_N = is_aligned_N[rows]
            if piece_token_U is not None and wanted_N.any():
                prob_CU = (logits_NV[wanted_N][:, piece_token_U] - log_total_N[wanted_N, None]).exp()
                prob_CM, piece_CM = prob_CU.topk(min(support, len(piece_token_U)), dim=1)
                pieces.append(piece_CM.cpu())
                probs.append(prob_CM.cpu())
    nll_N = torch.cat(nll).cpu()
    state = path_state(nll_N, torch.cat(rank).cpu(), torch.cat(brier).cpu(), forward.is_value_N, forward.path_of_N, num_paths)
    sketch_PX = None
    if sketch is not None:
        empty = [torch.zeros(0, sketch.dim)]
        sketch_PX = sketch.paths(torch.cat(empty + error), torch.cat(empty + projected), forward.path_of_N, num_paths)
    view = PieceView(piece_CM=torch.cat(pieces), prob_CM=torch.cat(probs)) if pieces else None
    return Observation(state=state, nll_N=nll_N, sketch_PX=sketch_PX, pieces=view)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerWork:
    """The peer loss of one student at one step: where, what to match, and the weight lambda of its mean."""

    aligned_C: Tensor
    is_active_C: Tensor
    target: PeerTarget
    piece_token_U: Tensor
    weight: float


def backward(student: Student, forward: Forward, weight_N: Tensor, peer: PeerWork | None) -> dict[str, float]:
    """Accumulate gradients of ``sum_N w_N nll_N + lambda * mean_C KL_C`` in the student's trainable weights.

    Returns:
        "sft": the weighted NLL (nats per token), "peer": the mean KL at active positions (nats), 0 where there are none.
    """
    row_of_C = peer.aligned_C[peer.is_active_C] if peer else torch.zeros(0, dtype=torch.long)
    slot_N = torch.full((len(weight_N),), -1)
    slot_N[row_of_C] = peer.is_active_C.nonzero().squeeze(1) if peer else row_of_C
    rows = ((weight_N > 0) | (slot_N >= 0)).nonzero().squeeze(1)
    gradient_ND = torch.zeros_like(forward.hidden_ND)
    sft_total, peer_total = 0.0, 0.0
    for chunk in torch.split(rows, _chunk_rows(student)):
        hidden_ND = forward.hidden_ND[chunk].detach().requires_grad_()
        logits_NV = student.logits(hidden_ND).float()
        sft = (weight_N[chunk].to(student.device) * token_nll(logits_NV, forward.label_N[chunk].to(student.device))).sum()
        loss = sft
        is_peer_N = slot_N[chunk] >= 0
        if peer is not None and is_peer_N.any():
            slots = slot_N[chunk][is_peer_N]
            target = PeerTarget(
                piece_CJ=peer.target.piece_CJ[slots].to(student.device), prob_CK=peer.target.prob_CK[slots].to(student.device)
            )
            divergence = piece_cross_entropy(logits_NV[is_peer_N], target, peer.piece_token_U).sum() / len(row_of_C)
            loss = loss + peer.weight * divergence
            peer_total += float(divergence.detach())
        loss.backward()  # type: ignore[no-untyped-call]
        assert hidden_ND.grad is not None
        gradient_ND[chunk] = hidden_ND.grad
        sft_total += float(sft.detach())
    if len(rows):
        forward.hidden_ND.backward(gradient_ND)  # type: ignore[no-untyped-call]
    return {"sft": sft_total, "peer": peer_total}


def _chunk_rows(student: Student) -> int:
    return max(LOGIT_FLOATS // student.vocab_size, 8)
