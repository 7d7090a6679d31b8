"""One writer a folder: an flock that dies with its process, whatever children it leaves behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qrdistill.errors import RunInUseError, StorageError

_held: set[int] = set()


def _let_go_in_child() -> None:
    """A forked worker shares the lock until it closes it; one that outlives a killed parent would keep the folder locked."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; never waits.

    Raises:
        RunInUseError: another process holds it (its pid is named).
        StorageError: the folder cannot be made, or its file system cannot lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}; choose another folder with -o") from error
    try:
        _acquire(descriptor, folder)
        _held.add(descriptor)
        yield
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def _acquire(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode("ascii"), 0)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise RunInUseError(f"{folder} is in use by process {owner}; wait for it or choose another folder with -o") from error
    except OSError as error:
        os.close(descriptor)
        raise StorageError(f"cannot lock {folder}: {error.strerror}; free space or choose a folder on a local disk") from error
