"""Frozen bases in 4 bits (nf4), for adapters on top: QLoRA (Dettmers et al., 2023), through bitsandbytes on CPU and GPU.

Linear layers but the output head are stored in blocks of 64 weights, four bits each and one scale a block, the scales in
8 bits themselves. Embeddings, head and norms stay as they are; products are computed in the student's own type.

A layer whose rows are no whole number of blocks stays as it is too: on a CPU bitsandbytes (0.50.2) reads such weights with wrong
scales (errors of 17 to 40% where nf4 has 9%). The widths of common models are multiples of 64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from qrdistill.errors import UsageError

BLOCK = 64
"""Weights that share a scale."""
BYTES_PER_WEIGHT = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Half a byte, a scale of one byte for 64 weights, a scale of four bytes for 256 scales."""


def linear_layers(model: Any) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """The layers that are quantised, each with its parent and its name there."""
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child is not head and child.in_features % BLOCK == 0:
                yield parent, name, child


def quantize(model: Any, *, student: str, device: torch.device) -> None:
    """Store a model's linear layers in nf4, in place, one after the other.

    Raises:
        UsageError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise UsageError(
            f"student {student!r}: quantization nf4 needs bitsandbytes; run: pip install 'qrdistill[qlora]'"
        ) from error
    for parent, name, layer in linear_layers(model):
        compute_dtype = layer.weight.dtype
        narrow = bitsandbytes.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=compute_dtype,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        narrow.weight = bitsandbytes.nn.Params4bit(
            layer.weight.detach(), requires_grad=False, compress_statistics=True, quant_type="nf4", module=narrow
        ).to(device)
        narrow.bias = layer.bias
        # On some processors it would store the weights anew whenever it reads without gradient, in place, with coarser scales.
        narrow.support_avx512bf16_for_cpu = False
        setattr(parent, name, narrow)
    model.is_loaded_in_4bit = True  # what PEFT asks for
