"""The ledger: one SQLite file per run that holds every record, written durably, read by anyone.

One table a record type, one column a field, so `sqlite3 ledger.sqlite` answers questions without this package. Each call of
`add` is one transaction with synchronous=FULL: when it returns, the rows survive a power cut. One process writes (the run's
flock sees to that); any number may read.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from qrdistill.errors import CorruptRunError, StorageError
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

SCHEMA_VERSION = 1
BATCH_ROWS = 5_000

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

R = TypeVar("R", bound=Record)
_COLUMN_TYPES = {int: "INTEGER", float: "REAL", bool: "INTEGER"}
_JSON_FIELDS = {"choices", "metadata"}
_INDEXES = {"paths": "question_id", "decisions": "question_id", "routes": "path_id", "predictions": "question_id"}


class Ledger:
    """Typed access to the records of one run.

    Args:
        path: the SQLite file; created when missing.
        is_read_only: open without the right to write (readers never need the run's lock).
    """

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self.path = path
        try:
            if is_read_only:
                self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=30)
            else:
                self._db = sqlite3.connect(path, check_same_thread=False, timeout=30)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
            self._prepare(is_read_only)
        except sqlite3.Error as error:
            raise _translate(error, path) from error

    def _prepare(self, is_read_only: bool) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise CorruptRunError(
                f"{self.path} was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION}); "
                "upgrade qrdistill"
            )
        if is_read_only or version == SCHEMA_VERSION:
            return
        with self._db:
            for record_type, (table, key) in TABLES.items():
                columns = ", ".join(f"{name} {kind}" for name, kind in _columns(record_type))
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY ({', '.join(key)})) WITHOUT ROWID")
            for table, column in _INDEXES.items():
                self._db.execute(f"CREATE INDEX IF NOT EXISTS {table}_{column} ON {table} ({column})")
            self._db.execute("CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside commits as one unit, or not at all."""
        try:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()
        except sqlite3.Error as error:
            raise _translate(error, self.path) from error

    def add(self, records: Iterable[Record]) -> int:
        """Insert records, replacing those with the same key; durable when this returns.

        Returns:
            The number of records written.
        """
        written = 0
        iterator = iter(records)
        with self.transaction():
            while batch := list(islice(iterator, BATCH_ROWS)):
                for record_type in dict.fromkeys(type(record) for record in batch):
                    rows = [_row(record) for record in batch if type(record) is record_type]
                    self._db.executemany(_insert_sql(record_type), rows)
                written += len(batch)
        return written

    def all(self, record_type: type[R], where: str = "", parameters: Sequence[Any] = (), *, order: str = "") -> list[R]:
        """Records of a type, in key order unless `order` (a column list) says otherwise; `where` is SQL with ? placeholders."""
        return list(self.iterate(record_type, where, parameters, order=order))

    def iterate(self, record_type: type[R], where: str = "", parameters: Sequence[Any] = (), *, order: str = "") -> Iterator[R]:
        """Like `all`, one record at a time."""
        table, key = TABLES[record_type]
        names = [name for name, _ in _columns(record_type)]
        condition = f" WHERE {where}" if where else ""
        sql = f"SELECT {', '.join(names)} FROM {table}{condition} ORDER BY {order or ', '.join(key)}"
        build = _builder(record_type)
        try:
            for row in self._db.execute(sql, tuple(parameters)):
                yield build(row)
        except sqlite3.Error as error:
            raise _translate(error, self.path) from error

    def count(self, record_type: type[Record], where: str = "", parameters: Sequence[Any] = ()) -> int:
        """Number of records of a type."""
        table, _ = TABLES[record_type]
        condition = f" WHERE {where}" if where else ""
        (number,) = self.execute(f"SELECT count(*) FROM {table}{condition}", parameters)[0]
        return int(number)

    def delete(self, record_type: type[Record], where: str = "", parameters: Sequence[Any] = ()) -> None:
        """Remove records of a type."""
        table, _ = TABLES[record_type]
        with self.transaction():
            self.execute(f"DELETE FROM {table}{' WHERE ' + where if where else ''}", parameters)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one SQL statement (for summaries) and return its rows."""
        try:
            return self._db.execute(sql, tuple(parameters)).fetchall()
        except sqlite3.Error as error:
            raise _translate(error, self.path) from error

    def note(self, key: str, value: Any) -> None:
        """Remember a small JSON value under a key (stage states, counts)."""
        with self.transaction():
            self.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, json.dumps(value, sort_keys=True)))

    def noted(self, key: str, default: Any = None) -> Any:
        """The value noted under a key."""
        rows = self.execute("SELECT value FROM notes WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else default

    def forget(self, key: str) -> None:
        """Remove a note."""
        with self.transaction():
            self.execute("DELETE FROM notes WHERE key = ?", (key,))

    def verify(self) -> None:
        """Check the file's integrity.

        Raises:
            CorruptRunError: SQLite finds damage.
        """
        result = self.execute("PRAGMA integrity_check")
        if result != [("ok",)]:
            raise CorruptRunError(f"{self.path} is damaged ({result[0][0]}); restore it from a backup or start a new run folder")

    def close(self) -> None:
        """Close the connection (and fold the write-ahead log back into the file)."""
        self._db.close()


def _columns(record_type: type[Any]) -> list[tuple[str, str]]:
    hints = get_type_hints(record_type)
    return [(field.name, _COLUMN_TYPES.get(hints[field.name], "TEXT")) for field in dataclasses.fields(record_type)]


def _insert_sql(record_type: type[Any]) -> str:
    table, _ = TABLES[record_type]
    names = [name for name, _ in _columns(record_type)]
    return f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _row(record: Any) -> tuple[Any, ...]:
    return tuple(_encode(name, getattr(record, name)) for name in record.__dataclass_fields__)


def _encode(name: str, value: Any) -> Any:
    if name in _JSON_FIELDS:
        return json.dumps(value, ensure_ascii=True, sort_keys=True)
    if isinstance(value, str) and not value.isascii():
        # A model may emit lone surrogates, which SQLite cannot store as text; they are kept as bytes.
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _builder(record_type: type[R]) -> Callable[[Sequence[Any]], R]:
    names = [name for name, _ in _columns(record_type)]
    hints = get_type_hints(record_type)
    decoders: list[Callable[[Any], Any]] = []
    for name in names:
        if name == "choices":
            decoders.append(lambda text: tuple((label, choice) for label, choice in json.loads(text)))
        elif name == "metadata":
            decoders.append(json.loads)
        elif hints[name] is bool:
            decoders.append(bool)
        elif hints[name] is float:
            decoders.append(lambda number: math.nan if number is None else float(number))
        elif hints[name] is int:
            decoders.append(int)
        else:
            decoders.append(lambda text: text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text)

    def build(row: Sequence[Any]) -> R:
        return record_type(**{name: decode(cell) for name, decode, cell in zip(names, decoders, row, strict=True)})

    return build


def _translate(error: sqlite3.Error, path: Path) -> StorageError | CorruptRunError:
    message = str(error)
    if isinstance(error, sqlite3.DatabaseError) and ("malformed" in message or "not a database" in message):
        return CorruptRunError(f"{path} is damaged ({message}); restore it from a backup or start a new run folder")
    return StorageError(f"cannot use {path}: {message}; free disk space or mend the permissions, then run the same command again")
