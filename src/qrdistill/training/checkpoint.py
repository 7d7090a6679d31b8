"""Checkpoints: one folder a step that holds all students, the router and their optimizers, or does not exist.

::

    checkpoints/step-000040/
      students/NAME.safetensors     trainable weights and AdamW moments
      students/NAME/                the same of a sharded student, one file a rank
      method.safetensors            router, its optimizer, utility evidence
      position.json                 step, tokens trained
      manifest.json                 written last: SHA-256 of each file, fingerprint of the training, number of ranks

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
from qrdistill.students.pieces import cut, is_piece
from qrdistill.training.ranks import ALONE, Ranks
from qrdistill.training.sharding import load_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything training needs to go on."""

    students: dict[str, Mapping[str, Tensor]]
    method: dict[str, Tensor]
    position: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, fingerprint: str, keep: int, ranks: Ranks = ALONE) -> None:
    """Commit a checkpoint and delete all but the newest `keep`.

    Rank 0 does all of it, but where a student is sharded, of which each rank writes its pieces.

    Raises:
        StorageError: the disk refuses; earlier checkpoints are untouched.
    """
    final = folder / f"step-{checkpoint.position['step']:06d}"
    draft = folder / f".{final.name}.tmp"
    try:
        if ranks.is_first:
            shutil.rmtree(draft, ignore_errors=True)
            (draft / "students").mkdir(parents=True)
        for name, tensors in checkpoint.students.items():
            if any(map(is_piece, tensors.values())):
                ranks.save_pieces(tensors, draft / "students" / name)
            elif ranks.is_first:
                save_file(_contiguous(tensors), draft / "students" / f"{name}.safetensors")
        if not ranks.is_first:
            return
        save_file(_contiguous(checkpoint.method), draft / "method.safetensors")
        write_json(draft / "position.json", checkpoint.position)
        names = sorted(str(path.relative_to(draft)) for path in draft.rglob("*") if path.is_file())
        hashes = {name: sha256(draft / name) for name in names}
        manifest = {"fingerprint": fingerprint, "ranks": ranks.size, "sha256": hashes}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCheckpoint:
    """A checkpoint whose files are whole; a sharded student's tensors are still in its folder."""

    students: dict[str, Mapping[str, Tensor] | Path]
    method: dict[str, Tensor]
    position: dict[str, Any]


def load_checkpoint(folder: Path, *, fingerprint: str) -> SavedCheckpoint | None:
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
        return SavedCheckpoint(
            students={
                place.stem: place if place.is_dir() else load_file(place) for place in sorted((path / "students").iterdir())
            },
            method=load_file(path / "method.safetensors"),
            position=json.loads((path / "position.json").read_text(encoding="utf-8")),
        )
    return None


def told(ranks: Ranks, checkpoint: SavedCheckpoint | None, students: Sequence[Student]) -> Checkpoint | None:
    """Rank 0's checkpoint on every rank; of a sharded student in its pieces, if it was saved so."""
    position = ranks.tell(checkpoint.position if checkpoint else None)
    if position is None:
        return None
    saved = checkpoint.students if checkpoint else {}
    folders = ranks.tell({name: str(place) for name, place in saved.items() if isinstance(place, Path)})
    tensors: dict[str, Mapping[str, Tensor]] = {}
    for student in students:
        folder, mine = folders.get(student.name), saved.get(student.name, {})
        if folder and any(is_piece(weight) for _, weight in student.trainable()):
            tensors[student.name] = ranks.load_pieces(Path(folder), _shapes(student))
        else:
            tensors[student.name] = ranks.tell_tensors(load_whole(mine) if isinstance(mine, Path) else mine)
    return Checkpoint(students=tensors, method=ranks.tell_tensors(checkpoint.method if checkpoint else {}), position=position)


def _shapes(student: Student) -> dict[str, Tensor]:
    """What a checkpoint may hold of a student, in its pieces."""
    weights = student.trainable()
    names = ("weight", "moment/exp_avg", "moment/exp_avg_sq")
    tensors: dict[str, Tensor] = {f"{kind}/{name}": weight.detach() for kind in names for name, weight in weights}
    return tensors | {f"moment/step/{name}": torch.zeros(()) for name, _ in weights}


def clear_checkpoints(folder: Path) -> None:
    """Delete every checkpoint (of a training whose config has changed, or that has finished)."""
    shutil.rmtree(folder, ignore_errors=True)


def student_tensors(student: Student, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """A student's trainable weights and AdamW moments as named tensors: copies, or this rank's pieces themselves."""
    tensors = {}
    for name, parameter in student.trainable():
        tensors[f"weight/{name}"] = _kept(parameter)
        moments = optimizer.state.get(parameter, {}) if optimizer else {}
        tensors |= {f"moment/{key}/{name}": _kept(torch.as_tensor(value)) for key, value in moments.items()}
    return tensors


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach() if is_piece(tensor) else tensor.detach().to("cpu", copy=True)


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
                key: value.clone() if key == "step" else cut(value, parameter).to(parameter.device, copy=not is_piece(parameter))
                for key, value in moments.items()
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
    for path in (*(inner for inner in folder.rglob("*") if inner.is_dir()), folder):
        sync_folder(path)
