"""One limiter per endpoint: requests and tokens a minute, calls in flight, and whether the endpoint is alive.

Teachers and judges that use the same address and key share a limiter, because the server counts them together.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from aiolimiter import AsyncLimiter

from qrdistill.config.endpoints import LimitsConfig
from qrdistill.errors import ProviderError, QRDistillError
from qrdistill.teacher.client.classify import Failure

_RATE_WINDOW_S = 6.0
"""Rates are kept over windows of 6 s, so a burst is at most a tenth of a minute's allowance."""
_CUT = 0.7
_CUT_PAUSE_S = 1.0
_DOWN_ATTEMPTS = 3


class AdaptiveGate:
    """Lets at most `limit` calls through at once; `limit` falls by 0.7 on push-back and rises by one per `limit` successes.

    `limit` never exceeds `most` and never falls below 1. One cut a second at most: the answers to calls that were already under
    way when the server began to push back are one piece of news, not many.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.limit = float(most)
        self.in_flight = 0
        self.peak = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._clock = clock
        self._cut_at_s = -_CUT_PAUSE_S

    async def enter(self) -> None:
        """Wait for a place."""
        while self.in_flight >= int(self.limit):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except BaseException:
                # A place that was given to a waiter that is no longer there goes to the next one.
                if place.done() and not place.cancelled():
                    self._wake()
                raise
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def leave(self) -> None:
        """Give the place back."""
        self.in_flight -= 1
        self._wake()

    def push_back(self) -> None:
        """The server is overloaded or says so."""
        now_s = self._clock()
        if now_s - self._cut_at_s >= _CUT_PAUSE_S:
            self._cut_at_s = now_s
            self.limit = max(1.0, self.limit * _CUT)

    def succeed(self) -> None:
        """A call was answered."""
        if self.limit < self.most:
            self.limit = min(float(self.most), self.limit + 1.0 / self.limit)
            self._wake()

    def _wake(self) -> None:
        free = int(self.limit) - self.in_flight
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1


class Limiter:
    """Everything that decides when the next call to one endpoint may start.

    Args:
        limits: the tightest settings of those who share the endpoint.
        clock: seconds, monotonic (tests replace it).
    """

    def __init__(self, limits: LimitsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.gate = AdaptiveGate(limits.max_concurrency, clock)
        self._ready = AdaptiveGate(_num_ready(limits), clock)
        self._clock = clock
        self._requests = _bucket(limits.requests_per_minute)
        self._tokens = _bucket(limits.tokens_per_minute)
        self._owed_tokens = 0.0
        self._answered_at_s: float | None = None
        self._silent_since_s: float | None = None
        self._silent_attempts = 0
        self._stopped: QRDistillError | None = None

    def tighten(self, limits: LimitsConfig) -> None:
        """Take over every rate and concurrency that is lower than ours."""
        merged = self.limits.model_copy(
            update={
                "requests_per_minute": _lower(self.limits.requests_per_minute, limits.requests_per_minute),
                "tokens_per_minute": _lower(self.limits.tokens_per_minute, limits.tokens_per_minute),
                "max_concurrency": min(self.limits.max_concurrency, limits.max_concurrency),
            }
        )
        if merged.requests_per_minute != self.limits.requests_per_minute:
            self._requests = _bucket(merged.requests_per_minute)
        if merged.tokens_per_minute != self.limits.tokens_per_minute:
            self._tokens = _bucket(merged.tokens_per_minute)
        self._ready.limit = self._ready.most = _num_ready(merged)
        self.gate.most = merged.max_concurrency
        self.gate.limit = min(self.gate.limit, float(merged.max_concurrency))
        self.limits = merged

    @property
    def stopped(self) -> QRDistillError | None:
        """Why nothing more may be sent, or None."""
        return self._stopped

    def stop(self, reason: QRDistillError) -> None:
        """Let no further call start; calls in flight go on. The first reason stays."""
        self._stopped = self._stopped or reason

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """A place among the few calls that are saved and ready to go out, but not in flight yet.

        Raises:
            QRDistillError: the limiter was stopped, before or while waiting.
        """
        await self._ready.enter()
        try:
            if self._stopped is not None:
                raise afresh(self._stopped)
            yield
        finally:
            self._ready.leave()

    @asynccontextmanager
    async def place(self, num_tokens: int) -> AsyncIterator[None]:
        """A place in flight, once the rates allow it.

        Raises:
            QRDistillError: the limiter was stopped, before or while waiting.
        """
        await self.gate.enter()
        try:
            # Rates are asked inside the gate, so what waits for a rate is never more than what may be in flight.
            if self._requests is not None:
                await self._requests.acquire(min(1.0, self._requests.max_rate))
            if self._tokens is not None:
                await self._draw(self._tokens, num_tokens)
            if self._stopped is not None:
                raise afresh(self._stopped)
            yield
        finally:
            self.gate.leave()

    async def _draw(self, bucket: AsyncLimiter, num_tokens: int) -> None:
        """Draw a call's tokens, with what earlier calls took beyond their estimates; a large call draws several times."""
        left = max(0.0, num_tokens + self._owed_tokens)
        self._owed_tokens += num_tokens - left
        while left > 0:
            part = min(left, bucket.max_rate)
            await bucket.acquire(part)
            left -= part

    def correct(self, estimated: int, used: int) -> None:
        """Learn what a call took that drew `estimated` tokens; the difference is drawn, or given back, with the next calls."""
        if self._tokens is not None:
            self._owed_tokens += used - estimated

    def report(self, failure: Failure | None) -> None:
        """Learn from how a call ended (None: it was answered).

        An endpoint that refuses or drops every connection for `down_after_s` (at first contact: three attempts in a row) is
        stopped with a ProviderError.
        """
        if failure is None or failure.kind not in {"unreachable", "lost", "transient"}:
            self._answered_at_s, self._silent_since_s, self._silent_attempts = self._clock(), None, 0
        if failure is None:
            self.gate.succeed()
            return
        if failure.is_pushback:
            self.gate.push_back()
        if failure.kind not in {"unreachable", "lost", "transient"}:
            return
        now_s = self._clock()
        self._silent_since_s = now_s if self._silent_since_s is None else self._silent_since_s
        self._silent_attempts += 1
        is_never_there = failure.kind == "unreachable" and self._answered_at_s is None and self._silent_attempts >= _DOWN_ATTEMPTS
        is_long_gone = self._silent_attempts >= _DOWN_ATTEMPTS and now_s - self._silent_since_s >= self.limits.down_after_s
        if is_never_there or is_long_gone:
            self.stop(
                ProviderError(
                    f"the endpoint gave no usable answer to {self._silent_attempts} attempts in a row (last: {failure.message}); "
                    "start the server or correct base_url, then run the same command again"
                )
            )


