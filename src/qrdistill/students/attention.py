"""Attention over packed rows, branch by branch.

A dense mask makes attention cost the square of the whole row, nearly all of it masked. Here each prompt attends to itself and
each branch to its prompt and itself, in one scaled-dot-product call each, so a row of six paths costs what it must. The function
is registered with transformers under a name of its own; without a tree (decoding, plain forward passes) it is exactly "sdpa".

Shapes: H query heads, K key-value heads, T tokens of the row, L queries, C keys, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from qrdistill.students.batch import PackedBatch

TREE_ATTENTION = "qrdistill_tree"
"""Name of the attention function in transformers' registry."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of tokens that attends to itself and, for a branch, to its trunk. Masks are additive [L, C]."""

    trunk: int
    """Number of the trunk's piece; its own number for a trunk."""
    full: Tensor
    sliding: Tensor


class Tree:
    """How a packed row falls into trunks and branches, with the masks each needs.

    Args:
        batch: the packed row.
        window: sliding window of the model's sliding layers in positions; 0: none.
        dtype: type of the masks.
        device: where they go.
    """

    def __init__(self, batch: PackedBatch, *, window: int, dtype: torch.dtype, device: torch.device) -> None:
        self.sizes: list[int] = []
        self.pieces: list[_Piece] = []
        trunks: dict[int, int] = {}
        masks: dict[tuple[int, int, int], Tensor] = {}

        def mask(before: int, length: int, limit: int) -> Tensor:
            limit = limit if before + length > limit > 0 else 0
            key = (before, length, limit)
            if key not in masks:
                masks[key] = _causal(before, length, limit, dtype).to(device)
            return masks[key]

        for segment in batch.segments:
            prompt = segment.trunk_end - segment.trunk_start
            if segment.trunk_start not in trunks:
                trunks[segment.trunk_start] = len(self.pieces)
                self.pieces.append(_Piece(len(self.pieces), mask(0, prompt, 0), mask(0, prompt, window)))
                self.sizes.append(prompt)
            if length := segment.end - segment.start:
                self.pieces.append(_Piece(trunks[segment.trunk_start], mask(prompt, length, 0), mask(prompt, length, window)))
                self.sizes.append(length)


def _causal(before: int, length: int, window: int, dtype: torch.dtype) -> Tensor:
    """`length` tokens that follow `before` others: each sees those, itself and the ones between (within the window)."""
    query_L = torch.arange(before, before + length)
    key_C = torch.arange(before + length)
    distance_LC = query_L[:, None] - key_C[None, :]
    is_hidden_LC = (distance_LC < 0) | ((distance_LC >= window) if window else (distance_LC < 0))
    return torch.zeros(length, before + length, dtype=dtype).masked_fill_(is_hidden_LC, torch.finfo(dtype).min)


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    tree: Tree | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention in transformers' calling convention; `tree` is given by `Student.hidden` and passed down by the model.

    Returns:
        The output [1, T, H, D] and no weights.
    """
    if tree is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, scaling=scaling, sliding_window=sliding_window, **options
        )
    queries, keys, values = (torch.split(states, tree.sizes, dim=2) for states in (query, key, value))
    outputs = []
    for number, piece in enumerate(tree.pieces):
        mask_LC = piece.sliding if sliding_window else piece.full
        key_C, value_C = keys[number], values[number]
        if piece.trunk != number:
            key_C = torch.cat([keys[piece.trunk], key_C], dim=2)
            value_C = torch.cat([values[piece.trunk], value_C], dim=2)
        outputs.append(_grouped(queries[number], key_C, value_C, mask_LC, scaling))
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _grouped(query_HLD: Tensor, key_KCD: Tensor, value_KCD: Tensor, mask_LC: Tensor, scaling: float | None) -> Tensor:
    """Query heads that share a key-value head become more queries of it, so that keys and values are not repeated."""
    batch, heads, length, width = query_HLD.shape
    shared = key_KCD.shape[1]
    group = heads // shared
    if group > 1:
        query_HLD = query_HLD.reshape(batch, shared, group * length, width)
        mask_LC = mask_LC.repeat(group, 1)
    output = scaled_dot_product_attention(query_HLD, key_KCD, value_KCD, attn_mask=mask_LC[None, None], scale=scaling)
    return output.reshape(batch, heads, length, value_KCD.shape[-1])


def supports_tree(model: Any) -> bool:
    """Whether a model hands attention to transformers' registry (and so passes the tree down)."""
    return bool(getattr(model, "_supports_attention_backend", False))


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)
