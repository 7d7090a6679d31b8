"""Reading a GGUF file: its metadata, its dequantised weights, and the tokenizer it describes.

Only what the two packaged models need (Llama and Gemma-3 layouts), but an order of magnitude faster than loading through
`transformers`, which walks the vocabulary three times in Python. A test holds both to the same weights and tokens.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_CONTROL, _USER_DEFINED = 3, 4
"""Token types of the vocabulary."""
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""How SentencePiece writes a space."""

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


@dataclass(frozen=True, slots=True)
class _TensorInfo:
    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


class GGUFFile:
    """A GGUF file held in memory (or mapped).

    Args:
        data: the file's bytes.
    """

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = data
        self._bytes = memoryview(data)  # type: ignore[arg-type]
        self._at = 4
        _, num_tensors, num_fields = self._read("<I"), self._read("<Q"), self._read("<Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(num_fields):
            key = self._string()
            self.metadata[key] = self._value(self._read("<I"))
        self._tensors = []
        for _ in range(num_tensors):
            name = self._string()
            shape = tuple(self._read("<Q") for _ in range(self._read("<I")))
            self._tensors.append(_TensorInfo(name, tuple(reversed(shape)), self._read("<I"), self._read("<Q")))
        alignment = self.metadata.get("general.alignment", 32)
        self._start = math.ceil(self._at / alignment) * alignment

    def weights(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Every weight under its Hugging Face name, dequantised to float32."""
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
        from gguf.quants import dequantize

        architecture = self.metadata["general.architecture"]
        for info in self._tensors:
            kind = GGMLQuantizationType(info.kind)
            block, size = GGML_QUANT_SIZES[kind]
            num_bytes = math.prod(info.shape) // block * size
            start = self._start + info.offset
            raw = self._data[start : start + num_bytes].reshape(*info.shape[:-1], -1)
            if kind == GGMLQuantizationType.F32:
                weight = raw.view(np.float32).copy()
            elif kind == GGMLQuantizationType.Q8_0:
                weight = _dequantize_q8(raw).reshape(info.shape)
            else:
                weight = dequantize(raw, kind)
            yield _hugging_face_name(info.name, architecture), self._undo(info.name, architecture, weight)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer the file describes: byte-level BPE ("gpt2") or Gemma's SentencePiece ("llama")."""
        field = "tokenizer.ggml."
        tokens: list[str] = self.metadata[field + "tokens"]
        kinds: list[int] = self.metadata[field + "token_type"]
        if self.metadata[field + "model"] == "gpt2":
            merges = [tuple(merge.split(" ")) for merge in self.metadata[field + "merges"]]
            tokenizer = _byte_level(tokens, merges, splits_digits=self.metadata.get(field + "pre") == "smollm")
        else:
            tokens = [_SPACE * len(token) if token and not token.strip(" ") else token for token in tokens]
            tokenizer = _sentencepiece(tokens, tokens[self.metadata[field + "unknown_token_id"]])
        pairs = list(zip(tokens, kinds, strict=True))
        tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, kind in pairs if kind == _CONTROL])
        whole = [t for t, kind in pairs if kind == _USER_DEFINED and t.strip(_SPACE)]
        tokenizer.add_tokens([AddedToken(t, normalized=False) for t in whole])
        if self.metadata.get(field + "add_bos_token"):
            number = self.metadata[field + "bos_token_id"]
            bos = tokens[number]
            tokenizer.post_processor = processors.TemplateProcessing(
                single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, number)]
            )
        return tokenizer

    def _undo(self, name: str, architecture: str, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo what the GGUF converter did to a weight: Llama's rotary interleaving, Gemma's norm + 1."""
        if architecture == "gemma3" and name.endswith("norm.weight"):
            return weight - np.float32(1.0)
        if architecture == "llama" and name.endswith(("attn_q.weight", "attn_k.weight")):
            suffix = "head_count_kv" if name.endswith("attn_k.weight") else "head_count"
            heads = self.metadata[f"llama.attention.{suffix}"]
            half = weight.shape[0] // heads // 2
            return weight.reshape(heads, half, 2, *weight.shape[1:]).swapaxes(2, 1).reshape(weight.shape)
        return weight

    def _read(self, code: str) -> Any:
        (value,) = struct.unpack_from(code, self._bytes, self._at)
        self._at += struct.calcsize(code)
        return value

    def _string(self) -> str:
        length = self._read("<Q")
        text = bytes(self._bytes[self._at : self._at + length]).decode("utf-8")
        self._at += length
        return text

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._read(_SCALARS[kind])
        kind, length = self._read("<I"), self._read("<Q")
        if kind == _STRING:
            return [self._string() for _ in range(length)]
        code = _SCALARS[kind]
        values = list(struct.unpack_from(f"<{length}{code[1:]}", self._bytes, self._at))
        self._at += length * struct.calcsize(code)
        return values


def _dequantize_q8(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Blocks of 34 bytes: one float16 scale, 32 int8 values. The big embeddings use it, so it is worth its own few lines."""
    blocks = raw.reshape(-1, 34)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    values = blocks[:, 2:].view(np.int8).astype(np.float32)
    values *= scale
    return values


def _hugging_face_name(name: str, architecture: str) -> str:
    layer = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if not layer:
        stem, _, kind = name.rpartition(".")
        return f"{_NAMES[stem]}.{kind}"
    number, stem, kind = layer.groups()
    names = dict(_NAMES)
    # Gemma-3 has norms after attention and before the feed-forward, Llama calls the latter "post attention".
    names["post_attention_norm"] = "post_attention_layernorm"
    names["ffn_norm"] = "pre_feedforward_layernorm" if architecture == "gemma3" else "post_attention_layernorm"
    return f"model.layers.{number}.{names[stem]}.{kind}"


def _byte_level(tokens: list[str], merges: list[tuple[str, ...]], *, splits_digits: bool) -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))  # type: ignore[arg-type]
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if splits_digits:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), splitter])
    else:
        tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(tokens: list[str], unknown: str) -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=_merges(vocabulary), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _merges(vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """The merges a SentencePiece BPE vocabulary implies: every split of a piece into two pieces, in the order of the pieces."""
    merges = []
    for piece in vocabulary:
        splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [(left, right) for left, right in splits if left in vocabulary and right in vocabulary]
        merges += sorted(known, key=lambda pair: (len(pair[0]), len(pair[1])))
    return merges
