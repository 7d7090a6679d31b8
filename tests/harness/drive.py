"""Runs a teacher over a grid into a ledger, skipping what is there: the least a stage does, to be killed at will.

`python -m harness.drive FOLDER URL NUM_CELLS [--cap USD] [--seed-style ...]`; prints "done" at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from harness.client import grid, limits, teacher
from qrdistill.errors import QRDistillError
from qrdistill.store import Ledger
from qrdistill.store.lock import locked
from qrdistill.teacher.client import Cap, LedgerDesk, Meter, spent_before
from qrdistill.types import PathRequest, ReasoningPath


async def drive(folder: Path, url: str, num_cells: int, cap_usd: float, concurrency: int) -> None:
    ledger = Ledger(folder / "ledger.sqlite")
    before = spent_before(ledger)
    meter = Meter(caps=[Cap("budget.generate_usd", cap_usd, spent_usd=before.most_usd)])
    done = {row[0] for row in ledger.execute("SELECT id FROM paths")}
    work = [item for item in grid(num_cells) if item[0].id not in done]
    ledger.add(request for request, _ in work if not ledger.count(PathRequest, "id = ?", (request.id,)))
    one = teacher(url, LedgerDesk(ledger, meter), limits=limits(max_concurrency=concurrency))
    try:
        for _ in range(3):  # a hole is refilled by the next pass
            holes = set()
            async for reply in one.answer(work):
                assert reply.path is None or isinstance(reply.path, ReasoningPath)
                holes |= set() if reply.path else {reply.request.id}
            work = [item for item in work if item[0].id in holes]
    finally:
        ledger.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("url")
    parser.add_argument("num_cells", type=int)
    parser.add_argument("--cap", type=float, default=0.0)
    parser.add_argument("--concurrency", type=int, default=8)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits it as ignored
    try:
        with locked(options.folder):
            asyncio.run(drive(options.folder, options.url, options.num_cells, options.cap, options.concurrency))
    except QRDistillError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    print("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
