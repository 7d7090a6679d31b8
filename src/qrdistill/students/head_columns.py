"""The head read a few columns of the vocabulary at a time, for all rows: logits never leave the processor's cache.

The sum of exponentiated logits, the sum of their squares and the gradient are accumulated against a running maximum and rescaled
when it rises (as in flash attention; Milakov and Gimelshein, 2018, arXiv 1805.02867). The label is left out of all three:

    nll = log(1 + O / exp(z_label)),    O = sum_(v != label) exp(z_v),    1 - p_label = sigmoid(log O - z_label),
    d nll / d h = sum_(v != label) p_v W_v - (1 - p_label) W_label,

so that a student that is sure of a label has a small loss and gradient, not differences of large numbers.

The output matrix is read from memory once for both products. Parts are ranges of columns, so that threads share one
student's vocabulary however few rows there are; neither the parts nor any result depend on the number of threads.

Shapes: N label tokens, G of them with gradient, C columns of a block, A rows whose likeliest pieces are wanted, U pieces, M
pieces reported, V vocabulary, D model width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from qrdistill.students.likeliest import Found, Likeliest, Search
from qrdistill.students.reading import LabelReading, PieceRequest
from qrdistill.students.student import Student

PART_COLUMNS = {"cpu": 2**15, "cuda": 2**30}
"""Columns of a part (a GPU has no use for several)."""
BLOCK_BYTES = {"cpu": 2**20, "cuda": 2**30}
"""Logits held at once: they are worked on several times while they are in the processor's cache."""
LEAST_COLUMNS = 1024
"""Columns of a block however many rows there are."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """What a part of the vocabulary says; sums are relative to exp(top_N) and leave the label out."""

    top_N: Tensor
    total_N: Tensor
    squares_N: Tensor
    higher_N: Tensor
    """How many of its logits exceed the label's."""
    sum_GD: Tensor
    """sum_v exp(z_v - top) W_v."""
    pieces: list[Likeliest]
    """Its likeliest pieces for each request, and their logits."""


