"""A student: a causal language model with its own tokenizer, template and adapter.

Students share nothing mutable: each may be trained or decoded in a thread of its own. Loading is serialised (transformers
patches torch's initialisers while it loads) and leaves the global random generators as they were.

Shapes: T tokens of a packed row, N label positions, D model width, V vocabulary.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

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
from qrdistill.errors import ConfigError, DataError
from qrdistill.students import packages, tiny
from qrdistill.students.adapter import attach_lora, quiet, restore, save
from qrdistill.students.batch import PackedBatch, tree_mask
from qrdistill.students.template import Template

_LOADING = threading.Lock()
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Student:
    """One student of the team.

    Attributes:
        name: the student's name in the recipe.
        config: its part of the recipe.
        model: the Hugging Face model, wrapped by PEFT when it has an adapter.
        tokenizer: its tokenizer.
        template: how prompts and responses become tokens.
        device: where the weights are.
        base_identity: hash of base weights, tokenizer, template and dtype: equal ones give equal zero-shot answers.
        identity: the same with the adapter's settings.
        hub_id: where the base weights come from, as a hub id or folder ("" for tiny ones); written into saved adapters.
    """

    def __init__(
        self, *, config: StudentConfig, model: Any, tokenizer: Any, device: torch.device, source_hash: str, hub_id: str
    ) -> None:
        self.name = config.name
        self.config = config
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        self.hub_id = hub_id
        self.template = Template(tokenizer, config.template, student=config.name)
        self.causal_lm: Any = model.get_base_model() if hasattr(model, "peft_config") else model
        self.decoder: Any = getattr(self.causal_lm, self.causal_lm.base_model_prefix)
        self.head: Any = self.causal_lm.get_output_embeddings()
        self.base_identity = content_hash([source_hash, self.template.source, self.template.stop_ids, str(self.dtype)])
        self.identity = content_hash([self.base_identity, config.adapter.model_dump(mode="json")])

    def __repr__(self) -> str:
        kind = self.config.adapter.kind
        count = sum(parameter.numel() for _, parameter in self.trainable())
        return f"Student({self.name!r}, {type(self.causal_lm).__name__}, {kind}, {count:,} trainable weights, {self.device})"

    @property
    def max_length(self) -> int:
        """Most tokens a prompt and path may have together: the recipe's limit or the model's window, whichever is smaller."""
        return min(self.config.max_length, int(getattr(self.causal_lm.config, "max_position_embeddings", self.config.max_length)))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        dtype: torch.dtype = self.head.weight.dtype
        return dtype

    @property
    def width(self) -> int:
        """Width D of the hidden states."""
        return int(self.causal_lm.config.hidden_size)

    @property
    def vocab_size(self) -> int:
        """Rows V of the output embedding."""
        return int(self.head.weight.shape[0])

    # --- weights ---------------------------------------------------------------------------------------------------------

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """The trainable parameters, sorted by name (empty for a frozen student)."""
        return sorted((name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the trainable weights, on the CPU."""
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.trainable()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put trainable weights back, bit for bit.

        Raises:
            DataError: the names or shapes are not this student's.
        """
        mine = dict(self.trainable())
        if set(mine) != set(state) or any(mine[name].shape != state[name].shape for name in mine):
            raise DataError(f"student {self.name!r}: the saved weights belong to another model or adapter; train anew")
        with torch.no_grad():
            for name, parameter in mine.items():
                parameter.copy_(state[name])

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's format (or the whole model in Hugging Face format) with the tokenizer, atomically."""
        save(self.model, self.tokenizer, folder, base=self.hub_id)

    def restore(self, folder: Path) -> None:
        """Read back what `save` wrote.

        Raises:
            DataError: the folder lacks the weights, or they are another model's.
        """
        self.load_state_dict(restore(self.model, folder, student=self.name))

    # --- forward ---------------------------------------------------------------------------------------------------------

    def hidden(self, batch: PackedBatch) -> Tensor:
        """Last hidden states [T, D] of a packed row, after the final norm."""
        row = batch.to(self.device)
        output = self.decoder(
            input_ids=row.input_ids[None],
            position_ids=row.position_ids[None],
            attention_mask=self.masks(
                tree_mask(row), lambda window: tree_mask(row, window=window), longest=int(row.position_ids.max()) + 1
            ),
            use_cache=False,
        )
        hidden_TD: Tensor = output.last_hidden_state[0]
        return hidden_TD

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Next-token logits [N, V] of chosen hidden states, with the model's own scaling and soft cap."""
        logits_NV: Tensor = self.head(hidden_ND)
        config = self.causal_lm.config
        if scale := getattr(config, "logit_scale", None):
            logits_NV = logits_NV * scale
        if divisor := getattr(config, "logits_scaling", None):
            logits_NV = logits_NV / divisor
        if cap := getattr(config, "final_logit_softcapping", None):
            logits_NV = torch.tanh(logits_NV / cap) * cap
        return logits_NV

    def masks(self, full: Tensor, sliding: Callable[[int], Tensor], *, longest: int) -> Any:
        """What the model's forward takes as attention mask.

        Args:
            full: which query (second to last axis) may see which key (last axis), bool, with or without a batch axis.
            sliding: gives the same for layers with a sliding window of that many positions.
            longest: no position exceeds it; a window at least as long changes nothing.
        """
        config = self.causal_lm.config
        kinds = set(getattr(config, "layer_types", None) or ())
        window = int(getattr(config, "sliding_window", None) or 0)
        additive = self._additive(full)
        if "sliding_attention" not in kinds:
            return {"full_attention": additive} if config.model_type in _MASK_BY_KIND else additive
        narrow = additive if longest <= window else self._additive(sliding(window))
        return {"full_attention": additive, "sliding_attention": narrow}

    def _additive(self, mask: Tensor) -> Tensor:
        additive = torch.zeros(mask.shape, dtype=self.dtype, device=mask.device)
        additive.masked_fill_(~mask, torch.finfo(self.dtype).min)
        return additive[:, None] if mask.dim() == 3 else additive[None, None]


