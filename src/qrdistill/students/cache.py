"""A key-value cache for right-aligned rows: written in place, compacted as rows finish, refilled with new rows.

The stock cache copies every key and value at every step; here a step writes one slot. Rows are right-aligned: the newest token of
every row is in the same slot, so a shorter row has unused slots on its left, which the attention mask hides.

Shapes: B rows, H key-value heads, L slots, D head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

_SPARE_SLOTS = 64


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer; the first `length` slots are in use."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for the first tokens and some to come."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = _spacious(key_states[:, :, :0], 0), _spacious(value_states[:, :, :0], 0)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append tokens; returns views of all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.keys.shape[2]:
            self.keys, self.values = (
                _spacious(self.keys[:, :, : self.length], end),
                _spacious(self.values[:, :, : self.length], end),
            )
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """Slots in use."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Keys the next query sees, and their offset (masks are always given, this only answers the interface)."""
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        """No limit."""
        return -1

    get_max_cache_shape = get_max_length


class SlotCache(Cache):  # type: ignore[misc]
    """The cache of a batch of right-aligned rows."""

    def __init__(self, num_layers: int) -> None:
        super().__init__(layers=[SlotLayer() for _ in range(num_layers)])

    @property
    def num_slots(self) -> int:
        """Slots in use, L."""
        return int(self.layers[0].length)

    def keep(self, rows_B: Tensor, first_slot: int) -> None:
        """Keep some rows and drop the slots before `first_slot`, unused by all of them."""
        for layer in self.layers:
            used = slice(first_slot, layer.length)
            layer.keys = _spacious(layer.keys[:, :, used][rows_B], 0)
            layer.values = _spacious(layer.values[:, :, used][rows_B], 0)
            layer.length -= first_slot

    def append(self, other: SlotCache) -> None:
        """Add the rows of another cache below these; the shorter of the two gets unused slots on its left."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            length = max(mine.length, theirs.length)
            mine.keys = _spacious(
                torch.cat([_aligned(mine.keys, mine.length, length), _aligned(theirs.keys, theirs.length, length)]), 0
            )
            mine.values = _spacious(
                torch.cat([_aligned(mine.values, mine.length, length), _aligned(theirs.values, theirs.length, length)]), 0
            )
            mine.length = length


def _aligned(states: Tensor, used: int, length: int) -> Tensor:
    return torch.nn.functional.pad(states[:, :, :used], (0, 0, length - used, 0))


def _spacious(states: Tensor, length: int) -> Tensor:
    """A copy with room for `length` slots and some more (zeros: an unused slot must not hold a NaN)."""
    batch, heads, used, width = states.shape
    roomy = states.new_zeros(batch, heads, max(length, used) + _SPARE_SLOTS, width)
    roomy[:, :, :used] = states
    return roomy