class ColumnPass:
    """Blocks of columns of a plain output matrix."""

    @torch.no_grad()
    def __init__(
        self, student: Student, hidden_ND: Tensor, label_N: Tensor, *, is_grad_N: Tensor | None, pieces: Sequence[PieceRequest]
    ) -> None:
        self._weight_VD: Tensor = student.head.weight
        self._narrow = torch.bfloat16 if student.is_autocast else self._weight_VD.dtype
        device = student.device
        # Rows whose gradient is wanted come first, so that their part of a block is a block itself.
        order_N = torch.arange(len(label_N)) if is_grad_N is None else torch.argsort(~is_grad_N, stable=True)
        self._is_grad, self._num_grad = is_grad_N is not None, int(is_grad_N.sum()) if is_grad_N is not None else 0
        self._order_N, self._place_N = order_N.to(device), torch.argsort(order_N).to(device)
        self._dtype = hidden_ND.dtype
        self._hidden_ND = hidden_ND.detach()[self._order_N].to(self._narrow)
        self._label_N = label_N.to(device)[self._order_N]
        gold_N = (self._hidden_ND.float() * self._weight_VD[self._label_N].float()).sum(dim=1)
        self._gold_N = gold_N.to(self._narrow).float()  # as the product would round it
        self._searches = [Search(request, self._place_N) for request in pieces]

    @property
    def parts(self) -> list[slice]:
        """Ranges of columns, equally long."""
        vocab, longest = self._weight_VD.shape[0], PART_COLUMNS[self._weight_VD.device.type]
        number = -(-vocab // longest)
        edges = [vocab * index // number for index in range(number + 1)]
        return [slice(start, stop) for start, stop in pairwise(edges)] if len(self._label_N) else []

    @torch.no_grad()
    def read(self, part: slice) -> _Columns:
        """One range of columns."""
        num = len(self._label_N)
        top_N = self._gold_N.new_full((num,), float("-inf"))
        total_N, squares_N = torch.zeros_like(top_N), torch.zeros_like(top_N)
        higher_N = torch.zeros_like(self._label_N)
        sum_GD = self._gold_N.new_zeros(self._num_grad, self._hidden_ND.shape[1])
        found = [Found(search, part) for search in self._searches]
        size = max(BLOCK_BYTES[self._weight_VD.device.type] // (4 * num), LEAST_COLUMNS)
        for start in range(part.start, part.stop, size):
            block = slice(start, min(start + size, part.stop))
            weight_CD = self._weight_VD[block].to(self._narrow)
            logits_NC = (self._hidden_ND @ weight_CD.t()).float()
            mine = self._labels_in(block)
            logits_NC[mine] = self._gold_N[mine[0]]  # to the last bit, so that no label outranks itself
            higher_N += torch.count_nonzero(logits_NC > self._gold_N[:, None], dim=1)
            for each in found:
                each.add(logits_NC, block)
            risen_N = torch.maximum(top_N, logits_NC.amax(dim=1))
            shrink_N, top_N = (top_N - risen_N).exp(), risen_N
            logits_NC.sub_(top_N[:, None]).exp_()
            logits_NC[mine] = 0.0
            total_N.mul_(shrink_N).add_(logits_NC.sum(dim=1))
            squares_N.mul_(shrink_N.square()).add_(torch.linalg.vector_norm(logits_NC, dim=1).square())
            if self._num_grad:
                sum_GD.mul_(shrink_N[: self._num_grad, None])
                weights_GC = logits_NC[: self._num_grad].to(self._narrow)
                if self._narrow == torch.float32:
                    sum_GD.addmm_(weights_GC, weight_CD)
                else:
                    sum_GD += weights_GC @ weight_CD
        return _Columns(top_N, total_N, squares_N, higher_N, sum_GD, [each.best() for each in found])

    def _labels_in(self, block: slice) -> tuple[Tensor, Tensor]:
        """Rows whose label is one of the block's columns, and which."""
        row_B = ((self._label_N >= block.start) & (self._label_N < block.stop)).nonzero().squeeze(1)
        return row_B, self._label_N[row_B] - block.start

    @torch.no_grad()
    def join(self, readings: Sequence[_Columns]) -> LabelReading:
        """Sums over all columns, rows back in their order."""
        if not readings:
            return self._nothing()
        top_N = torch.stack([part.top_N for part in readings]).amax(dim=0)
        shrink_N = [(part.top_N - top_N).exp() for part in readings]
        total_N = _sum(part.total_N * shrink for part, shrink in zip(readings, shrink_N, strict=True))
        squares_N = _sum(part.squares_N * shrink.square() for part, shrink in zip(readings, shrink_N, strict=True))
        margin_N = top_N + total_N.log() - self._gold_N
        nll_N, miss_N = torch.nn.functional.softplus(margin_N), torch.sigmoid(margin_N)
        log_total_N = self._gold_N + nll_N
        scale_N = (top_N - log_total_N).exp()
        grad_ND = None
        if self._is_grad:
            num = self._num_grad
            sum_GD = _sum(part.sum_GD * shrink[:num, None] for part, shrink in zip(readings, shrink_N, strict=True))
            gold_GD = self._weight_VD[self._label_N[:num]].float()
            grad_ND = torch.zeros_like(self._hidden_ND, dtype=self._dtype)
            grad_ND[:num] = (scale_N[:num, None] * sum_GD - miss_N[:num, None] * gold_GD).to(self._dtype)
            grad_ND = grad_ND[self._place_N]
        pieces = []
        for number, search in enumerate(self._searches):
            piece_AM, logit_AM = search.best([part.pieces[number] for part in readings])
            pieces.append((piece_AM, (logit_AM - log_total_N[search.row_A].cpu()[:, None]).exp()))
        return LabelReading(
            nll_N=nll_N[self._place_N],
            rank_N=(1 + _sum(part.higher_N for part in readings))[self._place_N],
            brier_N=(miss_N.square() + squares_N * scale_N.square())[self._place_N],
            log_total_N=log_total_N[self._place_N],
            grad_ND=grad_ND,
            pieces=pieces,
        )

    def _nothing(self) -> LabelReading:
        none = self._gold_N[:0]
        grad_ND = self._hidden_ND[:0].to(self._dtype) if self._is_grad else None
        requests = [search.request for search in self._searches]
        shapes = [(0, min(request.number, len(request.token_U))) for request in requests]
        pieces = [(torch.zeros(shape, dtype=torch.long), torch.zeros(shape)) for shape in shapes]
        return LabelReading(nll_N=none, rank_N=none.long(), brier_N=none, log_total_N=none, grad_ND=grad_ND, pieces=pieces)


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum(dim=0)
