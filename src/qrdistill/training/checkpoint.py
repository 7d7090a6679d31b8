"""Checkpoints: one folder a step that holds all students, the router and their optimizers, or does not exist.

::

    checkpoints/step-000040/
      students/NAME.safetensors     trainable weights and AdamW moments
      method.safetensors            router, its optimizer, utility evidence
      position.json                 step, tokens trained
      manifest.json                 written last: SHA-256 of each file, fingerprint of the training

The folder is written under another name, synced and renamed, so a kill at any moment leaves either the whole checkpoint or the
one before it. Random draws are functions of (seed, step), so no generator state is needed. Only safetensors and JSON are read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from qrdistill.errors import CorruptRunError, StorageError
from qrdistill.store import sha256, write_json
from qrdistill.store.files import sync_folder
from qrdistill.students import Student


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything training needs to go on."""

    students: dict[str, dict[str, Tensor]]
    method: dict[str, Tensor]
    position: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, fingerprint: str, keep: int) -> None:
    """Commit a checkpoint and delete all but the newest `keep`.

    Raises:
        StorageError: the disk refuses; earlier checkpoints are untouched.
    """
    final = folder / f"step-{checkpoint.position['step']:06d}"
    draft = folder / f".{final.name}.tmp"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "students").mkdir(parents=True)
        for name, tensors in checkpoint.students.items():
            save_file(_contiguous(tensors), draft / "students" / f"{name}.safetensors")
        save_file(_contiguous(checkpoint.method), draft / "method.safetensors")
        write_json(draft / "position.json", checkpoint.position)
        names = sorted(str(path.relative_to(draft)) for path in draft.rglob("*") if path.is_file())
        manifest = {"fingerprint": fingerprint, "sha256": {name: sha256(draft / name) for name in names}}
        write_json(draft / "manifest.json", manifest)
        _sync(draft)
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
        sync_folder(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise StorageError(f"cannot write {final}: {error}; free disk space, then run the same command again") from error
    for old in _steps(folder)[:-keep]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, *, fingerprint: str) -> Checkpoint | None:
    """The newest checkpoint of this training, or None when there is none.

    Raises:
        CorruptRunError: a file does not match its recorded hash (it is named).
    """
    for path in reversed(_steps(folder)):
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if manifest["fingerprint"] != fingerprint:
            continue
        for name, digest in manifest["sha256"].items():
            if not (path / name).is_file() or sha256(path / name) != digest:
                file = path / name
                raise CorruptRunError(f"{file} is damaged or missing; delete {path} to go on from the checkpoint before it")
        return Checkpoint(
            students={file.stem: load_file(file) for file in sorted((path / "students").iterdir())},
            method=load_file(path / "method.safetensors"),
            position=json.loads((path / "position.json").read_text(encoding="utf-8")),
        )
    return None


def clear_checkpoints(folder: Path) -> None:
    """Delete every checkpoint (of a training whose config has changed, or that has finished)."""
    shutil.rmtree(folder, ignore_errors=True)


def student_tensors(student: Student, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """A student's trainable weights and AdamW moments as named tensors."""
    tensors = {f"weight/{name}": value for name, value in student.state_dict().items()}
    for name, parameter in student.trainable():
        moments = optimizer.state.get(parameter, {}) if optimizer else {}
        tensors |= {f"moment/{key}/{name}": torch.as_tensor(value).detach().cpu().clone() for key, value in moments.items()}
    return tensors


def restore_student(student: Student, optimizer: torch.optim.Optimizer | None, tensors: Mapping[str, Tensor]) -> None:
    """Put weights and moments back, bit for bit."""
    weights = {name.removeprefix("weight/"): value for name, value in tensors.items() if name.startswith("weight/")}
    student.load_state_dict(weights)
    if optimizer is None:
        return
    for name, parameter in student.trainable():
        moments = {
            key.removeprefix("moment/").removesuffix(f"/{name}"): value
            for key, value in tensors.items()
            if key.startswith("moment/") and key.endswith(f"/{name}")
        }
        if moments:
            optimizer.state[parameter] = {
                key: value.clone() if key == "step" else value.to(parameter.device, copy=True) for key, value in moments.items()
            }


def _steps(folder: Path) -> Sequence[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.startswith("step-") and (path / "manifest.json").is_file())


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # A file needs at least one tensor; a frozen student or a fixed policy has none.
    return {name: value.contiguous() for name, value in tensors.items()} or {"nothing": torch.zeros(1)}


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
    for path in (folder / "students", folder):
        sync_folder(path)
