"""Reading JSONL files that users give us: every complaint names the file, the line, what was found and what was expected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qrdistill.errors import ConfigError, DataError, suggest

BYTE_ORDER_MARK = "\ufeff"


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not blank.

    Raises:
        DataError: the file cannot be read, or a line is not a JSON object.
    """
    try:
        with path.open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                line = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                if line.strip():
                    yield number, _object(path, number, line)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give the path of a JSONL file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


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
        raise DataError(f"{where}: the field {column!r} is {shown(value)}, expected text or a number")
    if not str(value).strip():
        raise DataError(f"{where}: the field {column!r} is empty, expected text")
    return str(value).strip()


def shown(value: Any) -> str:
    """A value for an error message, cut to a readable length."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
