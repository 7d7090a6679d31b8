"""A forward-only sketch of the last layer's gradient on a path.

The gradient of a path's loss with respect to the output matrix is ``(Pi - E)^T H`` (Pi: predicted probabilities, E: one-hot
labels, H: hidden states). It is hashed to ``phi = vec(A^T (Pi - E)^T H B)`` with sparse signs A and a random projection B, so two
paths that would move the student alike have a large cosine (METHOD section 4).

Shapes: N label tokens, V vocabulary, D model width, P paths, W sketch width.
"""

from __future__ import annotations

import torch
from torch import Tensor


class GradientSketch:
    """Hashes last-layer gradients of one student.

    Args:
        hidden_dim: D.
        vocabulary: V.
        dim: W, the width each factor is hashed to; phi has W * W numbers.
        top_tokens: columns of Pi that are kept besides the label's.
        seed: of the hashes.
    """

    def __init__(self, *, hidden_dim: int, vocabulary: int, dim: int, top_tokens: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.dim = dim
        self.top_tokens = min(top_tokens, vocabulary)
        self._bucket_V = torch.randint(dim, (vocabulary,), generator=generator)
        self._sign_V = torch.randint(2, (vocabulary,), generator=generator).float() * 2 - 1
        self._project_DW = torch.randn(hidden_dim, dim, generator=generator) * dim**-0.5

    def tokens(
        self, column_NK: Tensor, prob_NK: Tensor, label_prob_N: Tensor, label_N: Tensor, hidden_ND: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hashed error rows and projected hidden rows, [N, W] each; `paths` joins them.

        Args:
            column_NK: the `top_tokens` likeliest tokens of each row.
            prob_NK: their probabilities.
            label_prob_N: the label's probability.
            label_N: the labels.
            hidden_ND: the hidden states that predict them.
        """
        error_NW = torch.zeros(len(label_N), self.dim)
        error_NW.scatter_add_(1, self._bucket_V[column_NK], prob_NK * self._sign_V[column_NK])
        is_outside_N = (column_NK != label_N[:, None]).all(dim=1)
        label_error_N = torch.where(is_outside_N, label_prob_N, torch.zeros_like(label_prob_N)) - 1.0
        error_NW.scatter_add_(1, self._bucket_V[label_N][:, None], (label_error_N * self._sign_V[label_N])[:, None])
        return error_NW, hidden_ND @ self._project_DW

    def paths(self, error_NW: Tensor, hidden_NW: Tensor, path_of_N: Tensor, num_paths: int) -> Tensor:
        """Phi of each path [P, W * W]: the sum over its tokens of outer products."""
        rows = []
        for path in range(num_paths):
            is_mine = path_of_N == path
            rows.append((error_NW[is_mine].T @ hidden_NW[is_mine]).reshape(-1))
        return torch.stack(rows)
