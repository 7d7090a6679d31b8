"""Loading students: from the hub, a folder, a Python package, or tiny ones built in code.

Loading is serialised (transformers patches torch's initialisers while it loads) and leaves the global random generators as they
were.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from qrdistill.config import (
    FolderSource,
    FrozenConfig,
    FullConfig,
    HubSource,
    LoraConfig,
    PackageSource,
    StudentConfig,
    TinySource,
    content_hash,
)
from qrdistill.config.folders import check_folder
from qrdistill.errors import ConfigError, DataError
from qrdistill.students import packages, tiny
from qrdistill.students.adapter import LOADING, attach_lora, quiet
from qrdistill.students.attention import TREE_ATTENTION, supports_tree
from qrdistill.students.batch import PathTokens, pack
from qrdistill.students.lora_linear import fuse
from qrdistill.students.quantized import quantize
from qrdistill.students.student import Packing, Student

UNREADABLE = (OSError, ValueError, KeyError, TypeError, SafetensorError, StrictDataclassError)
"""What loading a damaged or foreign model raises."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Bases:
    """Base models that several students adapt: the weights are in memory once, the modules (and adapters) are each one's own."""

    def __init__(self) -> None:
        self._models: dict[str, tuple[Any, Any, str, str]] = {}

    def take(self, key: str, load: Callable[[], tuple[Any, Any, str, str]]) -> tuple[Any, Any, str, str]:
        """A model of its own with the shared weights, a tokenizer of its own, source hash and hub id."""
        if not key:
            return load()
        if key not in self._models:
            self._models[key] = load()
        model, tokenizer, *about = self._models[key]
        shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        return copy.deepcopy(model, shared), copy.deepcopy(tokenizer), *about


def is_quantized(config: StudentConfig) -> bool:
    """Whether the student's base is kept in 4 bits."""
    return isinstance(config.adapter, LoraConfig) and config.adapter.quantization == "nf4"


def base_key(config: StudentConfig, dtype: torch.dtype) -> str:
    """Equal for students that can share their base's weights; "" for one that trains them itself."""
    return (
        ""
        if isinstance(config.adapter, FullConfig)
        else content_hash([config.source.model_dump(mode="json"), str(dtype), is_quantized(config)])
    )


def load_student(
    config: StudentConfig,
    *,
    seed: int,
    device: str = "auto",
    cache: Path | None = None,
    note: Callable[[str], None] | None = None,
    place: Callable[[Any, torch.device], None] | None = None,
    bases: Bases | None = None,
) -> Student:
    """Load a student's base model and tokenizer and attach its adapter.

    Args:
        config: the student's part of the recipe.
        seed: draws the adapter's initial weights (and nothing else).
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        cache: where converted packaged models are kept; default $QRDISTILL_CACHE or ~/.cache/qrdistill.
        note: receives one-off messages (licence terms of a packaged model).
        place: puts the model on its device, in pieces if need be; default: whole.
        bases: weights that students of one team share.

    Raises:
        ConfigError: wrong target modules, a missing package, no GPU.
        DataError: a folder without model or tokenizer, a tokenizer that cannot be used.
    """
    where = pick_device(device)
    dtype = weight_dtype(config, where)

    def load() -> tuple[Any, Any, str, str]:
        found = _load_base(config, dtype, cache, note)
        if is_quantized(config):
            quantize(found[0], student=config.name, device=where)
        return found

    with LOADING, quiet():
        key = base_key(config, dtype) if bases is not None else ""
        model, tokenizer, source_hash, hub_id = (bases or Bases()).take(key, load)
        model.requires_grad_(isinstance(config.adapter, FullConfig))
        if isinstance(config.adapter, LoraConfig):
            model = attach_lora(model, config.adapter, seed=seed, student=config.name)
            fuse(model)
    model.eval()
    if place is None:
        model.to(where)
    else:
        place(model, where)
    student = Student(config=config, model=model, tokenizer=tokenizer, device=where, source_hash=source_hash, hub_id=hub_id)
    if not isinstance(config.adapter, FrozenConfig) and not student.trainable():
        raise ConfigError(f"student {config.name!r}: its adapter has no trainable weights; check target_modules")
    student.packing = _choose_packing(student)
    if student.packing == "rows" and note is not None:
        note(f"student {config.name!r}: its attention takes no tree mask, so each path is read in a row of its own (slower)")
    return student


def weight_dtype(config: StudentConfig, device: torch.device) -> torch.dtype:
    """Type of a student's weights: what the recipe says, else bfloat16 on a GPU and float32 on a CPU.

    Weights that are trained themselves are float32 on a GPU too (see `Student.is_autocast`).
    """
    is_narrow = device.type == "cuda" and not isinstance(config.adapter, FullConfig)
    return _DTYPES.get(config.dtype) or (torch.bfloat16 if is_narrow else torch.float32)


