"""LoRA adapters: attached through PEFT, drawn from a seed of their own, saved so that plain PEFT can load them."""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from qrdistill.config import LoraConfig
from qrdistill.errors import ConfigError, DataError, StorageError

# PEFT imports bitsandbytes wherever that is installed, which then warns of faster kernels that one could download.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
import peft  # noqa: E402

_ADAPTER_FILE = "adapter_model.safetensors"


LOADING = threading.Lock()
"""Held while transformers loads a model: it swaps torch's initialisers for the process, and two loads that overlap put the
swapped ones back for good (later models are then built without data)."""


def attach_lora(model: Any, config: LoraConfig, *, seed: int, student: str) -> Any:
    """Wrap a frozen model with LoRA adapters (Hu et al., 2021): A drawn from `seed`, B zero, dropout 0.

    Raises:
        ConfigError: no layer has one of the target names.
    """
    targets = config.target_modules if isinstance(config.target_modules, str) else list(config.target_modules)
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=targets, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"
    )
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)  # PEFT asks
            wrapped = peft.get_peft_model(model, settings)
    except ValueError as error:
        known = sorted({name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)})
        raise ConfigError(
            f"student {student!r}: target_modules {config.target_modules} name no linear layer of this model; "
            f"it has {', '.join(known)} (or use all-linear)"
        ) from error
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(wrapped.named_parameters()):
        if "lora_A" in name:
            _draw(weight, generator)
    return wrapped


def _draw(weight: Tensor, generator: torch.Generator) -> None:
    bound = math.sqrt(1.0 / weight.shape[1])  # Kaiming uniform with a = sqrt(5), as PEFT draws A
    with torch.no_grad():
        weight.copy_(torch.empty(weight.shape).uniform_(-bound, bound, generator=generator))


def save(model: Any, tokenizer: Any, folder: Path, *, base: str, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write adapter (or full model) and tokenizer beside the folder's place, then put it there.

    Args:
        model: what is saved.
        tokenizer: saved with it.
        folder: the place.
        base: where the base weights come from; written into an adapter.
        weights: trainable weights that take the place of the model's.

    Raises:
        StorageError: the disk refuses; an older folder is untouched.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        if hasattr(model, "peft_config"):
            model.peft_config["default"].base_model_name_or_path = base
            model.save_pretrained(temporary, save_embedding_layers=False, state_dict=weights)
            (temporary / "README.md").unlink(missing_ok=True)  # PEFT's card is a form to fill in
        else:
            with quiet():
                model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageError(f"cannot write {folder}: {error}; free disk space, then run the same command again") from error


def restore(model: Any, folder: Path, *, student: str) -> dict[str, Tensor]:
    """The trainable weights that `save` wrote, by parameter name.

    Raises:
        DataError: the folder holds no readable weights of this kind.
    """
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    try:
        if hasattr(model, "peft_config"):
            saved = load_file(folder / _ADAPTER_FILE)
            by_name = {name: name.replace(".default.", ".") for name in trainable}  # PEFT leaves the adapter's name out
        else:
            # Through transformers, whose names on disk may differ from those in memory.
            with LOADING, quiet():
                loaded = type(model).from_pretrained(folder, dtype=model.dtype, local_files_only=True, use_safetensors=True)
            saved, by_name = dict(loaded.named_parameters()), {name: name for name in trainable}
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"student {student!r}: the weights in {folder} cannot be read ({error}); run: qrdistill train") from error
    return {name: saved[key] for name, key in by_name.items() if key in saved}


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own progress bars: stages show one of their own."""
    shown = transformers.utils.logging
    is_shown = shown.is_progress_bar_enabled()
    shown.disable_progress_bar()
    try:
        yield
    finally:
        if is_shown:
            shown.enable_progress_bar()
