"""LoRA layers in one fused operation: same numbers as PEFT's own forward, fewer passes over memory.

PEFT computes ``W x + s B (A x)`` as four operations, each of which reads and writes whole activations, forward and backward.
Here the low-rank term is accumulated into the product in place, forward and backward. The layers stay PEFT's (names, saving,
merging); only the forward of plain LoRA layers is replaced. Adapters of a bfloat16 model are kept in float32, so that small
steps are not rounded away; they are cast for the product, not the activations (PEFT casts those, twice a layer).

Shapes: T tokens, I input and O output features, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn


class _LoraLinear(torch.autograd.Function):
    """y = x W^T + bias + s (x A^T) B^T with W and bias frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scale: float
    ) -> Tensor:
        x_TI = x.reshape(-1, x.shape[-1])
        low_TR = x_TI @ a_RI.t()
        y_TO = torch.addmm(bias_O, x_TI, weight_OI.t()) if bias_O is not None else x_TI @ weight_OI.t()
        y_TO.addmm_(low_TR, b_OR.t(), alpha=scale)
        ctx.save_for_backward(x_TI, low_TR, weight_OI, a_RI, b_OR)
        ctx.scale, ctx.shape = scale, x.shape
        return y_TO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        x_TI, low_TR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        grad_TO = grads[0].reshape(-1, weight_OI.shape[0])
        grad_TR = (grad_TO @ b_OR).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_TI = grad_TO @ weight_OI
            grad_x = grad_TI.addmm_(grad_TR, a_RI).view(ctx.shape)
        grad_a = grad_TR.t() @ x_TI if ctx.needs_input_grad[3] else None
        grad_b = (grad_TO.t() @ low_TR).mul_(ctx.scale) if ctx.needs_input_grad[4] else None
        return grad_x, None, None, grad_a, grad_b, None


class _Fused:
    """Forward of one PEFT LoRA layer."""

    def __init__(self, layer: PeftLinear) -> None:
        self._layer = layer

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        layer = self._layer
        is_odd = args or kwargs or layer.active_adapters != ["default"] or x.dtype != layer.base_layer.weight.dtype
        if layer.disable_adapters or layer.merged or is_odd:
            return type(layer).forward(layer, x, *args, **kwargs)  # type: ignore[no-any-return]
        base = layer.base_layer
        a_RI, b_OR = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        y: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, a_RI.to(x.dtype), b_OR.to(x.dtype), layer.scaling["default"]
        )
        return y


def fuse(model: Any) -> int:
    """Give every plain LoRA layer of a PEFT model the fused forward; returns how many there are.

    A layer with another base than `nn.Linear` (quantised), dropout, DoRA or a bias of its own keeps PEFT's.
    """
    number = 0
    for layer in model.modules():
        if type(layer) is PeftLinear and _is_plain(layer):
            layer.forward = _Fused(layer)
            number += 1
    return number


def _is_plain(layer: Any) -> bool:
    return (
        type(layer.base_layer) is nn.Linear
        and not layer.base_layer.weight.requires_grad
        and list(layer.lora_A) == ["default"]
        and isinstance(layer.lora_dropout["default"], nn.Identity)
        and not layer.lora_variant
        and layer.lora_B["default"].bias is None
    )