def _num_ready(limits: LimitsConfig) -> int:
    """Few, because a crash lists them as perhaps billed; enough to fill places while the next ones are being saved."""
    return max(1, limits.max_concurrency // 4)


def afresh(error: QRDistillError) -> QRDistillError:
    """The same error as a new object: one that many tasks raised would collect all their tracebacks."""
    return type(error)(*error.args)


def _bucket(per_minute: float) -> AsyncLimiter | None:
    if per_minute <= 0:
        return None
    window_s = _RATE_WINDOW_S if per_minute * _RATE_WINDOW_S / 60 >= 1 else 60.0 / per_minute
    return AsyncLimiter(per_minute * window_s / 60, window_s)


class LimiterPool:
    """The limiters of one event loop, by address and place of the key."""

    def __init__(self) -> None:
        self._limiters: dict[tuple[str, str], Limiter] = {}

    def get(self, account: tuple[str, str], limits: LimitsConfig) -> Limiter:
        """The limiter of an endpoint; whoever comes first sets its limits, whoever comes later can only tighten them."""
        known = self._limiters.get(account)
        if known is None:
            known = self._limiters[account] = Limiter(limits)
        else:
            known.tighten(limits)
        return known


_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, LimiterPool] = WeakKeyDictionary()


def loop_pool() -> LimiterPool:
    """The pool of the running event loop: whoever works in it shares limiters."""
    return _pools.setdefault(asyncio.get_running_loop(), LimiterPool())


def _lower(one: float, two: float) -> float:
    """The lower of two rates, where 0 is no limit."""
    return min(one, two) if one and two else one or two
