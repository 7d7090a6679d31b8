"""Large students in pieces: each rank holds a part of every decoder layer (FSDP2) and writes its part of a checkpoint (DCP).

Decoder layers, where nearly all weights of a large model are, are sharded and gathered one at a time; embeddings, norms and the
output head stay whole, so that label rows are read as they always are. A layer's pass is a collective: every rank must make the
same number of passes, forwards and backwards, so a rank with fewer rows makes up for it with rows nobody looks at
(`Student.keep_up`). Gradients are summed, not averaged, as elsewhere (`qrdistill.training.ranks`).
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from qrdistill.errors import ConfigError, StorageError


def shard(model: Any, device: torch.device, group: Any, *, student: str) -> None:
    """Put a model on a device, its decoder layers in pieces over the ranks of a group.

    Raises:
        ConfigError: the model has no list of layers, or weights that cannot be cut; torch is too old.
    """
    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise ConfigError(
            f"runtime.sharding: torch {torch.__version__} cannot shard layers alone; install a newer one, or set none"
        )
    causal_lm = model.get_base_model() if hasattr(model, "peft_config") else model
    decoder = getattr(causal_lm, causal_lm.base_model_prefix)
    lists = [list(part) for part in decoder.children() if isinstance(part, nn.ModuleList)]
    layers = max(lists, key=len, default=[])
    if not layers or any(not weight.is_floating_point() for layer in layers for weight in layer.parameters()):
        raise ConfigError(
            f"student {student!r}: its layers cannot be sharded (quantised, or no list of layers); set runtime.sharding to none"
        )
    mesh = DeviceMesh.from_group(group, device.type)
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    inside = {id(weight) for layer in layers for weight in layer.parameters()}
    outside = {weight for weight in model.parameters() if id(weight) not in inside}
    fully_shard(decoder, mesh=mesh, mp_policy=policy, ignored_params=outside)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    with torch.no_grad():
        for weight in outside:
            weight.data = weight.data.to(device)
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(device))


def save_pieces(tensors: Mapping[str, Tensor], folder: Path, group: Any) -> None:
    """Write a student's tensors, each rank its pieces, as safetensors (by every rank, into a folder that all of them see).

    Raises:
        StorageError: a rank cannot write its file.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        save(dict(tensors), storage_writer=writer, process_group=group)
    except CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        raise StorageError(f"cannot write {folder}: {first}; free disk space, then run the same command again") from error


def load_pieces(folder: Path, like: Mapping[str, Tensor], group: Any = None) -> dict[str, Tensor]:
    """Read saved tensors into the shape and pieces of others; with a group by every rank of it.

    Args:
        folder: what `save_pieces` wrote, by any number of ranks.
        like: which tensors, cut as they are to be; those that were not saved (moments before a first step) are left out.
        group: the ranks; None: this process alone, `like` is whole.
    """
    reader = HuggingFaceStorageReader(str(folder))
    saved = reader.read_metadata().state_dict_metadata
    tensors = {name: torch.zeros_like(value) for name, value in like.items() if name in saved}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # as meant, where there is no group
        load(tensors, storage_reader=reader, process_group=group, no_dist=group is None)
    return tensors


def load_whole(folder: Path) -> dict[str, Tensor]:
    """Read saved tensors whole, in one process."""
    saved = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    shapes = {name: data for name, data in saved.items() if isinstance(data, TensorStorageMetadata)}
    return load_pieces(folder, {name: torch.empty(data.size, dtype=data.properties.dtype) for name, data in shapes.items()})
