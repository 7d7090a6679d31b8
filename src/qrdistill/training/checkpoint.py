"""Checkpoints: one folder a step that holds all students, the router and their optimizers, or does not exist.

::

    checkpoints/step-000040/        (or best/)
      students/NAME.safetensors     trainable weights and AdamW moments
      students/NAME/                the same of a sharded student, one file a rank
      method.safetensors            router, its optimizer, utility evidence
      position.json                 step, tokens trained
      manifest.json                 written last: SHA-256 of each file, config and fingerprint of the training, number of ranks

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

from qrdistill.config import Config, differences, validate
from qrdistill.config.endpoints import is_operational
from qrdistill.errors import ConfigError, CorruptRunError, DataError, StorageError
from qrdistill.store import sha256, write_json
from qrdistill.store.files import sync_folder
from qrdistill.students import Student
from qrdistill.students.pieces import cut, is_piece
from qrdistill.training.ranks import ALONE, Ranks
from qrdistill.training.sharding import load_whole

_BEST = "best"
_MANIFEST = "manifest.json"
_GO_BACK = "delete {path} to go on from the checkpoint before it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything training needs to go on."""

    students: dict[str, Mapping[str, Tensor]]
    method: dict[str, Tensor]
    position: dict[str, Any]


def save_checkpoint(
    folder: Path,
    checkpoint: Checkpoint,
    *,
    fingerprint: str,
    config: Config,
    keep: int,
    is_best: bool = False,
    ranks: Ranks = ALONE,
) -> None:
    """Commit a checkpoint and delete all but the newest `keep`; the best one has a place of its own.

    Rank 0 does all of it, but where a student is sharded, of which each rank writes its pieces.

    Raises:
        StorageError: the disk refuses; earlier checkpoints are untouched.
    """
    final = folder / (_BEST if is_best else f"step-{checkpoint.position['step']:06d}")
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
        manifest = {
            "fingerprint": fingerprint,
            "config": config.model_dump(mode="json"),
            "ranks": ranks.size,
            "sha256": {name: sha256(draft / name) for name in names},
        }
        write_json(draft / _MANIFEST, manifest)
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


def load_checkpoint(folder: Path, *, fingerprint: str, config: Config, is_best: bool = False) -> SavedCheckpoint | None:
    """The newest (or best) checkpoint of this training, or None when there is none.

    Raises:
        CorruptRunError: a file does not match its recorded hash (it is named).
        DataError: it belongs to another training (what differs is listed).
    """
    path = folder / _BEST if is_best else next(reversed(_steps(folder)), folder)
    if not (path / _MANIFEST).is_file():
        return None
    manifest = _manifest(path)
    if manifest["fingerprint"] != fingerprint:
        raise DataError(
            f"{path} is a checkpoint of another training ({_what_differs(manifest, config)}); "
            f"{_way_out(folder, fingerprint)}, or go on in the run it belongs to"
        )
    for name, digest in manifest["sha256"].items():
        if not (path / name).is_file() or sha256(path / name) != digest:
            raise CorruptRunError(f"{path / name} is damaged or missing; {_GO_BACK.format(path=path)}")
    return SavedCheckpoint(
        students={place.stem: place if place.is_dir() else load_file(place) for place in sorted((path / "students").iterdir())},
        method=load_file(path / "method.safetensors"),
        position=json.loads((path / "position.json").read_text(encoding="utf-8")),
    )


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        return {**found, "fingerprint": str(found["fingerprint"]), "sha256": dict(found["sha256"])}
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptRunError(f"{path / _MANIFEST} is damaged; {_GO_BACK.format(path=path)}") from error


def _way_out(folder: Path, fingerprint: str) -> str:
    """Which folders to move away: those of another training, or all of them where none is this one's."""
    steps = _steps(folder)
    is_mine = [_manifest(step)["fingerprint"] == fingerprint for step in steps]
    if not any(is_mine):
        return f"move the folder {folder} away to train from the start"
    newest = steps[len(steps) - 1 - is_mine[::-1].index(True)]
    others = [step.name for step, mine in zip(steps, is_mine, strict=True) if not mine]
    return f"move {', '.join(others)} in {folder} away to go on from {newest.name}"


def _what_differs(manifest: Mapping[str, Any], config: Config) -> str:
    """The settings in which the training that wrote a checkpoint is another one than `config`, or what else it may be."""
    try:
        changed = [
            line for line in differences(validate(manifest["config"]), config) if not is_operational(line.partition(":")[0])
        ]
    except (KeyError, ConfigError):
        changed = []
    return (
        f"{'; '.join(changed[:8])}{' ...' if len(changed) > 8 else ''}" or "the same settings on other data or by another version"
    )


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
    """A student's trainable weights and AdamW moments as named tensors (on a CPU the very ones, to be written at once)."""
    tensors = {}
    for name, parameter in student.trainable():
        tensors[f"weight/{name}"] = _kept(parameter)
        moments = optimizer.state.get(parameter, {}) if optimizer else {}
        tensors |= {f"moment/{key}/{name}": _kept(torch.as_tensor(value)) for key, value in moments.items()}
    return tensors


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach() if is_piece(tensor) else tensor.detach().cpu()


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
    return sorted(path for path in folder.iterdir() if path.name.startswith("step-") and (path / _MANIFEST).is_file())


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
