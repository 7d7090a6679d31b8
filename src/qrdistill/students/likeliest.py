"""The likeliest pieces of some rows, while their logits come a block of columns at a time.

Finding the largest 64 of a thousand numbers takes nearly as long as finding them in twenty thousand, so blocks are put by and
searched together once there are enough of them.

Shapes: N label rows, C columns of a block, A rows whose pieces are wanted, B pieces put by, U pieces, M pieces reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qrdistill.students.reading import PieceRequest

Likeliest = tuple[Tensor, Tensor]
"""Piece of each row and rank [A, M], and its logit."""

HELD_BYTES = {"cpu": 2**24, "cuda": 2**28}
"""Logits put by before they are searched (128 rows: as many columns as a part has)."""


class Search:
    """A request for pieces, its tokens in the order of the columns.

    Args:
        request: what is wanted.
        place_N: where each label row stands in the logits.
    """

    def __init__(self, request: PieceRequest, place_N: Tensor) -> None:
        self.request = request
        self.row_A = place_N[request.row_A.to(place_N.device)]
        self.order_U = torch.argsort(request.token_U)
        self.token_U = request.token_U[self.order_U]

    def best(self, found: Sequence[Likeliest]) -> Likeliest:
        """The likeliest of those found in several places."""
        piece_AB, top_AB = torch.cat([piece for piece, _ in found], dim=1), torch.cat([top for _, top in found], dim=1)
        top_AM, index_AM = top_AB.topk(min(self.request.number, top_AB.shape[1]), dim=1)
        return piece_AB.gather(1, index_AM), top_AM


class Found:
    """What a search has seen of one range of columns."""

    def __init__(self, search: Search, part: slice) -> None:
        self._search = search
        self._held: list[Tensor] = []
        self._best: list[Likeliest] = []
        self._first = self._next = self._place(part.start)
        """The pieces put by, in the order of the columns."""

    def add(self, logits_NC: Tensor, block: slice) -> None:
        """The next block of columns."""
        first, self._next = self._next, self._place(block.stop)
        logits_AC = logits_NC.index_select(0, self._search.row_A)
        if self._next - first < logits_AC.shape[1]:
            column_B = self._search.token_U[first : self._next] - block.start
            logits_AC = logits_AC.index_select(1, column_B.to(logits_AC.device))
        self._held.append(logits_AC)
        if 4 * len(logits_AC) * (self._next - self._first) >= HELD_BYTES[logits_AC.device.type]:
            self._search_held()

    def best(self) -> Likeliest:
        """The likeliest of all blocks."""
        if self._held:
            self._search_held()
        return self._search.best(self._best)

    def _place(self, column: int) -> int:
        return int(torch.searchsorted(self._search.token_U, column))

    def _search_held(self) -> None:
        logits_AB = torch.cat(self._held, dim=1)
        top_AM, index_AM = logits_AB.topk(min(self._search.request.number, logits_AB.shape[1]), dim=1)
        self._best.append((self._search.order_U[self._first : self._next][index_AM.cpu()], top_AM.cpu()))
        self._held, self._first = [], self._next
