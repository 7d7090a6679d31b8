"""The client's small parts, each against its own plain statement of what it must do."""

from __future__ import annotations

import asyncio
import json
import pickle
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.client import limits
from harness.clock import slowdown
from qrdistill.config.endpoints import EndpointConfig, PriceConfig
from qrdistill.errors import AuthError, ConfigError, PausedError
from qrdistill.teacher.client.capabilities import PRESETS, resolve
from qrdistill.teacher.client.classify import Failure, from_status, one_line
from qrdistill.teacher.client.keys import Key
from qrdistill.teacher.client.limits import AdaptiveGate, LimiterPool
from qrdistill.teacher.client.money import Cap, Meter, cost_usd, most_prompt_tokens
from qrdistill.teacher.client.reply import Completion, read_completion, same_model, split_thinking
from qrdistill.teacher.client.retry import retry_after, wait_s

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-4"}, 0),
        ({"retry-after": "9" * 80}, 1e80),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30),
        ({"retry-after": "Thu, 01 Jan 2015 00:00:30 GMT"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "soon"}, -1),
        ({"retry-after": "1e9"}, -1),
        ({"retry-after": "inf"}, -1),
        ({"retry-after": "9" * 400}, 1e100),
        ({"retry-after": "Thu, 99 Foo 99999 00:00:30 GMT"}, -1),
        ({}, -1),
    ],
)
def test_retry_after_is_read_in_every_shape(headers: dict[str, str], expected: float) -> None:
    assert retry_after(headers, now_s=NOW) == pytest.approx(expected)


@given(st.text(max_size=200), st.integers(1, 40), st.integers(0, 1000))
def test_a_wait_is_never_shorter_than_told_and_never_longer_than_the_cap(header: str, number: int, seed: int) -> None:
    told = retry_after({"retry-after": header}, now_s=NOW)
    tight = limits(backoff_s=0.5, backoff_cap_s=20, retry_after_cap_s=60)
    waited = wait_s(Failure(kind="rate", message="", retry_after_s=told), number, tight, dice=random.Random(seed))
    assert min(told, 60) <= waited <= 60
    assert waited > 0


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}', "rate"),
        (429, b'{"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}', "quota"),
        (429, b'[{"error": {"code": 429, "message": "You exceeded your current quota. Please retry in 20s"}}]', "rate"),
        (429, b'[{"error": {"code": 429, "details": [{"quotaId": "GenerateRequestsPerDayPerModel"}]}}]', "quota"),
        (400, b'{"type": "error", "error": {"message": "Your credit balance is too low"}}', "quota"),
        (402, b"", "quota"),
        (401, b"nope", "auth"),
        (403, b"", "auth"),
        (404, b"", "request"),
        (413, b"", "request"),
        (422, b"", "request"),
        (301, b"", "request"),
        (408, b"", "transient"),
        (500, b"<html>", "transient"),
        (529, b"", "transient"),
        (204, b"", "lost"),
    ],
)
def test_statuses_have_their_class(status: int, body: bytes, kind: str) -> None:
    assert from_status(status, {}, body, retry_after_s=-1).kind == kind


@given(st.text())
def test_messages_are_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 300
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "reply", "thinking"),
    [
        ("plain", "plain", ""),
        ("<think>a</think> b", "b", "a"),
        ("\n<THINK>\na\n</think>\n\nb", "b", "a"),
        ("a</think>b", "b", "a"),
        ("<think>never ends", "", "never ends"),
        ("<think></think>", "", ""),
        ("b <think>later</think>", "b <think>later</think>", ""),
        ("<reasoning>a</reasoning>b", "b", "a"),
    ],
)
def test_thinking_is_split_off(text: str, reply: str, thinking: str) -> None:
    assert split_thinking(text) == (reply, thinking)


@pytest.mark.parametrize(
    ("asked", "answered", "is_same"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", True),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini-2024-11-20", False),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gemini-2.0-flash", "models/gemini-2.0-flash-001", True),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", True),
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b", True),
        ("llama3.2", "llama3.2:latest", True),
        ("toy", "somebody-else", False),
    ],
)
def test_one_model_under_two_names(asked: str, answered: str, is_same: bool) -> None:
    assert same_model(asked, answered) is is_same


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, JSON, JSON, JSON)
def test_any_reply_becomes_a_state(content: object, finish: object, usage: object, message: object) -> None:
    for tree in (
        {"choices": [{"message": {"content": content}, "finish_reason": finish}], "usage": {"prompt_tokens": usage}},
        {"choices": [{"message": message}], "usage": usage},
        {"choices": message, "model": finish},
        message,
    ):
        result = read_completion(json.dumps(tree).encode(), model="toy", is_model_checked=True, max_tokens=9)
        if isinstance(result, Completion):
            assert all(choice.text for choice in result.choices if choice.state == "done")
            assert -1 <= result.prompt_tokens <= 10_000_000


@given(st.binary(max_size=300))
def test_any_bytes_become_a_failure_or_a_completion(body: bytes) -> None:
    read_completion(body, model="toy", is_model_checked=False, max_tokens=9)


