"""What a folder with a student must hold; looked at without loading anything."""

from __future__ import annotations

from pathlib import Path

from qrdistill.errors import DataError

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


def check_folder(folder: Path, *, student: str) -> None:
    """Insist on a model, its weights and a tokenizer.

    Raises:
        DataError: one of them is missing.
    """
    if not (folder / "config.json").is_file():
        raise DataError(f"student {student!r}: {folder} holds no model (no config.json); name a folder in Hugging Face format")
    if not any(folder.glob("*.safetensors")):
        raise DataError(
            f"student {student!r}: {folder} holds no weights (no *.safetensors); save the model there with save_pretrained"
        )
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise DataError(f"student {student!r}: {folder} holds no tokenizer (no tokenizer.json); save one beside the model")
