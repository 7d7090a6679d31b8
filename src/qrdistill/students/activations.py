"""What a student keeps between its forward and its backward pass.

Everything ("keep"), or the input of each decoder layer, all else being computed again when the backward pass comes to it
("recompute": gradient checkpointing; Chen et al., 2016, arXiv 1604.06174). The numbers are the same to the last bit.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from qrdistill.errors import ConfigError
from qrdistill.students.student import Student

Kept = Literal["keep", "recompute"]


class _Recomputed:
    """Forward of a decoder layer that keeps nothing but its inputs."""

    def __init__(self, layer: Any) -> None:
        self._forward = layer.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*args, **kwargs)
        # Nothing is drawn at random in a student's forward pass, so there is no state of a generator to bring back.
        return checkpoint(self._forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def choose_activations(student: Student, kept: Kept) -> None:
    """Let a student that trains keep what is asked for.

    Raises:
        ConfigError: the model is not made of layers that can be computed again.
    """
    if kept == "keep" or not student.trainable():
        return
    layers = [module for module in student.decoder.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError(
            f"student {student.name!r}: {type(student.causal_lm).__name__} has no layers that can be computed again; "
            "set runtime.activations to keep"
        )
    for layer in layers:
        if not isinstance(layer.forward, _Recomputed):
            layer.forward = _Recomputed(layer)
