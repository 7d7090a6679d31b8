"""The head read a few rows at a time, all their logits at once: for heads with a soft cap, a scale, a bias or an adapter.

Shapes: N label tokens, R rows of a chunk, A rows whose likeliest pieces are wanted, B of them in the chunk, U pieces, M pieces
reported, V vocabulary, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qrdistill.students.reading import LabelReading, PieceRequest
from qrdistill.students.student import Student

LOGIT_BYTES = {"cpu": 2**27, "cuda": 2**30}
"""Memory of the float32 logits held at once (128 MB: 128 rows of the largest vocabulary; a GPU wants larger products)."""


def rows_at_once(student: Student) -> int:
    """Label rows whose logits are held together."""
    return max(LOGIT_BYTES[student.device.type] // (4 * student.vocab_size), 8)


class RowPass:
    """Chunks of label rows through `Student.logits`, the gradient through autograd."""

    def __init__(
        self, student: Student, hidden_ND: Tensor, label_N: Tensor, *, is_grad_N: Tensor | None, pieces: Sequence[PieceRequest]
    ) -> None:
        self._student, self._pieces, self._is_grad_N = student, pieces, is_grad_N
        self._hidden_ND, self._label_N = hidden_ND.detach(), label_N.to(student.device)
        self._step = rows_at_once(student)

    @property
    def parts(self) -> list[slice]:
        """Ranges of rows."""
        num = len(self._label_N)
        return [slice(start, min(start + self._step, num)) for start in range(0, num, self._step)]

    def read(self, part: slice) -> LabelReading:
        """One range."""
        hidden_RD, label_R = self._hidden_ND[part], self._label_N[part]
        is_grad = self._is_grad_N is not None and bool(self._is_grad_N[part].any())
        with torch.set_grad_enabled(is_grad):
            if is_grad:
                hidden_RD = hidden_RD.requires_grad_()
            logits_RV = self._student.logits(hidden_RD).float()
            gold_R1 = logits_RV.gather(1, label_R[:, None])
            log_total_R = torch.logsumexp(logits_RV, dim=1)
            nll_R = log_total_R - gold_R1.squeeze(1)
            grad_RD = torch.autograd.grad(nll_R.sum(), hidden_RD)[0] if is_grad else torch.zeros_like(hidden_RD)
        with torch.no_grad():
            logits_RV, log_total_R = logits_RV.detach(), log_total_R.detach()
            squares_R = (torch.logsumexp(2 * logits_RV, dim=1) - 2 * log_total_R).exp()
            return LabelReading(
                nll_N=nll_R.detach(),
                rank_N=1 + torch.count_nonzero(logits_RV > gold_R1, dim=1),
                brier_N=1 - 2 * (-nll_R).exp() + squares_R,
                log_total_N=log_total_R,
                grad_ND=grad_RD,
                pieces=[_likeliest(request, part, logits_RV, log_total_R) for request in self._pieces],
            )

    def join(self, readings: Sequence[LabelReading]) -> LabelReading:
        """Chunk after chunk."""
        none = self._hidden_ND.new_zeros(0, dtype=torch.float32)
        grad_ND = None
        if self._is_grad_N is not None:
            grad_ND = torch.cat([self._hidden_ND[:0], *(each.grad_ND for each in readings if each.grad_ND is not None)])
        return LabelReading(
            nll_N=torch.cat([none, *(each.nll_N for each in readings)]),
            rank_N=torch.cat([none.long(), *(each.rank_N for each in readings)]),
            brier_N=torch.cat([none, *(each.brier_N for each in readings)]),
            log_total_N=torch.cat([none, *(each.log_total_N for each in readings)]),
            grad_ND=grad_ND,
            pieces=[
                _join(request, self.parts, [each.pieces[number] for each in readings])
                for number, request in enumerate(self._pieces)
            ],
        )


def _slots(request: PieceRequest, part: slice) -> Tensor:
    """Which of the requested rows are in a range."""
    slot_B: Tensor = ((request.row_A >= part.start) & (request.row_A < part.stop)).nonzero().squeeze(1)
    return slot_B


def _likeliest(request: PieceRequest, part: slice, logits_RV: Tensor, log_total_R: Tensor) -> tuple[Tensor, Tensor]:
    row_B = (request.row_A[_slots(request, part)] - part.start).to(logits_RV.device)
    logits_BU = logits_RV[row_B][:, request.token_U.to(logits_RV.device)]
    top_BM, piece_BM = logits_BU.topk(min(request.number, len(request.token_U)), dim=1)
    return piece_BM.cpu(), (top_BM - log_total_R[row_B, None]).exp().cpu()


def _join(request: PieceRequest, parts: Sequence[slice], pieces: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    shape = (len(request.row_A), min(request.number, len(request.token_U)))
    piece_AM, prob_AM = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
    for part, (piece_BM, prob_BM) in zip(parts, pieces, strict=True):
        slot_B = _slots(request, part)
        piece_AM[slot_B], prob_AM[slot_B] = piece_BM, prob_BM
    return piece_AM, prob_AM
