"""How much memory a student's part of a step takes, counted by running it on a student without numbers.

Shapes: N label tokens, R label rows whose logits are held at once, D model width, C aligned positions, J support pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qrdistill.losses import PeerTarget, piece_cross_entropy, token_nll
from qrdistill.students import PackedBatch, PathTokens, has_frozen_head, is_plain_head, pack, read_labels, rows_at_once
from qrdistill.students.head_columns import BLOCK_BYTES, LEAST_COLUMNS
from qrdistill.students.phantom import LiveBytes, Phantom
from qrdistill.training.forward import PEER_ROWS


@dataclass(frozen=True, slots=True)
class Reading:
    """What a student reads in a step: the tokens of each prompt, and of each response behind it."""

    prompts: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    @property
    def num_tokens(self) -> int:
        """Prompts and responses together; the end token of a response is not fed."""
        return sum(self.prompts) + sum(length - 1 for lengths in self.responses for length in lengths)

    @property
    def longest(self) -> int:
        """Most tokens of a single path with its prompt."""
        return max((prompt + max(lengths) for prompt, lengths in zip(self.prompts, self.responses, strict=True)), default=0)

    def rows(self, row_tokens: int) -> list[PackedBatch]:
        """Packed rows of these lengths (of token 0)."""
        groups = zip(self.prompts, self.responses, strict=True)
        return pack([_paths(number, prompt, lengths) for number, (prompt, lengths) in enumerate(groups)], row_tokens)


def _paths(number: int, prompt: int, responses: Sequence[int]) -> list[PathTokens]:
    return [
        PathTokens(
            path_id=f"{number}/{index}",
            text="",
            prompt_ids=(0,) * prompt,
            response_ids=(0,) * length,
            response_offsets=((0, 0),) * length,
        )
        for index, length in enumerate(responses)
    ]


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of one student in a step, besides its weights, gradients and moments."""

    graph: int
    """Kept from the forward pass for the backward pass."""
    backward: int
    """The most during the backward pass, gradients included."""
    look: int
    """The most that reading label rows takes at once beside that, in one thread."""
    learn: int
    """The most that the gradient of the hidden states takes beside the graph, gradients of a trained head included."""

    def part(self, share: float) -> Footprint:
        """The same with a graph of a share of the step at once: graphs grow with the tokens."""
        return Footprint(graph=round(share * self.graph), backward=round(share * self.backward), look=self.look, learn=self.learn)


def footprint(
    phantom: Phantom, reading: Reading, *, row_tokens: int, peer_rows: int, support: int, device: str = "cpu"
) -> Footprint:
    """Count what reading and learning from some paths takes.

    Args:
        phantom: the student.
        reading: how long its prompts and paths are.
        row_tokens: most tokens of a packed row.
        peer_rows: positions where it learns from peers; 0: it has none.
        support: pieces that are compared there.
        device: "cpu" or "cuda": logits are held in smaller blocks on a CPU.
    """
    rows = reading.rows(row_tokens)
    if not rows:
        return Footprint(graph=0, backward=0, look=0, learn=0)
    graph, backward = _graph(phantom, rows)
    with phantom.awake() as live:
        num_labels = sum(row.num_labels for row in rows)
        hidden_ND = torch.empty(num_labels, phantom.student.width, dtype=phantom.student.dtype)
        look = _look(phantom, hidden_ND, live, device)
        learn = max(_learn_labels(phantom, hidden_ND, live), _learn_peers(phantom, hidden_ND, peer_rows, support, live))
    return Footprint(graph=graph, backward=backward, look=look, learn=learn)


def _graph(phantom: Phantom, rows: Sequence[PackedBatch]) -> tuple[int, int]:
    """Bytes after the forward pass over some rows, and the most until the backward pass is over."""
    student = phantom.student
    with phantom.awake() as live:
        with torch.set_grad_enabled(phantom.trained_numbers > 0):
            hidden_ND = torch.cat([student.hidden(row)[row.predict_N] for row in rows])
        graph = live.live
        if phantom.trained_numbers:
            hidden_ND.backward(torch.empty_like(hidden_ND))  # type: ignore[no-untyped-call]
        for _, weight in student.trainable():
            weight.grad = None
        return graph, live.peak


def _look(phantom: Phantom, hidden_ND: Tensor, live: LiveBytes, device: str) -> int:
    if is_plain_head(phantom.student):  # read by columns: a block of logits, worked on in place, and sums as large as the states
        num, columns = len(hidden_ND), phantom.student.vocab_size
        block = min(max(BLOCK_BYTES[device], 4 * num * LEAST_COLUMNS), 4 * num * columns)
        return 2 * block + 4 * 4 * hidden_ND.numel()
    before = live.peak = live.live
    is_grad = phantom.trained_numbers > 0 and has_frozen_head(phantom.student)
    read_labels(phantom.student, hidden_ND, torch.zeros(len(hidden_ND), dtype=torch.long), is_grad=is_grad)
    return live.peak - before


def _learn_labels(phantom: Phantom, hidden_ND: Tensor, live: LiveBytes) -> int:
    """The student loss through autograd, where the head is trained itself."""
    if has_frozen_head(phantom.student):
        return 0
    before = live.peak = live.live
    hidden_RD = hidden_ND[: max(rows_at_once(phantom.student) // 2, 1)].requires_grad_()
    loss = token_nll(phantom.student.logits(hidden_RD).float(), torch.zeros(len(hidden_RD), dtype=torch.long)).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return live.peak - before


def _learn_peers(phantom: Phantom, hidden_ND: Tensor, peer_rows: int, support: int, live: LiveBytes) -> int:
    """The peer loss through autograd, where the labels' gradients do not give it."""
    if not peer_rows:
        return 0
    if has_frozen_head(phantom.student) and is_plain_head(phantom.student):
        return 2 * 4 * PEER_ROWS * support * phantom.student.width
    before = live.peak = live.live
    hidden_RD = hidden_ND[: min(max(rows_at_once(phantom.student) // 2, 1), peer_rows)].requires_grad_()
    target = PeerTarget(
        piece_CJ=torch.zeros(len(hidden_RD), support, dtype=torch.long), prob_CK=torch.zeros(len(hidden_RD), support + 1)
    )
    logits_RV = phantom.student.logits(hidden_RD).float()
    loss = piece_cross_entropy(logits_RV, target, torch.zeros(phantom.student.vocab_size, dtype=torch.long)).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return live.peak - before