def _choose_packing(student: Student) -> Packing:
    """The fastest way to read packed rows that gives what one pass per path gives, tried on a small row."""
    size = student.vocab_size

    def path(number: int, length: int) -> PathTokens:
        ids = tuple((7 * number + 3 * index + 5) % size for index in range(length))
        prompt = tuple((11 * index + 3) % size for index in range(4))
        return PathTokens(path_id=str(number), text="", prompt_ids=prompt, response_ids=ids, response_offsets=((0, 0),) * length)

    (row,) = pack([[path(1, 5), path(2, 4)]], 64)
    ways: list[Packing] = ["mask", "tree"] if student.device.type == "cuda" else ["tree", "mask"]
    tolerance = 1e-3 if student.dtype == torch.float32 and not student.is_autocast else 5e-2
    with torch.no_grad():
        expected = student.hidden(row, packing="rows").float()
        for way in ways:
            if way == "tree" and not supports_tree(student.causal_lm):
                continue
            try:
                found = student.hidden(row, packing=way).float()
            except (TypeError, ValueError, RuntimeError):
                continue
            if bool(((found - expected).norm() <= tolerance * expected.norm()).item()):
                return way
    return "rows"


def _load_base(
    config: StudentConfig, dtype: torch.dtype, cache: Path | None, note: Callable[[str], None] | None
) -> tuple[Any, Any, str, str]:
    source = config.source
    if isinstance(source, TinySource):
        tokenizer = tiny.build_tokenizer(source.architecture)
        model = tiny.build_model(source.architecture, len(tokenizer), source.seed).to(dtype)
        model.set_attn_implementation(TREE_ATTENTION)
        return model, tokenizer, content_hash(source), ""
    if isinstance(source, PackageSource):
        package = packages.PACKAGES[source.id]
        folder = packages.converted(source.id, cache=cache, note=note)
        return *_load_folder(folder, dtype, config.name), package.sha256, package.hub_id
    if isinstance(source, FolderSource):
        folder = Path(source.path)
        check_folder(folder, student=config.name)
        return *_load_folder(folder, dtype, config.name), packages.folder_hash(folder), source.path
    assert isinstance(source, HubSource)
    model, tokenizer = _from_pretrained(source.id, dtype, config.name, revision=source.revision)
    commit = str(getattr(model.config, "_commit_hash", None) or source.revision)
    return model, tokenizer, content_hash([source.id, commit]), source.id


def _load_folder(folder: Path, dtype: torch.dtype, student: str) -> tuple[Any, Any]:
    return _from_pretrained(str(folder), dtype, student, local_files_only=True)


def _from_pretrained(name: str, dtype: torch.dtype, student: str, **options: Any) -> tuple[Any, Any]:
    with readable(name, student):
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, trust_remote_code=False, use_safetensors=True, **options
        )
        if supports_tree(model) and not getattr(model.config, "attn_logit_softcapping", None):
            model.set_attn_implementation(TREE_ATTENTION)
    return model, tokenizer


@contextmanager
def readable(name: str, student: str) -> Iterator[None]:
    """What transformers says of files it cannot use becomes one sentence.

    Raises:
        DataError: they cannot be used.
    """
    try:
        yield
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0].rstrip(":.") if str(error).strip() else type(error).__name__
        raise DataError(
            f"student {student!r}: {name} cannot be loaded as a causal language model with tokenizer ({reason}); "
            "give one that transformers can load"
        ) from error


def local_tokenizer(config: StudentConfig) -> Any | None:
    """A student's tokenizer, if it is on this machine; nothing is downloaded or converted.

    Raises:
        DataError: the student's folder holds one that cannot be read.
    """
    source = config.source
    if isinstance(source, TinySource):
        return tiny.build_tokenizer(source.architecture)
    options = {"revision": source.revision} if isinstance(source, HubSource) else {}
    place = source.path if isinstance(source, FolderSource) else source.id
    if isinstance(source, PackageSource):
        place = str(packages.already_converted(source.id) or "")
    try:
        with readable(place, config.name):
            return transformers.AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False, **options)
    except DataError:
        if isinstance(source, FolderSource):
            raise
        return None


def pick_device(name: str) -> torch.device:
    """The device a recipe means by "auto", "cpu" or "cuda"; with several processes a machine each has a GPU of its own.

    Raises:
        ConfigError: there is no GPU, or none for this process.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but torch sees no GPU; set runtime.device to auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()  # as torchrun numbers them
    if number >= count:
        raise ConfigError(
            f"process {number} of this machine has no GPU of its own, torch sees {count}; "
            f"start {count} processes a machine, or set runtime.device to cpu"
        )
    return torch.device("cuda", number)
