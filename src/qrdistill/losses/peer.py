"""The peer loss: match a leave-one-out mixture of the peers' next-piece distributions at shared text positions.

Tokenizers differ, so students meet only where the text ends a token for all of them, and compare only pieces that are a single
token in every vocabulary; all other mass is one more outcome, "other". There is no trainable projection, so nothing can
collapse (METHOD section 4, "Peers"; the paper's equations 5-8 are the feature-space version).

Shapes: C aligned positions, M pieces a student reports, U shared pieces, J pieces kept as support, S students.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

OTHER_FLOOR = 1e-6
"""Least probability of "other"; below it float32 cannot tell it from rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceView:
    """One student's next-piece distribution at the aligned positions, cut to its M likeliest shared pieces; no gradient."""

    piece_CM: Tensor
    """Indices into the shared piece list."""
    prob_CM: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTarget:
    """What one student should match: probabilities of J pieces, then of "other" (rows sum to 1)."""

    piece_CJ: Tensor
    prob_CK: Tensor
    """K = J + 1."""


def leave_one_out_targets(views: Sequence[PieceView], *, support: int) -> list[PeerTarget]:
    """For each student the equal-weight mixture of its peers' views, cut to its `support` likeliest pieces.

    A piece outside a peer's own M likeliest counts as "other" for that peer.
    """
    targets = []
    for student in range(len(views)):
        piece_CJ, prob_CJ = _mixture([view for index, view in enumerate(views) if index != student], support)
        other_C1 = (1.0 - prob_CJ.sum(dim=1, keepdim=True)).clamp(min=0.0)
        prob_CK = torch.cat([prob_CJ, other_C1], dim=1)
        targets.append(PeerTarget(piece_CJ=piece_CJ, prob_CK=prob_CK / prob_CK.sum(dim=1, keepdim=True)))
    return targets


def _mixture(peers: Sequence[PieceView], support: int) -> tuple[Tensor, Tensor]:
    """Likeliest pieces of the mean of several views, with their probabilities [C, J].

    Only pieces that a peer names are looked at, not all U: sorted by piece, equal ones stand together and are added up.
    """
    piece_CB, order_CB = torch.cat([peer.piece_CM for peer in peers], dim=1).sort(dim=1, stable=True)
    prob_CB = torch.cat([peer.prob_CM / len(peers) for peer in peers], dim=1).gather(1, order_CB)
    is_repeated_CB = torch.zeros_like(piece_CB, dtype=torch.bool)
    is_repeated_CB[:, 1:] = piece_CB[:, 1:] == piece_CB[:, :-1]
    run_CB = (~is_repeated_CB).cumsum(dim=1) - 1
    total_CB = torch.zeros_like(prob_CB).scatter_add_(1, run_CB, prob_CB)
    total_CB[torch.arange(total_CB.shape[1]) > run_CB[:, -1:]] = -1.0  # less than any piece
    prob_CJ, index_CJ = total_CB.topk(min(support, total_CB.shape[1]), dim=1)
    return torch.zeros_like(piece_CB).scatter_(1, run_CB, piece_CB).gather(1, index_CJ), prob_CJ.clamp(min=0.0)


def is_peer_better(span_nll_CS: Tensor) -> Tensor:
    """Where a student may learn from its peers: their mean NLL per byte over the span is below its own.

    Args:
        span_nll_CS: NLL in nats per byte of each student over the text from the aligned position to the next one.

    Returns:
        bool [C, S]. A weak peer is masked out, so it cannot pull a strong student down.
    """
    num_students = span_nll_CS.shape[1]
    peers_CS = (span_nll_CS.sum(dim=1, keepdim=True) - span_nll_CS) / max(num_students - 1, 1)
    better_CS: Tensor = peers_CS < span_nll_CS
    return better_CS


def piece_cross_entropy(logits_CV: Tensor, target: PeerTarget, piece_token_U: Tensor) -> Tensor:
    """KL(target || student) over J pieces and "other", per position, in nats.

    Args:
        logits_CV: the student's logits at the aligned positions, with gradient.
        target: what to match (detached).
        piece_token_U: this student's token id of each shared piece.

    Returns:
        [C], >= 0; zero exactly when the student's distribution on the support equals the target.
    """
    log_total_C1 = torch.logsumexp(logits_CV, dim=-1, keepdim=True)
    log_prob_CJ = logits_CV.gather(1, piece_token_U.to(logits_CV.device)[target.piece_CJ]) - log_total_C1
    return _divergence(log_prob_CJ, target)[0]


def piece_slopes(log_prob_CJ: Tensor, target: PeerTarget) -> tuple[Tensor, Tensor, Tensor]:
    """The same divergence from the pieces' log-probabilities alone, with its slope in every logit.

    With t the target, p the student and o = 1 - sum_J p_j (all else),

        d KL / d z_v = [v in J] (t_o p_v / o - t_v) + p_v (1 - t_o - t_o (1 - o) / o),

    so whoever has sum_v p_v W_v needs no second pass over the vocabulary. Where o is at its floor, it does not move: t_o counts
    as 0 in the brackets' products with 1 / o.

    Returns:
        the divergence [C], the first term's factor for each piece [C, J], the second's factor of p_v [C].
    """
    divergence_C, other_C1 = _divergence(log_prob_CJ, target)
    prob_CJ, target_other_C1 = log_prob_CJ.exp(), target.prob_CK[:, -1:]
    ratio_C1 = torch.where(other_C1 > OTHER_FLOOR, target_other_C1 / other_C1, torch.zeros_like(other_C1))
    slope_CJ = ratio_C1 * prob_CJ - target.prob_CK[:, :-1]
    slope_C1 = 1 - target_other_C1 - ratio_C1 * prob_CJ.sum(dim=1, keepdim=True)
    return divergence_C, slope_CJ, slope_C1.squeeze(1)


def _divergence(log_prob_CJ: Tensor, target: PeerTarget) -> tuple[Tensor, Tensor]:
    """KL(target || student) [C], and the student's "other" [C, 1]."""
    other_C1 = (1.0 - log_prob_CJ.exp().sum(dim=1, keepdim=True)).clamp(min=OTHER_FLOOR)
    log_prob_CK = torch.cat([log_prob_CJ, other_C1.log()], dim=1)
    entropy_C = torch.special.entr(target.prob_CK).sum(dim=1)
    return -(target.prob_CK * log_prob_CK).sum(dim=1) - entropy_C, other_C1
