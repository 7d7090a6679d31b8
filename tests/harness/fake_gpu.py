"""A GPU that is not there: tensors that say they are on `cuda:0`, hold ordinary numbers, and refuse to meet the CPU's.

Real kernels run on the numbers underneath, so data-dependent code (sampling, item(), masks) works and results can be compared.
The rules of a real GPU hold: an operation on tensors of two devices is an error, except for zero-dimensional CPU tensors and for
CPU indices into a GPU tensor, which torch moves itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda", 0)
_THERE = ("cuda", "meta")
"""Torch's own C++ takes a stand-in for a tensor on "meta" and makes others like it."""
_INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)
_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class MixedDevices(RuntimeError):
    """What torch says as "Expected all tensors to be on the same device"."""


class FakeCuda(torch.Tensor):
    """A tensor on the GPU that is not there; `numbers` is what it holds."""

    numbers: torch.Tensor

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> FakeCuda:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device="meta",
            requires_grad=False,
        )
        made.numbers = numbers
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def numpy(self, **options: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    is_mine = [isinstance(tensor, FakeCuda) for tensor in tensors]
    target = kwargs.get("device")
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        goes_to_gpu = torch.device(target).type in _THERE
    else:
        goes_to_gpu = any(is_mine)
    if function in _INDEXING:
        strangers = tensors[1:] if function is _INDEXING[0] else tensors[-1:]
        if not is_mine[0] and any(is_mine):
            raise MixedDevices(f"{function}: a CPU tensor was indexed with, or given, tensors on cuda:0")
        if is_mine[0] and function is not _INDEXING[0] and strangers[0].dim() and not isinstance(strangers[0], FakeCuda):
            raise MixedDevices(f"{function}: values on the CPU were put into a tensor on cuda:0")
    elif function not in _COPIES and any(is_mine) and any(not m and t.dim() for m, t in zip(is_mine, tensors, strict=True)):
        raise MixedDevices(f"{function}: expected all tensors to be on the same device, but found cuda:0 and cpu")
    found = function(
        *tree_map(lambda leaf: leaf.numbers if isinstance(leaf, FakeCuda) else leaf, args),
        **tree_map(lambda leaf: leaf.numbers if isinstance(leaf, FakeCuda) else leaf, kwargs),
    )
    if function is torch.ops.aten._to_copy.default and target is not None and not goes_to_gpu:
        return found.clone() if found is args[0] else found
    if not goes_to_gpu:
        return found
    mine = {id(tensor.numbers): tensor for tensor in tensors if isinstance(tensor, FakeCuda)}

    def wrap(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return mine[id(leaf)] if id(leaf) in mine else FakeCuda(leaf)

    return tree_map(wrap, found)


class _Factories(TorchDispatchMode):
    """Catches what makes tensors on the GPU out of nothing, or moves them there."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        is_asked = kwargs.get("device") is not None and torch.device(kwargs["device"]).type in _THERE
        if is_asked or any(isinstance(leaf, FakeCuda) for leaf in tree_flatten((args, kwargs))[0]):
            return _run(function, args, kwargs)
        return function(*args, **kwargs)


class _Pool(ThreadPoolExecutor):
    """Threads in which the GPU is there too (a dispatch mode belongs to its thread)."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        def inside() -> Any:
            with _Factories():
                return function(*args, **kwargs)

        return super().submit(inside)


@contextmanager
def fake_gpu(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """While open, torch sees a GPU and the students' threads do too."""
    from qrdistill.training import team

    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: 1)
    patch.setattr(torch.cuda, "_lazy_init", lambda: None)
    torch._C._ensureCUDADeviceGuardSet()  # as for torch's own fake tensors, on a build without CUDA
    patch.setattr(team, "ThreadPoolExecutor", _Pool)
    with _Factories():
        yield
