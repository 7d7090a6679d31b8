"""Reading label tokens off the output head without ever holding all logits, and their gradients in the same pass.

With a vocabulary of 262k the head costs more than the rest of a small student. A token's loss depends on its own hidden state
only, so d nll_n / d h_n can be computed where the logits are at hand: any weighted sum of token losses then has the gradient
w_n * grad_n, and nothing has to be computed twice once the weights are known.

Shapes: N label tokens, R rows held at once, V vocabulary, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qrdistill.students.student import Student

LOGIT_BYTES = {"cpu": 2**27, "cuda": 2**30}
"""Memory of the float32 logits held at once (128 MB: 128 rows of the largest vocabulary; a GPU wants larger products)."""
_BLOCK_BYTES = {"cpu": 2**22, "cuda": 2**30}
"""Logits worked on at a time while they are in the processor's cache (a GPU has no use for that)."""

Look = Callable[[slice, Tensor, Tensor], None]
"""Called with (rows, logits_RV, log_total_R) of each chunk before the logits are overwritten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReading:
    """What the head says about label tokens [N]; float32, without graph."""

    nll_N: Tensor
    """Negative log-likelihood, nats."""
    rank_N: Tensor
    """Rank of the label among the vocabulary, 1 = the student's argmax."""
    brier_N: Tensor
    """Brier score 1 - 2 p_label + sum_v p_v^2."""
    grad_ND: Tensor | None
    """Gradient of each token's nll with respect to its hidden state, if asked for."""


def has_frozen_head(student: Student) -> bool:
    """Whether the head itself is not trained, so that the gradient of the hidden states is all there is."""
    return not any(weight.requires_grad for weight in student.head.parameters())


def read_labels(
    student: Student, hidden_ND: Tensor, label_N: Tensor, *, is_grad: bool = False, look: Look | None = None
) -> LabelReading:
    """Read the losses, ranks and Brier scores of label tokens, a chunk of rows at a time.

    Args:
        student: whose head.
        hidden_ND: hidden states that predict the labels; used without their graph.
        label_N: the labels.
        is_grad: also give the gradient of each token's loss with respect to its hidden state.
        look: sees the logits of each chunk.

    Raises:
        ValueError: the gradient is asked of a head that is trained itself (its own gradient would be lost).
    """
    if is_grad and not has_frozen_head(student):
        raise ValueError(f"student {student.name!r} trains its head; take the gradient through autograd")
    step = rows_at_once(student)
    readings = []
    for start in range(0, len(label_N), step):
        rows = slice(start, start + step)
        hidden_RD, label_R = hidden_ND[rows].detach(), label_N[rows].to(student.device)
        if _is_plain(student):
            readings.append(_read_plain(student, hidden_RD, label_R, rows, is_grad, look))
        else:
            readings.append(_read_any(student, hidden_RD, label_R, rows, is_grad, look))
    empty = hidden_ND.new_zeros(0, dtype=torch.float32)
    return LabelReading(
        nll_N=torch.cat([empty, *(reading.nll_N for reading in readings)]),
        rank_N=torch.cat([empty.long(), *(reading.rank_N for reading in readings)]),
        brier_N=torch.cat([empty, *(reading.brier_N for reading in readings)]),
        grad_ND=torch.cat([hidden_ND.detach()[:0], *(r.grad_ND for r in readings if r.grad_ND is not None)]) if is_grad else None,
    )


def rows_at_once(student: Student) -> int:
    """Label rows whose logits are held together."""
    return max(LOGIT_BYTES[student.device.type] // (4 * student.vocab_size), 8)


def _is_plain(student: Student) -> bool:
    """Whether the logits are one matrix product, so that they may be overwritten."""
    config = student.causal_lm.config
    is_scaled = any(getattr(config, name, None) for name in ("logit_scale", "logits_scaling", "final_logit_softcapping"))
    return type(student.head) is nn.Linear and student.head.bias is None and not is_scaled


@torch.no_grad()
def _read_plain(
    student: Student, hidden_RD: Tensor, label_R: Tensor, rows: slice, is_grad: bool, look: Look | None
) -> LabelReading:
    weight_VD: Tensor = student.head.weight
    narrow = torch.bfloat16 if student.is_autocast else weight_VD.dtype
    logits_RV = (hidden_RD.to(narrow) @ weight_VD.to(narrow).t()).float()
    nll_R, brier_R = torch.empty_like(label_R, dtype=torch.float32), torch.empty_like(label_R, dtype=torch.float32)
    rank_R, log_total_R = torch.empty_like(label_R), torch.empty_like(label_R, dtype=torch.float32)
    if look is not None:
        look(rows, logits_RV, torch.logsumexp(logits_RV, dim=1))
    size = max(_BLOCK_BYTES[student.device.type] // (4 * logits_RV.shape[1]), 1)
    for start in range(0, len(label_R), size):
        block = slice(start, start + size)
        prob_BV = logits_RV[block]
        gold_B1 = prob_BV.gather(1, label_R[block, None])
        rank_R[block] = 1 + torch.count_nonzero(prob_BV > gold_B1, dim=1)
        top_B1 = prob_BV.amax(dim=1, keepdim=True)
        prob_BV.sub_(top_B1).exp_()
        total_B1 = prob_BV.sum(dim=1, keepdim=True)
        prob_BV.div_(total_B1)
        log_total_R[block] = (top_B1 + total_B1.log()).squeeze(1)
        nll_R[block] = log_total_R[block] - gold_B1.squeeze(1)
        brier_R[block] = (
            1 - 2 * prob_BV.gather(1, label_R[block, None]).squeeze(1) + torch.linalg.vector_norm(prob_BV, dim=1).square()
        )
    grad_RD = None
    if is_grad:
        logits_RV[torch.arange(len(label_R), device=label_R.device), label_R] -= 1.0
        grad_RD = (logits_RV.to(narrow) @ weight_VD.to(narrow)).to(hidden_RD.dtype)
    return LabelReading(nll_N=nll_R, rank_N=rank_R, brier_N=brier_R, grad_ND=grad_RD)


def _read_any(
    student: Student, hidden_RD: Tensor, label_R: Tensor, rows: slice, is_grad: bool, look: Look | None
) -> LabelReading:
    """The same through autograd, for heads with a soft cap, a bias or an adapter."""
    with torch.set_grad_enabled(is_grad):
        if is_grad:
            hidden_RD = hidden_RD.requires_grad_()
        logits_RV = student.logits(hidden_RD).float()
        gold_R1 = logits_RV.gather(1, label_R[:, None])
        log_total_R = torch.logsumexp(logits_RV, dim=1)
        nll_R = log_total_R - gold_R1.squeeze(1)
        grad_RD = torch.autograd.grad(nll_R.sum(), hidden_RD)[0] if is_grad else None
    with torch.no_grad():
        logits_RV = logits_RV.detach()
        if look is not None:
            look(rows, logits_RV, log_total_R.detach())
        squares_R = (torch.logsumexp(2 * logits_RV, dim=1) - 2 * log_total_R).exp()
        return LabelReading(
            nll_N=nll_R.detach(),
            rank_N=1 + torch.count_nonzero(logits_RV > gold_R1, dim=1),
            brier_N=1 - 2 * (-nll_R).exp() + squares_R,
            grad_ND=grad_RD,
        )
