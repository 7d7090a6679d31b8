"""How a record becomes a row and comes back: one table a record type, one column a field, one checksum a row."""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, get_type_hints

from qrdistill.types import (
    AnswerVerdict,
    Attempt,
    FilterDecision,
    JudgeVerdict,
    PathRequest,
    PlantedFlaw,
    Prediction,
    Question,
    ReasoningPath,
    Record,
    Route,
    Score,
)

TABLES: dict[type[Any], tuple[str, tuple[str, ...]]] = {
    Question: ("questions", ("id",)),
    PathRequest: ("requests", ("id",)),
    Attempt: ("attempts", ("id",)),
    ReasoningPath: ("paths", ("id",)),
    PlantedFlaw: ("planted", ("path_id",)),
    AnswerVerdict: ("verdicts", ("path_id",)),
    JudgeVerdict: ("judgements", ("path_id", "judge")),
    FilterDecision: ("decisions", ("path_id",)),
    Route: ("routes", ("step", "path_id", "student")),
    Prediction: ("predictions", ("id",)),
    Score: ("scores", ("arm", "student", "task")),
}
"""Record type -> (table, primary key)."""

INDEXES = {"paths": "question_id", "decisions": "question_id", "routes": "path_id", "predictions": "question_id"}

R = TypeVar("R", bound=Record)
_COLUMN_TYPES = {int: "INTEGER", float: "REAL", bool: "INTEGER"}
_JSON_FIELDS = {"choices", "metadata"}


def _columns(record_type: type[Any]) -> list[tuple[str, str]]:
    hints = get_type_hints(record_type)
    return [(field.name, _COLUMN_TYPES.get(hints[field.name], "TEXT")) for field in dataclasses.fields(record_type)]


def _decode_text(cell: str | bytes) -> str:
    return cell.decode("utf-8", "surrogatepass") if isinstance(cell, bytes) else cell


def _decode_choices(cell: str) -> tuple[tuple[str, str], ...]:
    return tuple((label, text) for label, text in json.loads(cell))


def _decode_real(cell: float | None) -> float:
    return math.nan if cell is None else cell


def _decoder(record_type: type[Any], name: str) -> Callable[[Any], Any]:
    by_name: dict[str, Callable[[Any], Any]] = {"choices": _decode_choices, "metadata": json.loads}
    by_type: dict[Any, Callable[[Any], Any]] = {bool: bool, int: int, float: _decode_real}
    return by_name.get(name) or by_type.get(get_type_hints(record_type)[name], _decode_text)


COLUMNS = {record_type: _columns(record_type) for record_type in TABLES}
"""Record type -> (column, SQLite type) of every field."""
_DECODERS = {record_type: [_decoder(record_type, name) for name, _ in COLUMNS[record_type]] for record_type in TABLES}


def insert_sql(record_type: type[Any]) -> str:
    """The statement that writes one row of `encode_rows`."""
    names = [*(name for name, _ in COLUMNS[record_type]), "checksum"]
    return f"INSERT OR REPLACE INTO {TABLES[record_type][0]} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def encode_rows(record_type: type[Any], records: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Records of one type as rows, checksum last."""
    for record in records:
        cells = [_encode(name, kind, getattr(record, name)) for name, kind in COLUMNS[record_type]]
        yield (*cells, checksum(cells))


def decode_row(record_type: type[R], row: Sequence[Any]) -> R:
    """The record a row (without its checksum) was made from."""
    values = [decode(cell) for decode, cell in zip(_DECODERS[record_type], row, strict=True)]
    return record_type(**{name: value for (name, _), value in zip(COLUMNS[record_type], values, strict=True)})


def checksum(cells: Sequence[Any]) -> int:
    """CRC-32 of the cells as SQLite gives them back."""
    return zlib.crc32("\x1f".join(map(repr, cells)).encode("ascii", "backslashreplace"))


def _encode(name: str, kind: str, value: Any) -> Any:
    if kind == "INTEGER":
        return int(value)
    if kind == "REAL":  # SQLite gives -0.0 back as 0.0 and has no NaN
        return None if math.isnan(value) else float(value) + 0.0
    if name in _JSON_FIELDS:
        return json.dumps(value, ensure_ascii=True, sort_keys=True)
    assert isinstance(value, str), f"{name} must be text, found {type(value).__name__}"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # a model may emit lone surrogates, which SQLite cannot store as text: kept as bytes
        return value.encode("utf-8", "surrogatepass")
    return value
