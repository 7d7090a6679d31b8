"""A1-A12: whatever the server does, nothing is lost, nothing is counted twice, nothing crashes."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.client import KEY, VARIABLE, cell, grid, limits, run, teacher
from harness.clock import slowdown, took_s
from harness.fault_server import MIXED, FaultServer
from harness.killer import python_path
from qrdistill.errors import AuthError, PausedError, ProviderError
from qrdistill.teacher.client import MemoryDesk
from qrdistill.types import Attempt


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def mixed_faults(num_keys: int, seed: int) -> None:
    desk = MemoryDesk()
    with FaultServer(seed=seed, faults=MIXED, latency_s=0.005) as server:
        work, done = grid(num_keys), {}
        for _ in range(3):  # a hole is refilled by the next pass
            replies, error = run(teacher(server.url, desk, limits=limits(max_concurrency=16, deadline_s=1.0)), work)
            assert error is None
            assert len({reply.request.id for reply in replies}) == len(replies) == len(work)
            done.update({reply.request.id: reply.path for reply in replies if reply.path})
            work = [item for item in work if item[0].id not in done]
            if not work:
                break
        assert not work
        assert all(path.state == "done" for path in done.values())
        assert server.peak <= 16
        attempts = [row for row in desk.rows.values() if isinstance(row, Attempt)]
        assert {call.request_id for call in server.accepted} == {attempt.id for attempt in attempts}
        assert len(attempts) <= 1.6 * num_keys
        answered = Counter(call.key for call in server.accepted if call.fault == "ok")
        assert set(answered.values()) == {1}
        known = sum(attempt.cost_usd for attempt in attempts if attempt.outcome == "ok")
        billed = sum(call.prompt_tokens * 1e-3 + call.completion_tokens * 2e-3 for call in server.accepted if call.fault == "ok")
        assert known == pytest.approx(billed, rel=1e-9)
        lost = {attempt.id for attempt in attempts if attempt.outcome == "lost"}
        assert {call.request_id for call in server.billed() if call.fault != "ok"} <= lost


@pytest.mark.parametrize("num_keys", [500, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_mixed_faults_lose_nothing(num_keys: int) -> None:
    """The peak is that of a process of its own: a test worker that has loaded torch before is larger than the bar."""
    # VmHWM, not ru_maxrss: the latter begins with the peak of the parent.
    code = (
        f"import test_client_faults; test_client_faults.mixed_faults({num_keys}, seed=1); "
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    here = Path(__file__).parent
    environment = {**os.environ, VARIABLE: KEY, "PYTHONPATH": f"{here}{os.pathsep}{python_path()}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 300 * 1024


@pytest.mark.parametrize(
    ("fault", "error_type", "exit_code"),
    [("quota", PausedError, 75), ("payment", PausedError, 75), ("auth", AuthError, 77)],
)
@pytest.mark.parametrize("late_after", [0, 40])
def test_quota_and_auth_stop_the_sending(fault: str, error_type: type, exit_code: int, late_after: int) -> None:
    with FaultServer(late_fault=fault, late_after=late_after, latency_s=0.01) as server:
        replies, error = run(teacher(server.url), grid(200))
        assert isinstance(error, error_type)
        assert error.exit_code == exit_code
        assert len([reply for reply in replies if reply.path]) == late_after
        assert len(server.accepted) <= late_after + (8 if late_after else 1)
    with FaultServer() as server:
        done = {reply.request.id for reply in replies if reply.path}
        more, error = run(teacher(server.url), [item for item in grid(200) if item[0].id not in done])
        assert error is None
        assert len(more) + len(done) == 200


def test_a_missing_key_costs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    with FaultServer() as server:
        _, error = run(teacher(server.url), grid(3))
        assert isinstance(error, AuthError)
        assert VARIABLE in str(error)
        assert not server.accepted


def test_an_unreachable_host_is_given_up() -> None:
    _, error = run(teacher("http://127.0.0.1:1/v1"), grid(30))
    assert isinstance(error, ProviderError)
    assert error.exit_code == 69


def test_a_server_that_dies_for_good_is_given_up() -> None:
    with FaultServer(late_fault="reset", late_after=20) as server:
        replies, error = run(teacher(server.url, limits=limits(down_after_s=1.0, max_attempts=100)), grid(60))
        assert isinstance(error, ProviderError)
        assert len([reply for reply in replies if reply.path]) == 20


@pytest.mark.parametrize("fault", ["no_model", "redirect", "bad_request", "forbidden"])
def test_a_wrong_setting_is_found_with_few_calls(fault: str) -> None:
    with FaultServer(late_fault=fault) as server:
        _, error = run(teacher(server.url), grid(100))
        assert isinstance(error, ProviderError | AuthError)
        assert len(server.accepted) <= 3


def test_one_refused_prompt_is_a_hole_and_the_run_goes_on() -> None:
    with FaultServer(script=["ok", "bad_request", "forbidden"]) as server:
        replies, error = run(teacher(server.url), grid(50))
        assert error is None
        assert sum(reply.path is None for reply in replies) == 2
        assert len(server.accepted) == 50


@pytest.mark.parametrize("fault", ["hang", "drip", "blank_lines"])
def test_a_slow_server_costs_the_deadline_and_no_more(fault: str) -> None:
    with FaultServer(script=[fault]) as server:
        started = time.monotonic()
        replies, error = run(teacher(server.url, limits=limits(deadline_s=1.0, max_attempts=1)), [cell(0)])
        assert took_s(started) < 2.0
        assert error is None
        assert replies[0].path is None
        assert replies[0].attempts[0].outcome == "lost"


def test_there_is_exactly_one_retry_layer() -> None:
    with FaultServer(late_fault="server_error") as server:
        replies, _ = run(teacher(server.url, limits=limits(max_attempts=4)), [cell(0)])
        assert len(server.accepted) == 4 == len(replies[0].attempts)


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("length", "truncated"),
        ("filter", "refused"),
        ("tool", "failed"),
        ("think_only", "empty"),
        ("other_model", "wrong_model"),
    ],
)
def test_unusable_replies_have_a_state_of_their_own(fault: str, state: str) -> None:
    with FaultServer(script=["ok", fault]) as server:
        replies, error = run(teacher(server.url, limits=limits(max_concurrency=1)), grid(3))
        assert error is None
        assert [reply.path.state for reply in replies if reply.path] == ["done", state, "done"]
        assert sum(reply.path.cost_usd for reply in replies if reply.path) == pytest.approx(
            sum(call.prompt_tokens * 1e-3 + call.completion_tokens * 2e-3 for call in server.accepted)
        )


def test_a_server_that_always_answers_as_another_model_is_stopped() -> None:
    with FaultServer(late_fault="other_model") as server:
        replies, error = run(teacher(server.url), grid(100))
        assert isinstance(error, ProviderError)
        assert "somebody-else" in str(error)
        assert len(server.accepted) <= 3
        assert {reply.path.state for reply in replies if reply.path} == {"wrong_model"}


HOSTILE = [
    "deep",
    "deep_object",
    "list",
    "big_number",
    "bad_choices",
    "error_in_200",
    "huge",
    "gzip_bomb",
    "absurd_usage",
    "null",
    "empty_body",
]


def test_hostile_bodies_never_crash() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with FaultServer(script=["ok", *HOSTILE]) as server:
        replies, error = run(teacher(server.url), grid(20))
        assert error is None
        assert all(reply.path for reply in replies)
        assert {path.state for reply in replies if (path := reply.path)} <= {"done", "failed"}
        assert all(0 <= reply.path.prompt_tokens < 10_000 for reply in replies if reply.path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_redirect_takes_no_key_elsewhere() -> None:
    with FaultServer() as elsewhere, FaultServer(late_fault="redirect") as server:
        server.redirect_to = elsewhere.url + "/chat/completions"
        _, error = run(teacher(server.url), grid(5))
        assert isinstance(error, ProviderError)
        assert not elsewhere.accepted


def test_nobody_comes_back_earlier_than_told() -> None:
    told = ("0.2", "0.7", "-3", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "86400")
    with FaultServer(seed=3, faults={"rate": 0.3, "overloaded": 0.2}, retry_after=told) as server:
        replies, error = run(teacher(server.url, limits=limits(retry_after_cap_s=1.0, max_attempts=20)), grid(40))
        assert error is None
        assert all(reply.path for reply in replies)
    waits, late_s = 0, 0.5 * slowdown()
    for before, after in itertools.pairwise(sorted(server.accepted, key=lambda call: (call.key, call.at_s))):
        if before.key == after.key and before.told in {"0.2", "0.7", "86400"}:
            waits += 1
            assert min(float(before.told), 1.0) - 0.005 <= after.at_s - before.at_s <= 1.0 + late_s
    assert waits > 10
