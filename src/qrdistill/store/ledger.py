"""The ledger: one SQLite file per run that holds every record, written durably, read by anyone.

One table a record type, one column a field, so `sqlite3 ledger.sqlite` answers questions without this package. Each call of
`add` is one transaction with synchronous=FULL: when it returns, the rows survive a power cut. One process writes (the run's
flock sees to that); any number may read. Each row carries a checksum of its cells (SQLite has none), compared on every read.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from qrdistill.errors import CorruptRunError, StorageError
from qrdistill.store.files import sync_folder
from qrdistill.store.rows import COLUMNS, INDEXES, TABLES, R, checksum, decode_row, encode_rows, insert_sql
from qrdistill.types import Record

SCHEMA_VERSION = 2
BATCH_ROWS = 5_000


class Ledger:
    """Typed access to the records of one run.

    Args:
        path: the SQLite file; created when missing.
        is_read_only: open without the right to write (readers never need the run's lock).
    """

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()  # one transaction at a time, whichever thread it comes from
        try:
            if is_read_only:
                self._db = _connect_to_read(path)
            else:
                if not path.exists():
                    _create(path)
                self._db = sqlite3.connect(path, check_same_thread=False, timeout=30)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise _translate(error, path) from error
        if version > SCHEMA_VERSION:
            raise CorruptRunError(
                f"{path} was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION}); upgrade qrdistill"
            )
        if version < SCHEMA_VERSION:
            raise CorruptRunError(
                f"{path} has schema {version}, this version reads {SCHEMA_VERSION}; it is too old or damaged, "
                "start a new run folder with -o"
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside commits as one unit, or not at all; may be nested, other threads wait."""
        with self._lock:
            try:
                if self._db.in_transaction:
                    yield
                    return
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._db.commit()
                except BaseException:
                    self._db.rollback()
                    raise
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
                    rows = encode_rows(record_type, (record for record in batch if type(record) is record_type))
                    self._db.executemany(insert_sql(record_type), rows)
                written += len(batch)
        return written

    def all(self, record_type: type[R], where: str = "", parameters: Sequence[Any] = (), *, order: str = "") -> list[R]:
        """Records of a type, in key order unless `order` (a column list) says otherwise; `where` is SQL with ? placeholders."""
        return list(self.iterate(record_type, where, parameters, order=order))

    def iterate(self, record_type: type[R], where: str = "", parameters: Sequence[Any] = (), *, order: str = "") -> Iterator[R]:
        """Like `all`, one record at a time."""
        table, key = TABLES[record_type]
        names = [name for name, _ in COLUMNS[record_type]]
        condition = f" WHERE {where}" if where else ""
        sql = f"SELECT {', '.join(names)}, checksum FROM {table}{condition} ORDER BY {order or ', '.join(key)}"
        try:
            for *row, recorded in self._db.execute(sql, tuple(parameters)):
                if checksum(row) != recorded:
                    shown = dict(zip(names, row, strict=True))
                    raise _damaged(self.path, f"a row of {table} does not match its checksum: {shown!r:.120}")
                yield decode_row(record_type, row)
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
        text = json.dumps(value, sort_keys=True)
        with self.transaction():
            self.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (key, text, checksum([key, text])))

    def noted(self, key: str, default: Any = None) -> Any:
        """The value noted under a key."""
        rows = self.execute("SELECT value, checksum FROM notes WHERE key = ?", (key,))
        if not rows:
            return default
        if checksum([key, rows[0][0]]) != rows[0][1]:
            raise _damaged(self.path, f"the note {key} does not match its checksum")
        return json.loads(rows[0][0])

    def forget(self, key: str) -> None:
        """Remove a note."""
        with self.transaction():
            self.execute("DELETE FROM notes WHERE key = ?", (key,))

    def verify(self) -> None:
        """Check the file's structure and every row's checksum.

        Raises:
            CorruptRunError: one of them does not hold.
        """
        result = self.execute("PRAGMA integrity_check")
        if result != [("ok",)]:
            raise _damaged(self.path, str(result[0][0]).splitlines()[0])
        for record_type in TABLES:
            for _ in self.iterate(record_type):
                pass
        for (key,) in self.execute("SELECT key FROM notes"):
            self.noted(key)

    def close(self) -> None:
        """Close the connection (and fold the write-ahead log back into the file)."""
        self._db.close()


def _create(path: Path) -> None:
    """Make an empty ledger beside its place and move it there, so that a ledger is never seen without its tables."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        database = sqlite3.connect(temporary)
        with database:
            for record_type, (table, key) in TABLES.items():
                fields = ", ".join([*(f"{name} {kind}" for name, kind in COLUMNS[record_type]), "checksum INTEGER"])
                database.execute(f"CREATE TABLE {table} ({fields}, PRIMARY KEY ({', '.join(key)})) WITHOUT ROWID")
            for table, column in INDEXES.items():
                database.execute(f"CREATE INDEX {table}_{column} ON {table} ({column})")
            database.execute("CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT, checksum INTEGER) WITHOUT ROWID")
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.close()
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot make {path}: {error.strerror}; free disk space, then run the same command again") from error


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open for reading; a finished run may lie where nothing can be written, not even SQLite's shared-memory file."""
    uri = path.resolve().as_uri()
    is_at_rest = not path.with_name(path.name + "-wal").exists() and not os.access(path.parent, os.W_OK)
    return sqlite3.connect(f"{uri}?mode=ro{'&immutable=1' if is_at_rest else ''}", uri=True, check_same_thread=False, timeout=30)


def _damaged(path: Path, what: str) -> CorruptRunError:
    return CorruptRunError(f"{path} is damaged ({what}); restore it from a backup or start a new run folder")


def _translate(error: sqlite3.Error, path: Path) -> StorageError | CorruptRunError | sqlite3.Error:
    message = str(error)
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return error  # a bug of ours, not of the disk
    # SQLITE_CORRUPT and SQLITE_NOTADB come as plain DatabaseErrors, the disk's troubles as OperationalErrors.
    if type(error) is sqlite3.DatabaseError or "Could not decode" in message:
        return _damaged(path, message)
    return StorageError(f"cannot use {path}: {message}; free disk space or mend the permissions, then run the same command again")
