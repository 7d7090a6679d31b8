"""Files that are either whole or absent: written beside their place, synced, then renamed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qrdistill.errors import StorageError


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically and durably.

    Raises:
        StorageError: the disk refuses; the old file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise StorageError(f"cannot write {path}: {reason}; free disk space, then run the same command again") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; lone surrogates are written as escapes of their code point."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def export_records(folder: Path, name: str, records: Sequence[Any]) -> None:
    """Write records as `name.jsonl` (one record, one line, ASCII-escaped) and `name.parquet`."""
    rows = [_plain(record) for record in records]
    lines = "".join(json.dumps(row, ensure_ascii=True, sort_keys=True) + "\n" for row in rows)
    write_bytes(folder / f"{name}.jsonl", lines.encode("ascii"))
    columns: dict[str, list[Any]] = {key: [_cell(row[key]) for row in rows] for key in (rows[0] if rows else {})}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    write_bytes(folder / f"{name}.parquet", sink.getvalue().to_pybytes())


def _plain(record: Any) -> dict[str, Any]:
    row: dict[str, Any] = dataclasses.asdict(record)
    return {key: None if isinstance(value, float) and value != value else value for key, value in row.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, sort_keys=True)
    return value
