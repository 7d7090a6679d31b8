"""Weights that lie in pieces on several processes (as PyTorch's DTensor), told by their methods: the class is slow to import."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_piece(tensor: Tensor) -> bool:
    """Whether a tensor is this process's piece of a larger one."""
    return hasattr(tensor, "full_tensor")


def local_piece(tensor: Any) -> Tensor:
    """This process's part of a tensor."""
    part: Tensor = tensor.to_local() if is_piece(tensor) else tensor
    return part


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; where it is in pieces every process has to ask for it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def cut(tensor: Tensor, like: Any) -> Tensor:
    """A tensor that every process has whole, in the pieces of another."""
    if not is_piece(like) or is_piece(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
