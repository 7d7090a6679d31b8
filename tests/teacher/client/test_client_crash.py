"""A7, A8, A15, B1: a killed run loses nothing, pays nothing twice, and its bill is the server's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.client import KEY, VARIABLE
from harness.clock import took_s
from harness.fault_server import MIXED, FaultServer
from harness.full_disk import run_on_full_disk
from harness.killer import kill, python_path, run_killed, start
from qrdistill.store import Ledger
from qrdistill.teacher.client import spent_before
from qrdistill.types import Attempt, ReasoningPath

KEYS = {VARIABLE: KEY}


def check_books(folder: Path, server: FaultServer, num_cells: int) -> None:
    """The run's ledger against the server's."""
    ledger = Ledger(folder / "ledger.sqlite", is_read_only=True)
    paths = ledger.all(ReasoningPath)
    assert len(paths) == num_cells == len({(path.question_id, path.style, path.sample) for path in paths})
    attempts = {attempt.id: attempt for attempt in ledger.all(Attempt)}
    assert {call.request_id for call in server.accepted} <= attempts.keys(), "a call the ledger does not know of"
    maybe = {id_ for id_, attempt in attempts.items() if attempt.outcome in {"sent", "lost"}}
    paid = Counter(call.key for call in server.billed() if call.request_id not in maybe)
    assert set(paid.values()) == {1}, "paid twice without being listed as maybe billed"
    spent = spent_before(ledger)
    known_usd = sum(_usd(call) for call in server.billed() if call.request_id not in maybe)
    all_usd = sum(_usd(call) for call in server.billed())
    assert spent.billed_usd == pytest.approx(known_usd, rel=1e-9)
    assert known_usd <= all_usd <= spent.billed_usd + spent.maybe_usd + 1e-9
    ledger.verify()
    ledger.close()


def _usd(call: object) -> float:
    return call.prompt_tokens * 1e-3 + call.completion_tokens * 2e-3  # type: ignore[attr-defined]


def killed(folder: Path, num_cells: int, kills: int, seed: int) -> int:
    with FaultServer(seed=seed, faults=MIXED, latency_s=0.02) as server:
        hits, out = run_killed(
            ["-m", "harness.drive", str(folder), server.url, str(num_cells)],
            kills=kills,
            dice=random.Random(seed),
            delay_s=(0.35, 0.9),
            environment=KEYS,
        )
        assert "done" in out
        check_books(folder, server, num_cells)
        return hits


def test_a_killed_run_loses_nothing_and_pays_nothing_twice(tmp_path: Path) -> None:
    assert killed(tmp_path, num_cells=400, kills=4, seed=4) >= 2


@pytest.mark.nightly
def test_a_run_killed_200_times_loses_nothing(tmp_path: Path) -> None:
    assert killed(tmp_path, num_cells=12_000, kills=200, seed=5) >= 150


def test_a_cap_stops_the_run_within_its_limit_and_a_higher_one_resumes(tmp_path: Path) -> None:
    with FaultServer(latency_s=0.005) as server:
        command = ["-m", "harness.drive", str(tmp_path), server.url, "200"]
        process = start([*command, "--cap", "3"], environment=KEYS)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 75
        assert "budget.generate_usd" in err
        dearest_usd = 8 * (60 * 1e-3 + 64 * 2e-3)
        assert 3 - dearest_usd <= sum(_usd(call) for call in server.billed()) <= 3
        process = start([*command, "--cap", "100"], environment=KEYS)
        process.communicate(timeout=60)
        assert process.returncode == 0
        check_books(tmp_path, server, 200)


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_an_interrupt_lets_calls_in_flight_end(tmp_path: Path, number: int) -> None:
    with FaultServer(latency_s=0.3) as server:
        command = ["-m", "harness.drive", str(tmp_path), server.url, "120"]
        process = start(command, environment=KEYS)
        while len(server.accepted) < 12 and process.poll() is None:
            time.sleep(0.02)
        kill(process, number)
        started = time.monotonic()
        process.communicate(timeout=30)
        assert process.returncode == 130
        assert took_s(started) < 2 + 2
        ledger = Ledger(tmp_path / "ledger.sqlite", is_read_only=True)
        assert ledger.count(ReasoningPath) == len(server.accepted)
        assert spent_before(ledger).num_maybe == 0
        ledger.close()
        server.latency_s = 0.0
        process = start(command, environment=KEYS)
        process.communicate(timeout=60)
        assert process.returncode == 0
        check_books(tmp_path, server, 120)
        assert len(server.accepted) == 120


def test_two_processes_on_one_run(tmp_path: Path) -> None:
    with FaultServer(latency_s=0.3) as server:
        command = ["-m", "harness.drive", str(tmp_path), server.url, "1000"]  # 37 s of calls, more than the other needs
        first = start(command, environment=KEYS)
        while not server.accepted and first.poll() is None:
            time.sleep(0.02)
        second = start(command, environment=KEYS)
        _, err = second.communicate(timeout=60)
        assert second.returncode == 73
        assert str(first.pid) in err
        server.latency_s = 0.0
        first.communicate(timeout=60)
        assert first.returncode == 0
        check_books(tmp_path, server, 1000)


def test_a_key_is_in_no_produced_byte(tmp_path: Path) -> None:
    faults = {"echo_key": 0.5, "auth_echo": 0.1, "rate": 0.1}
    with FaultServer(seed=6, faults=faults) as server:
        process = start(["-X", "dev", "-m", "harness.drive", str(tmp_path), server.url, "40"], environment=KEYS)
        out, err = process.communicate(timeout=60)
        assert process.returncode in {0, 77}
        assert any(KEY in call.authorization for call in server.accepted)
    produced = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()) + out.encode() + err.encode()
    assert KEY.encode() not in produced
    assert KEY[3:].encode() not in produced


@pytest.mark.parametrize("max_file_bytes", [150_000, 260_000])
def test_a_full_disk_stops_the_sending_and_loses_nothing(tmp_path: Path, max_file_bytes: int) -> None:
    environment = {**os.environ, **KEYS, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
    with FaultServer(latency_s=0.01) as server:
        arguments = ["harness.drive", str(tmp_path), server.url, "400"]
        ended = run_on_full_disk(arguments, max_file_bytes=max_file_bytes, environment=environment)
        assert ended.returncode == 74, ended.stdout + ended.stderr
        sent = len(server.accepted)
        assert sent < 400
        ledger = Ledger(tmp_path / "ledger.sqlite", is_read_only=True)
        known = {attempt.id for attempt in ledger.all(Attempt)}
        assert {call.request_id for call in server.accepted} <= known
        assert sent - ledger.count(ReasoningPath) <= 8 + 2
        ledger.close()
        ended = subprocess.run([sys.executable, "-m", *arguments], env=environment, capture_output=True, timeout=120, check=False)
        assert ended.returncode == 0
        check_books(tmp_path, server, 400)
