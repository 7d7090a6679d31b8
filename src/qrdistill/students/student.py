"""A student: a causal language model with its own tokenizer, template and adapter, and how it reads packed rows.

Students share nothing mutable: each may be trained or decoded in a thread of its own.

Shapes: T tokens of a packed row, N label positions, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qrdistill.config import StudentConfig, content_hash
from qrdistill.errors import DataError
from qrdistill.students.adapter import restore, save
from qrdistill.students.attention import Tree
from qrdistill.students.batch import PackedBatch, tree_mask
from qrdistill.students.pieces import cut, whole
from qrdistill.students.template import Template

Packing = Literal["tree", "mask", "rows"]
"""How a packed row is read: "tree" = attention branch by branch, "mask" = one dense tree mask, "rows" = one pass per path."""
_MASK_BY_KIND = {"gemma3_text", "qwen2", "qwen3", "gemma2"}
"""Models whose forward takes a dictionary of masks, one per kind of attention layer."""


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
        packing: how it reads packed rows; set by `load_student` after a check against one pass per path.
        keep_up: decoder passes to make when this process needs so many; more where weights are in pieces on several processes,
            which make every pass together.
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
        precision = getattr(config.adapter, "quantization", "none")
        precision = str(self.dtype) if precision == "none" else f"{self.dtype}/{precision}"
        self.base_identity = content_hash([source_hash, self.template.source, self.template.stop_ids, precision])
        self.packing: Packing = "rows"
        self.keep_up: Callable[[int], int] = lambda passes: passes
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

    @property
    def window(self) -> int:
        """Sliding window of the model's sliding layers, in positions; 0 when it has none."""
        config = self.causal_lm.config
        is_sliding = "sliding_attention" in (getattr(config, "layer_types", None) or ())
        return int(getattr(config, "sliding_window", None) or 0) if is_sliding else 0

    # --- weights ---------------------------------------------------------------------------------------------------------

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """The trainable parameters, sorted by name (empty for a frozen student)."""
        return sorted((name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the trainable weights, whole, on the CPU."""
        return {name: whole(parameter.detach()).to("cpu", copy=True) for name, parameter in self.trainable()}

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
                parameter.copy_(cut(state[name], parameter))

    def save(self, folder: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write the adapter in PEFT's format (or the whole model in Hugging Face format) with the tokenizer, atomically.

        Args:
            folder: written or replaced.
            weights: `state_dict()` of a student whose weights are in pieces on several processes.
        """
        save(self.model, self.tokenizer, folder, base=self.hub_id, weights=weights)

    def restore(self, folder: Path) -> None:
        """Read back what `save` wrote.

        Raises:
            DataError: the folder lacks the weights, or they are another model's.
        """
        self.load_state_dict(restore(self.model, folder, student=self.name))

    # --- forward ---------------------------------------------------------------------------------------------------------

    @property
    def is_autocast(self) -> bool:
        """Whether float32 weights are computed with in bfloat16: full fine-tuning on a GPU, unless the recipe names a dtype.

        Steps of full fine-tuning are smaller than bfloat16 can add to a weight, so its weights stay in float32.
        """
        return self.device.type == "cuda" and self.config.dtype == "auto" and self.dtype == torch.float32

    def read(self, **inputs: Any) -> Any:
        """One pass of the decoder (everything below the head) in the student's precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_autocast):
            return self.decoder(**inputs)

    def num_passes(self, batch: PackedBatch) -> int:
        """Passes of the decoder that reading a packed row takes."""
        return len(batch.segments) if self.packing == "rows" else 1

    def hidden(self, batch: PackedBatch, *, packing: Packing | None = None) -> Tensor:
        """Last hidden states [T, D] of a packed row, after the final norm; the same however the row is read."""
        row = batch.to(self.device)
        packing = packing or self.packing
        if packing == "rows":
            return self._hidden_by_rows(row)
        options: dict[str, Any] = {}
        if packing == "tree":
            options["tree"] = Tree(row, window=self.window, dtype=self.dtype, device=self.device)
            ignored = torch.zeros(1, 1, 1, 1, dtype=self.dtype, device=self.device)
            masks = dict.fromkeys(("full_attention", "sliding_attention"), ignored) if self._takes_masks_by_kind else ignored
        else:
            longest = int(row.position_ids.max()) + 1
            masks = self.masks(tree_mask(row), lambda window: tree_mask(row, window=window), longest=longest)
        output = self.read(
            input_ids=row.input_ids[None],
            position_ids=row.position_ids[None],
            attention_mask=masks,
            use_cache=False,
            **options,
        )
        hidden_TD: Tensor = output.last_hidden_state[0]
        return hidden_TD

    def _hidden_by_rows(self, row: PackedBatch) -> Tensor:
        pieces: list[Tensor] = []
        for segment in row.segments:
            trunk, branch = slice(segment.trunk_start, segment.trunk_end), slice(segment.start, segment.end)
            ids = torch.cat([row.input_ids[trunk], row.input_ids[branch]])[None]
            hidden_LD = self.read(input_ids=ids, use_cache=False).last_hidden_state[0]
            length = segment.trunk_end - segment.trunk_start
            is_new = sum(len(piece) for piece in pieces) == segment.trunk_start
            pieces += [hidden_LD] if is_new else [hidden_LD[length:]]
        return torch.cat(pieces)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Next-token logits [N, V] of chosen hidden states, with the model's own scaling and soft cap."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_autocast):
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
        additive = self._additive(full)
        if not self.window:
            return {"full_attention": additive} if self._takes_masks_by_kind else additive
        narrow = additive if longest <= self.window else self._additive(sliding(self.window))
        return {"full_attention": additive, "sliding_attention": narrow}

    @property
    def _takes_masks_by_kind(self) -> bool:
        return bool(self.window) or self.causal_lm.config.model_type in _MASK_BY_KIND

    def _additive(self, mask: Tensor) -> Tensor:
        additive = torch.zeros(mask.shape, dtype=self.dtype, device=mask.device)
        additive.masked_fill_(~mask, torch.finfo(self.dtype).min)
        return additive[:, None] if mask.dim() == 3 else additive[None, None]
