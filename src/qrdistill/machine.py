"""What this machine has left: memory within a container's limit, and disk."""

from __future__ import annotations

import resource
import shutil
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def free_memory_bytes() -> int | None:
    """Memory that can be had now: what the kernel could free, within the container's limit; None where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    with suppress(OSError, ValueError):  # no container, or no limit ("max")
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, limit - used + _cached_files())
    return free


def _cached_files() -> int:
    """Bytes of files in the container's page cache, which give way to programs."""
    fields = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    return int(fields["active_file"]) + int(fields["inactive_file"])


def held_memory_bytes() -> int:
    """Memory of this process that is not part of a file (`free_memory_bytes` counts those as free); 0 where nobody says."""
    with suppress(OSError, ValueError, IndexError):
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
        return (int(resident) - int(shared)) * resource.getpagesize()
    return 0


def peak_memory_bytes() -> int:
    """Most memory this process has had resident; rusage may tell that of the process that started it, if that was larger."""
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def free_disk_bytes(folder: Path) -> int:
    """Free space where a folder is, or would be."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """The folder itself or the nearest one above it that is there."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