def test_reasoning_fields_and_content_parts_are_read() -> None:
    body = {
        "choices": [
            {"message": {"content": [{"type": "text", "text": "4"}], "reasoning_content": "hm"}, "finish_reason": "stop"},
            {"message": {"content": "5", "reasoning": "so"}, "finish_reason": None},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    result = read_completion(json.dumps(body).encode(), model="toy", is_model_checked=True, max_tokens=9)
    assert isinstance(result, Completion)
    assert [(choice.text, choice.reasoning, choice.state) for choice in result.choices] == [
        ("4", "hm", "done"),
        ("5", "so", "done"),
    ]


def test_a_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", " sk-secret-value\n")
    key = Key("SOME_KEY")
    assert key.header() == {"Authorization": "Bearer sk-secret-value"}
    for shown in (repr(key), str(key), f"{key}", pickle.dumps(key), repr(vars), key.hide("your key sk-secret-value is bad")):
        assert "sk-secret" not in str(shown)
    monkeypatch.setenv("SOME_KEY", "sk-secret\r\nHost: evil")
    with pytest.raises(AuthError, match="SOME_KEY") as caught:
        Key("SOME_KEY")
    assert "sk-secret" not in str(caught.value)
    assert Key("NONE").header() == {}


def test_the_gate_backs_off_and_recovers() -> None:
    now = [0.0]
    gate = AdaptiveGate(64, clock=lambda: now[0])
    for _ in range(10):
        gate.push_back()
    assert gate.limit == pytest.approx(64 * 0.7)  # one volley of push-back is one piece of news
    for second in range(1, 40):
        now[0] = second
        gate.push_back()
    assert gate.limit == 1
    for _ in range(64 * 65 // 2):
        gate.succeed()
    assert gate.limit == pytest.approx(64, abs=1)


def test_the_gate_never_lets_more_through_than_its_limit_and_loses_no_place_to_a_cancelled_waiter() -> None:
    async def scenario() -> int:
        gate, dice = AdaptiveGate(5), random.Random(1)

        async def visit() -> None:
            await gate.enter()
            try:
                assert gate.in_flight <= 5
                await asyncio.sleep(dice.random() * 0.002)
            finally:
                gate.leave()

        visits = [asyncio.create_task(visit()) for _ in range(300)]
        for task in dice.sample(visits, 100):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        assert gate.in_flight == 0
        return gate.peak

    assert asyncio.run(scenario()) == 5


def test_rates_hold() -> None:
    async def scenario() -> float:
        limiter = LimiterPool().get(("u", "k"), limits(requests_per_minute=600, max_concurrency=50))
        loop = asyncio.get_running_loop()
        started = loop.time()

        async def one() -> None:
            async with limiter.place(10):
                pass

        await asyncio.gather(*[one() for _ in range(65)])
        return loop.time() - started

    assert asyncio.run(scenario()) >= 0.4  # 60 may burst, the other 5 come at 10 a second


@pytest.mark.parametrize(("estimated", "used", "num_calls", "least_s", "most_s"), [(10, 100, 8, 0.9, 3), (150, 10, 30, 0, 1.5)])
def test_token_rates_hold_for_the_tokens_calls_took(
    estimated: int, used: int, num_calls: int, least_s: float, most_s: float
) -> None:
    async def scenario() -> float:
        limiter = LimiterPool().get(("u", "k"), limits(tokens_per_minute=6000))  # 600 may burst, then 100 a second
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(num_calls):
            async with limiter.place(estimated):
                pass
            limiter.correct(estimated, used)
        return loop.time() - started

    assert least_s <= asyncio.run(scenario()) <= most_s * slowdown()


def test_a_call_larger_than_a_burst_draws_all_its_tokens() -> None:
    async def scenario() -> float:
        limiter = LimiterPool().get(("u", "k"), limits(tokens_per_minute=60_000))  # 6,000 may burst, then 1,000 a second
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with limiter.place(7_000):
            return loop.time() - started

    assert asyncio.run(scenario()) >= 0.9


def test_users_of_one_endpoint_share_the_tightest_limiter() -> None:
    pool = LimiterPool()
    one = pool.get(("u", "k"), limits(max_concurrency=9, requests_per_minute=0))
    two = pool.get(("u", "k"), limits(max_concurrency=4, requests_per_minute=60))
    assert one is two
    assert (one.gate.most, one.limits.requests_per_minute) == (4, 60)
    assert pool.get(("u", "other"), limits()) is not one


def test_a_cap_holds_with_calls_in_flight_and_waits_for_them_first() -> None:
    async def scenario() -> float:
        meter = Meter(caps=[Cap("budget.generate_usd", 1.0, spent_usd=0.4)])

        async def call() -> None:
            await meter.reserve(0.2)
            await asyncio.sleep(0.001)
            meter.settle(0.2, 0.05)

        results = await asyncio.gather(*[call() for _ in range(50)], return_exceptions=True)
        assert any(isinstance(result, PausedError) for result in results)
        assert meter.reserved_usd == pytest.approx(0)
        return meter.caps[0].spent_usd

    assert 0.8 <= asyncio.run(scenario()) <= 1.0  # as far as a call of 0.2 may still fit, and never over


def test_prices() -> None:
    price = PriceConfig(prompt_usd_per_million=2, completion_usd_per_million=8)
    assert cost_usd(price, 1_000_000, 500_000) == 6
    assert most_prompt_tokens([{"content": "héllo"}]) == 6 + 16


def test_presets_resolve_and_custom_wants_its_address() -> None:
    for name in PRESETS.keys() - {"custom"}:
        target = resolve(EndpointConfig.model_validate({"preset": name, "model": "m"}), where="teacher 't'")
        assert target.base_url.startswith("http")
    with pytest.raises(ConfigError, match="base_url"):
        resolve(EndpointConfig(model="m"), where="teacher 't'")
    with pytest.raises(ConfigError, match="api_key_env"):
        resolve(EndpointConfig(model="m", base_url="http://h/v1"), where="teacher 't'")
    override = EndpointConfig.model_validate({"preset": "openai", "model": "m", "capabilities": {"seed": False, "n": 4}})
    assert resolve(override, where="").capabilities.seed is False
    assert resolve(override, where="").capabilities.n == 4


@pytest.mark.parametrize("url", ["ftp://x/v1", "http://user:pw@host/v1", "https://host/v1?key=1"])
def test_addresses_with_secrets_or_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        EndpointConfig(model="m", base_url=url)
