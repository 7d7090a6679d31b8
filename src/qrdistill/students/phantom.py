"""Students without numbers: every shape, type and operation is the real one, only memory is missing.

Memory can so be counted by running the code that will need it, on a model that has not been loaded (or even downloaded, as long
as its config.json is there), whatever its architecture.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from qrdistill.config import FolderSource, FullConfig, HubSource, LoraConfig, PackageSource, StudentConfig, TinySource
from qrdistill.errors import DataError
from qrdistill.students import packages, tiny
from qrdistill.students.adapter import attach_lora
from qrdistill.students.attention import TREE_ATTENTION, supports_tree
from qrdistill.students.load import base_key, is_quantized, readable, weight_dtype
from qrdistill.students.lora_linear import fuse
from qrdistill.students.quantized import BYTES_PER_WEIGHT, linear_layers
from qrdistill.students.student import Student


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the memory of every tensor that is made while it is open, until the tensor is gone.

    Attributes:
        live: bytes that are held now.
        peak: the most that were held at once (set it to `live` to begin anew).
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._storages = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at what it made."""
        if (
            function is torch.ops.aten._local_scalar_dense.default
            and isinstance(args[0], FakeTensor)
            and args[0].dtype == torch.bool
        ):
            return True  # a condition on numbers that are not there holds: what it guards takes memory
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        self._storages.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.live -= size


@dataclass(frozen=True, slots=True)
class Phantom:
    """A student whose tensors hold no numbers. Its code runs inside `awake`."""

    student: Student
    base_bytes: int
    """Of the weights without adapters, tied ones counted once."""
    base_key: str
    """Equal for students that share those weights (see `base_key`)."""
    trained_bytes: int
    """Of the trained weights."""
    trained_numbers: int
    has_tokenizer: bool
    """Whether its tokenizer is the real one."""
    mode: FakeTensorMode

    @contextmanager
    def awake(self) -> Iterator[LiveBytes]:
        """Operations make tensors without numbers, and their bytes are counted."""
        with self.mode, LiveBytes(self.student.model.state_dict(keep_vars=True).values()) as live:
            yield live


def phantom(config: StudentConfig, *, device: torch.device, tokenizer: Any | None = None) -> Phantom | None:
    """The student a config describes, without numbers; None where its config.json is not on this machine.

    Args:
        config: the student's part of the recipe.
        device: where the real one will be (it decides the type of the weights).
        tokenizer: its tokenizer; without it the student can only be given tokens.

    Raises:
        ConfigError: wrong target modules.
        DataError: a tokenizer or a folder that cannot be used.
    """
    dtype = weight_dtype(config, device)
    model = _without_numbers(config, dtype)
    if model is None:
        return None
    if supports_tree(model):
        model.set_attn_implementation(TREE_ATTENTION)
    base_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if is_quantized(config):
        narrow = [layer.weight for _, _, layer in linear_layers(model)]
        base_bytes -= round(sum(weight.numel() * (weight.element_size() - BYTES_PER_WEIGHT) for weight in narrow))
    model.requires_grad_(isinstance(config.adapter, FullConfig))
    if isinstance(config.adapter, LoraConfig):
        model = attach_lora(model, config.adapter, seed=0, student=config.name)
        fuse(model)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    _take_numbers(model, mode)
    student = Student(
        config=config if tokenizer is not None else config.model_copy(update={"template": "plain"}),
        model=model.eval(),
        tokenizer=tokenizer if tokenizer is not None else tiny.build_tokenizer("llama"),  # which is never asked
        device=torch.device("cpu"),
        source_hash="",
        hub_id="",
    )
    student.packing = "tree" if supports_tree(student.causal_lm) else "rows"
    trained = [weight for _, weight in student.trainable()]
    return Phantom(
        student=student,
        base_bytes=base_bytes,
        base_key=base_key(config, dtype),
        trained_bytes=sum(weight.numel() * weight.element_size() for weight in trained),
        trained_numbers=sum(weight.numel() for weight in trained),
        has_tokenizer=tokenizer is not None,
        mode=mode,
    )


def _without_numbers(config: StudentConfig, dtype: torch.dtype) -> Any | None:
    source = config.source
    if isinstance(source, TinySource):
        return tiny.build_model(source.architecture, len(tiny.build_tokenizer(source.architecture)), source.seed).to(dtype)
    if isinstance(source, PackageSource):
        described: Any = transformers.AutoConfig.for_model(**packages.PACKAGES[source.id].config)
    else:
        described = _described(source, config.name)
    if described is None:
        return None
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(described, dtype=dtype, trust_remote_code=False)


def _described(source: FolderSource | HubSource, student: str) -> Any | None:
    """The model's config.json, where it is on this machine."""
    place, options = (source.path, {}) if isinstance(source, FolderSource) else (source.id, {"revision": source.revision})
    try:
        with readable(place, student):
            return transformers.AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False, **options)
    except DataError:
        if isinstance(source, FolderSource):
            raise
        return None


def _take_numbers(model: Any, mode: FakeTensorMode) -> None:
    """Put tensors without numbers in the place of all weights and buffers; tied weights stay tied."""
    made: dict[int, Any] = {}
    with mode:
        for module in model.modules():
            for name, weight in module._parameters.items():
                if weight is not None and id(weight) not in made:
                    empty = torch.empty(weight.shape, dtype=weight.dtype)
                    made[id(weight)] = nn.Parameter(empty, requires_grad=weight.requires_grad)
                if weight is not None:
                    module._parameters[name] = made[id(weight)]
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
