"""Pure tensor functions: the student loss, the peer loss."""

from qrdistill.losses.feature import agreement, competence, effective_rank, feature_loss
from qrdistill.losses.peer import PeerTarget, PieceView, is_peer_better, leave_one_out_targets, piece_cross_entropy, piece_slopes
from qrdistill.losses.sft import token_nll, token_weights

__all__ = [
    "PeerTarget",
    "PieceView",
    "agreement",
    "competence",
    "effective_rank",
    "feature_loss",
    "is_peer_better",
    "leave_one_out_targets",
    "piece_cross_entropy",
    "piece_slopes",
    "token_nll",
    "token_weights",
]
