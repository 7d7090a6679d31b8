"""The router: gate logits per path and student from what the path says and what the student can do with it now.

Shapes: P paths, S students, E embedding width, F learning-state features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qrdistill.routing.features import UTILITY


class Router(nn.Module):
    """``a_ps = MLP([Enc(Q); Enc(R)])_s + v_s . u_ps`` (METHOD section 4, "Gate"; its b_s is solved for, see `within_share`).

    Args:
        embed_dim: E of one text; the router sees question and path.
        num_features: F.
        num_students: S.
        hidden: width of the hidden layer.
        seed: initialisation.
    """

    def __init__(self, *, embed_dim: int, num_features: int, num_students: int, hidden: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.norm = nn.LayerNorm(2 * embed_dim, elementwise_affine=False)
        self.inner = nn.Linear(2 * embed_dim, hidden)
        self.outer = nn.Linear(hidden, num_students)
        self.state_weight_SF = nn.Parameter(torch.empty(num_students, num_features))
        with torch.no_grad():
            self.inner.weight.normal_(0, (2 * embed_dim) ** -0.5, generator=generator)
            self.inner.bias.zero_()
            # Small, not zero: every parameter has a gradient from the first step.
            self.outer.weight.normal_(0, 0.1 * hidden**-0.5, generator=generator)
            self.outer.bias.zero_()
            self.state_weight_SF.normal_(0, 0.01, generator=generator)
            self.state_weight_SF[:, UTILITY] = 1.0  # it starts from what is known of a path's like; texts refine that

    def forward(self, question_PE: Tensor, path_PE: Tensor, state_PSF: Tensor) -> Tensor:
        """Gate logits a [P, S]."""
        text_PS: Tensor = self.outer(nn.functional.gelu(self.inner(self.norm(torch.cat([question_PE, path_PE], dim=-1)))))
        return text_PS + (self.state_weight_SF * state_PSF).sum(dim=-1)
