"""How close the client comes to an ideal one, how much memory it takes as the grid grows, how fast the store takes rows.

    python benchmarks/generate.py [--calls 6400] [--from-keys 100000] [--to-keys 1000000] [--rows 200000] [--out FILE]

efficiency: answered calls a second against a 200 ms server on loopback (a process of its own) at concurrency 64, every call
booked durably in a ledger, divided by the ideal 64 / 0.2 s. The first call goes alone by design and is part of the time.
rss_growth_mb: growth of this process's memory between `--from-keys` and `--to-keys` answered keys (transport in memory, ledger
on disk). store_rows_per_s: paths of about 600 bytes, written in batches of 5,000, each batch durable.
The last line is JSON: efficiency, rss_growth_mb, store_rows_per_s. The bars: 0.95, 50 MB, 20,000 rows/s.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from harness.client import cell, limits, teacher
from qrdistill.store import Ledger
from qrdistill.teacher.client import LedgerDesk, Meter
from qrdistill.types import PathRequest, Question, ReasoningPath

TESTS = Path(__file__).resolve().parents[1] / "tests"
LATENCY_S = 0.2
CONCURRENCY = 64
NO_KEY = {"api_key_env": "NONE"}


class Body(httpx2.AsyncByteStream):
    """A reply's bytes, whole."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


class InstantTransport(httpx2.AsyncBaseTransport):
    """Answers at once, from memory."""

    def __init__(self) -> None:
        message = {"role": "assistant", "content": "word " * 100 + "The answer is 4."}
        body = {"model": "toy", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        self._body = json.dumps(body | {"usage": {"prompt_tokens": 20, "completion_tokens": 110}}).encode()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The same reply to everything."""
        return httpx2.Response(200, stream=Body(self._body), headers={"content-type": "application/json"})


def cells(num_keys: int) -> Iterator[tuple[PathRequest, Question]]:
    for number in range(num_keys):
        yield cell(number)


async def measure_efficiency(folder: Path, url: str, num_calls: int) -> float:
    ledger = Ledger(folder / "ledger.sqlite")
    roomy = limits(max_concurrency=CONCURRENCY, deadline_s=30)
    one = teacher(url, LedgerDesk(ledger, Meter()), limits=roomy, **NO_KEY)
    started_s, count = time.perf_counter(), 0
    async for reply in one.answer(cells(num_calls)):
        count += reply.path is not None
    took_s = time.perf_counter() - started_s
    ledger.close()
    assert count == num_calls
    return count / took_s / (CONCURRENCY / LATENCY_S)


async def measure_growth(folder: Path, from_keys: int, to_keys: int) -> float:
    ledger = Ledger(folder / "ledger.sqlite")
    one = teacher("http://127.0.0.1:9/v1", LedgerDesk(ledger, Meter()), limits=limits(max_concurrency=CONCURRENCY), **NO_KEY)
    one._transport = InstantTransport()
    before = 0.0
    count = 0
    async for _ in one.answer(cells(to_keys)):
        count += 1
        if count == from_keys:
            before = rss_mb()
        if count % 100_000 == 0:
            print(f"{count:>9,} keys: {rss_mb():.0f} MB", flush=True)
    after = rss_mb()
    ledger.close()
    return after - before


def measure_store(folder: Path, num_rows: int) -> float:
    ledger = Ledger(folder / "ledger.sqlite")
    text = "So 3 boxes with 4 apples each are 12 apples. " * 12
    paths = [
        ReasoningPath(id=f"{n:016x}", question_id=f"q{n // 6}", teacher="toy", style="cot", sample=0, text=text)
        for n in range(num_rows)
    ]
    started_s = time.perf_counter()
    for start in range(0, num_rows, 5_000):
        ledger.add(paths[start : start + 5_000])
    took_s = time.perf_counter() - started_s
    ledger.close()
    return num_rows / took_s


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=6_400)
    parser.add_argument("--from-keys", type=int, default=100_000)
    parser.add_argument("--to-keys", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--out", default="", help="also write the figures, with machine and versions, to this JSON file")
    given = parser.parse_args()
    found: dict[str, float] = {}
    command = [sys.executable, "-m", "harness.fault_server", "--latency", str(LATENCY_S)]
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / name for name in ("efficiency", "growth", "store")]
        for folder in folders:
            folder.mkdir()
        with subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            assert server.stdin
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
            found["efficiency"] = round(asyncio.run(measure_efficiency(folders[0], url, given.calls)), 4)
            server.stdin.close()
        print(f"efficiency {found['efficiency']:.3f} at concurrency {CONCURRENCY}, {LATENCY_S * 1000:.0f} ms", flush=True)
        found["rss_growth_mb"] = round(asyncio.run(measure_growth(folders[1], given.from_keys, given.to_keys)), 1)
        found["store_rows_per_s"] = round(measure_store(folders[2], given.rows))
    if given.out:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        packages = {name: importlib.metadata.version(name) for name in ("httpx2", "aiolimiter", "pydantic")}
        settings = {key: value for key, value in vars(given).items() if key != "out"}
        kept = {**found, "settings": settings, "machine": machine, "versions": packages, "seed": 0}
        Path(given.out).write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
