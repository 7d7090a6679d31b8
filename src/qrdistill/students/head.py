"""Reading label tokens off the output head without ever holding all logits, and their gradients in the same pass.

With a vocabulary of 262k the head costs more than the rest of a small student. A token's loss depends on its own hidden state
only, so d nll_n / d h_n can be computed where the logits are at hand: any weighted sum of token losses then has the gradient
w_n * grad_n, and nothing has to be computed twice once the weights are known.

Two passes give the same readings. `ColumnPass` takes all rows and a part of the vocabulary, `RowPass` a few rows and the whole
vocabulary; the first is faster, the second takes any head.

Shapes: N label tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qrdistill.students.head_columns import ColumnPass
from qrdistill.students.head_rows import RowPass
from qrdistill.students.reading import HeadPass, LabelReading, PieceRequest
from qrdistill.students.student import Student


def has_frozen_head(student: Student) -> bool:
    """Whether the head itself is not trained, so that the gradient of the hidden states is all there is."""
    return not any(weight.requires_grad for weight in student.head.parameters())


def is_plain_head(student: Student) -> bool:
    """Whether the logits are one matrix product of the hidden states."""
    config = student.causal_lm.config
    is_scaled = any(getattr(config, name, None) for name in ("logit_scale", "logits_scaling", "final_logit_softcapping"))
    return type(student.head) is nn.Linear and student.head.bias is None and not is_scaled


def head_pass(
    student: Student,
    hidden_ND: Tensor,
    label_N: Tensor,
    *,
    is_grad_N: Tensor | None = None,
    pieces: Sequence[PieceRequest] = (),
) -> HeadPass:
    """The fastest pass a student's head allows.

    Args:
        student: whose head.
        hidden_ND: hidden states that predict the labels; used without their graph.
        label_N: the labels.
        is_grad_N: tokens whose gradient is wanted; None: none.
        pieces: likeliest pieces wanted.

    Raises:
        ValueError: the gradient is asked of a head that is trained itself (its own gradient would be lost).
    """
    if is_grad_N is not None and not has_frozen_head(student):
        raise ValueError(f"student {student.name!r} trains its head; take the gradient through autograd")
    kind = ColumnPass if is_plain_head(student) else RowPass
    return kind(student, hidden_ND, label_N, is_grad_N=is_grad_N, pieces=pieces)


def read_labels(
    student: Student,
    hidden_ND: Tensor,
    label_N: Tensor,
    *,
    is_grad: bool = False,
    pieces: Sequence[PieceRequest] = (),
) -> LabelReading:
    """All parts of a pass, one after the other; `is_grad` asks for the gradient of every token."""
    is_grad_N = torch.ones(len(label_N), dtype=torch.bool) if is_grad else None
    whole = head_pass(student, hidden_ND, label_N, is_grad_N=is_grad_N, pieces=pieces)
    return whole.join([whole.read(part) for part in whole.parts])