_MASK_BY_KIND = {"gemma3_text", "qwen2", "qwen3", "gemma2"}
"""Models whose forward takes a dictionary of masks, one per kind of attention layer."""


def load_student(
    config: StudentConfig,
    *,
    seed: int,
    device: str = "auto",
    cache: Path | None = None,
    note: Callable[[str], None] | None = None,
) -> Student:
    """Load a student's base model and tokenizer and attach its adapter.

    Args:
        config: the student's part of the recipe.
        seed: draws the adapter's initial weights (and nothing else).
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        cache: where converted packaged models are kept; default $QRDISTILL_CACHE or ~/.cache/qrdistill.
        note: receives one-off messages (licence terms of a packaged model).

    Raises:
        ConfigError: wrong target modules, a missing package, no GPU.
        DataError: a folder without model or tokenizer, a tokenizer that cannot be used.
    """
    where = _device(device)
    dtype = _DTYPES.get(config.dtype) or (torch.bfloat16 if where.type == "cuda" else torch.float32)
    with _LOADING, quiet():
        model, tokenizer, source_hash, hub_id = _load_base(config, dtype, cache, note)
        model.requires_grad_(isinstance(config.adapter, FullConfig))
        if isinstance(config.adapter, LoraConfig):
            model = attach_lora(model, config.adapter, seed=seed, student=config.name)
    model.to(where).eval()
    student = Student(config=config, model=model, tokenizer=tokenizer, device=where, source_hash=source_hash, hub_id=hub_id)
    if not isinstance(config.adapter, FrozenConfig) and not student.trainable():
        raise ConfigError(f"student {config.name!r}: its adapter has no trainable weights; check target_modules")
    return student


def _load_base(
    config: StudentConfig, dtype: torch.dtype, cache: Path | None, note: Callable[[str], None] | None
) -> tuple[Any, Any, str, str]:
    source = config.source
    if isinstance(source, TinySource):
        tokenizer = tiny.build_tokenizer(source.architecture)
        model = tiny.build_model(source.architecture, len(tokenizer), source.seed).to(dtype)
        return model, tokenizer, content_hash(source), ""
    if isinstance(source, PackageSource):
        package = packages.PACKAGES[source.id]
        folder = packages.converted(source.id, cache=cache, note=note)
        return *_load_folder(folder, dtype, config.name), package.sha256, package.hub_id
    if isinstance(source, FolderSource):
        folder = Path(source.path)
        packages.check_folder(folder, student=config.name)
        return *_load_folder(folder, dtype, config.name), packages.folder_hash(folder), source.path
    assert isinstance(source, HubSource)
    model, tokenizer = _from_pretrained(source.id, dtype, config.name, revision=source.revision)
    commit = str(getattr(model.config, "_commit_hash", None) or source.revision)
    return model, tokenizer, content_hash([source.id, commit]), source.id


def _load_folder(folder: Path, dtype: torch.dtype, student: str) -> tuple[Any, Any]:
    return _from_pretrained(str(folder), dtype, student, local_files_only=True)


def _from_pretrained(name: str, dtype: torch.dtype, student: str, **options: Any) -> tuple[Any, Any]:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, attn_implementation="sdpa", trust_remote_code=False, use_safetensors=True, **options
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"student {student!r}: {name} cannot be loaded as a causal language model with tokenizer: {reason}"
        ) from error
    return model, tokenizer


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but torch sees no GPU; set runtime.device to auto or cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")
