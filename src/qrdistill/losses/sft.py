"""The student loss: token-level negative log-likelihood, weighted by path.

Shapes: N label tokens of a step, V vocabulary, P paths.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_weights(weight_P: Tensor, path_of_N: Tensor, tokens_P: Tensor | None = None) -> Tensor:
    """Spread path weights w = gate x quality over label tokens, normalised once.

    The student loss (METHOD section 4) is ``L = sum_N w_N nll_N`` with ``w_N = w[path(N)] / sum_N w[path(N)]``: every supervised
    token of equally weighted paths counts the same, and the step size does not shrink when few paths are routed.

    Args:
        weight_P: weight of each path, >= 0.
        path_of_N: index of the path each label token belongs to.
        tokens_P: label tokens of each path, where `path_of_N` is one rank's part of them.

    Returns:
        w_N, summing to 1 (over all ranks); all zeros when no path is routed (such a student takes no step).
    """
    weight_N = weight_P[path_of_N]
    total = weight_N.sum() if tokens_P is None else weight_P @ tokens_P
    return weight_N / total if total > 0 else torch.zeros_like(weight_N)


def token_nll(logits_NV: Tensor, label_N: Tensor) -> Tensor:
    """``-log softmax(logits_NV)[label_N]`` [N], nats: negative log-likelihood of each label token (METHOD section 4)."""
    return torch.logsumexp(logits_NV, dim=-1) - logits_NV.gather(-1, label_N[:, None]).squeeze(-1)
