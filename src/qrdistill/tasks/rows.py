"""Reading files that users give us (JSONL, JSON, Parquet): every complaint names the file and row and says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qrdistill.errors import ConfigError, DataError, suggest

BYTE_ORDER_MARK = "\ufeff"


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and fields of every row: lines of a JSONL file, rows of a .parquet file, members of a .json list or mapping.

    Raises:
        DataError: the file cannot be read, or a row is not an object with named fields.
    """
    return _READERS.get(path.suffix.lower(), _read_lines)(path)


def place(path: str | Path, number: int) -> str:
    """How an error names a row.

    >>> place("questions.jsonl", 3), place("train.parquet", 3)
    ('questions.jsonl, line 3', 'train.parquet, row 3')
    """
    word = "row" if Path(path).suffix.lower() in _READERS else "line"
    return f"{path}, {word} {number}"


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                line = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                if line.strip():
                    yield number, _object(path, number, line)
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.strerror and not path.is_file():
            raise _unreadable(path, error) from error
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"{path}: not readable as Parquet after row {number} ({reason}); copy the file again, or save it as JSONL"
        ) from error


def _read_json(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """A list of objects, or a mapping from id to object (the id is then the field "id")."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=str)
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}); mend it, or name it .jsonl if it holds one object a line") from error
    if not isinstance(whole, list | dict):
        raise DataError(f"{path} holds {type(whole).__name__}, expected a list of objects or a mapping from id to object")
    members = list(whole.items()) if isinstance(whole, dict) else [("", row) for row in whole]
    for number, (key, row) in enumerate(members, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{place(path, number)}: found {type(row).__name__}, expected an object with named fields")
        yield number, {"id": key, **row} if key else row


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {".parquet": _read_parquet, ".json": _read_json}
"""Reader by the end of a file's name; every other file is read as JSONL."""


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot read {path}: {error.strerror or error}; give the path of a JSONL or Parquet file")


def _not_text(path: Path, error: UnicodeDecodeError) -> DataError:
    return DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8")


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=str)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise DataError(f"{path}, line {number}: not a JSON object ({reason}): {shown(line.strip())}; mend that line") from error
    if not isinstance(row, dict):
        raise DataError(
            f"{path}, line {number}: found {type(row).__name__}, expected an object with named fields; mend that line"
        )
    return row


def column_names(columns: Mapping[str, str], known: tuple[str, ...], *, where: str) -> dict[str, str]:
    """Our field name -> the file's name for it.

    Raises:
        ConfigError: `columns` maps a field that does not exist.
    """
    for name in columns:
        if name not in known:
            hint = suggest(name, list(known))
            raise ConfigError(f"{where}: columns maps the unknown field {name!r}{hint}; known ones are {', '.join(known)}")
    return {name: columns.get(name, name) for name in known}


def text_of(row: Mapping[str, Any], column: str, *, where: str) -> str:
    """A required text field (numbers are accepted and written out).

    Raises:
        DataError: it is missing, empty or not text.
    """
    value = row.get(column)
    if column not in row:
        present = ", ".join(sorted(row)) or "none"
        raise DataError(f"{where}: the field {column!r} is missing (fields: {present}); add it or map it with `columns`")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: the field {column!r} is {shown(value)}, expected text or a number; mend that row")
    if not str(value).strip():
        raise DataError(f"{where}: the field {column!r} is empty, expected text; mend that row or leave it out")
    return str(value).strip()


def shown(value: Any) -> str:
    """A value for an error message, cut to a readable length."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
