"""The desk every call passes twice: on the way out (intent saved, money reserved) and on the way back (outcome saved, settled).

`LedgerDesk` writes both to the run's ledger. Its promise: when `out` returns, the intent survives a power cut, so after a
crash every call the server may have seen has a row whose outcome is "sent". Writes of calls that come together share one
transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from qrdistill.errors import QRDistillError
from qrdistill.store import Ledger
from qrdistill.teacher.client.classify import MAYBE_BILLED
from qrdistill.teacher.client.limits import afresh
from qrdistill.teacher.client.money import Meter
from qrdistill.types import Attempt, Record

_GROUP_S = 0.002
Row = Record


class Desk(Protocol):
    """Where calls are booked."""

    meter: Meter

    async def out(self, rows: Sequence[Row], most_usd: float) -> None:
        """Book a call before it is sent; returns when the rows are safe.

        Raises:
            PausedError: a cap is reached; the call must not be sent.
            StorageError: the disk refuses; the call must not be sent.
        """

    def back(self, rows: Sequence[Row], most_usd: float) -> None:
        """Book how the call ended; the rows are saved soon, together."""

    async def flush(self) -> None:
        """Return when everything booked is safe.

        Raises:
            StorageError: the disk refuses.
        """


class MemoryDesk:
    """Books in memory: for a pilot, which must not touch a run, and for tests."""

    def __init__(self, meter: Meter | None = None) -> None:
        self.meter = meter or Meter()
        self.rows: dict[str, Row] = {}

    async def out(self, rows: Sequence[Row], most_usd: float) -> None:
        """Book a call."""
        await self.meter.reserve(most_usd)
        self.rows.update((row.id, row) for row in rows if isinstance(row, Attempt))

    def back(self, rows: Sequence[Row], most_usd: float) -> None:
        """Book how it ended."""
        settle(self.meter, rows, most_usd)
        self.rows.update((row.id, row) for row in rows if isinstance(row, Attempt))

    async def flush(self) -> None:
        """Nothing to do."""


class LedgerDesk:
    """Books in a run's ledger.

    Args:
        ledger: open for writing; only ever used from the event loop's thread.
        meter: knows the caps and what earlier processes spent.
    """

    def __init__(self, ledger: Ledger, meter: Meter) -> None:
        self.meter = meter
        self._ledger = ledger
        self._rows: list[Row] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._broken: QRDistillError | None = None

    async def out(self, rows: Sequence[Row], most_usd: float) -> None:
        """Book a call; see `Desk.out`."""
        if self._broken is not None:
            raise afresh(self._broken)
        await self.meter.reserve(most_usd)
        await self._save(rows)

    def back(self, rows: Sequence[Row], most_usd: float) -> None:
        """Book how it ended; see `Desk.back`."""
        settle(self.meter, rows, most_usd)
        self._rows.extend(rows)
        self._schedule()

    async def flush(self) -> None:
        """See `Desk.flush`."""
        await self._save(())

    async def _save(self, rows: Sequence[Row]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rows.extend(rows)
        self._waiting.append(future)
        self._schedule()
        await future

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GROUP_S, self._commit)

    def _commit(self) -> None:
        self._timer = None
        rows, self._rows = self._rows, []
        waiting, self._waiting = self._waiting, []
        try:
            if self._broken is None:
                self._ledger.add(rows)
        except QRDistillError as error:
            self._broken = error
        for future in waiting:
            if future.done():
                continue
            if self._broken is None:
                future.set_result(None)
            else:
                future.set_exception(afresh(self._broken))


def settle(meter: Meter, rows: Sequence[Row], most_usd: float) -> None:
    """Book the attempts among `rows` in the meter."""
    for attempt in rows:
        if isinstance(attempt, Attempt):
            meter.settle(most_usd, attempt.cost_usd, is_maybe=attempt.outcome in MAYBE_BILLED)
