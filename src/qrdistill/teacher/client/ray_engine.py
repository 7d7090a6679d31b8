"""Calls made by Ray actors, on one machine or many, around the same client; one process keeps the books.

Each worker is an actor with an ordinary `Endpoint` and its share of the limits. Before every attempt it asks the driver, through
a mailbox actor, to save the intent and to set the money aside, and sends only when the driver has answered. So the promises of
the ledger hold unchanged, and when the driver dies, a worker sends at most the few calls that are saved and ready already.

Keys are read from the environment of the machine a worker runs on; they never travel through Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections.abc import Sequence
from typing import Any

from qrdistill.config.endpoints import EndpointConfig
from qrdistill.errors import QRDistillError, UsageError
from qrdistill.teacher.client.call import Call, FurtherRows, Outcome
from qrdistill.teacher.client.classify import Failure
from qrdistill.teacher.client.desk import Desk, Row
from qrdistill.teacher.client.endpoint import Endpoint
from qrdistill.teacher.client.limits import LimiterPool
from qrdistill.teacher.client.money import Meter
from qrdistill.teacher.client.reply import Completion

Post = tuple[int, str, tuple[Row, ...], float]
"""(number, "out" or "back", rows, most_usd)."""


class Mailbox:
    """Between workers and the driver: workers post, the driver takes and answers."""

    def __init__(self) -> None:
        self._posts: list[Post] = []
        self._news = asyncio.Event()
        self._answers: dict[int, asyncio.Future[QRDistillError | None]] = {}
        self._count = 0

    async def out(self, rows: tuple[Row, ...], most_usd: float) -> QRDistillError | None:
        """Post an intent; returns when the driver has saved it (None) or refused it."""
        self._count += 1
        answer: asyncio.Future[QRDistillError | None] = asyncio.get_running_loop().create_future()
        self._answers[self._count] = answer
        self._posts.append((self._count, "out", rows, most_usd))
        self._news.set()
        return await answer

    async def back(self, rows: tuple[Row, ...], most_usd: float) -> None:
        """Post how an attempt ended."""
        self._posts.append((0, "back", rows, most_usd))
        self._news.set()

    async def take(self, wait_s: float) -> list[Post]:
        """Everything posted since the last time; waits a little for something to come."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), wait_s)
        self._news.clear()
        posts, self._posts = self._posts, []
        return posts

    async def answer(self, answers: list[tuple[int, QRDistillError | None]]) -> None:
        """Let the workers whose intents are saved go on."""
        for number, error in answers:
            future = self._answers.pop(number, None)
            if future is not None and not future.done():
                future.set_result(error)


class RemoteDesk:
    """A worker's desk: the driver's, through the mailbox."""

    def __init__(self, mailbox: Any) -> None:
        self.meter = Meter()
        self._mailbox = mailbox

    async def out(self, rows: Sequence[Row], most_usd: float) -> None:
        """See `Desk.out`."""
        error = await self._mailbox.out.remote(tuple(rows), most_usd)
        if error is not None:
            raise error

    def back(self, rows: Sequence[Row], most_usd: float) -> None:
        """Attempts that failed; the one that succeeds is booked by the driver, together with what came of it."""
        failed = tuple(row for row in rows if getattr(row, "outcome", "") not in {"ok", "wrong_model"})
        if failed:
            self._mailbox.back.remote(failed, most_usd)

    async def flush(self) -> None:
        """The driver saves."""


class Worker:
    """An actor's inside: one endpoint with its share of the limits."""

    def __init__(self, config: EndpointConfig, where: str, mailbox: Any) -> None:
        self._arguments = (config, where, mailbox)
        self._endpoint: Endpoint | None = None

    async def ask(self, call: Call) -> Outcome | QRDistillError:
        """Make a call; an error that ends the endpoint comes back as a value."""
        try:
            if self._endpoint is None:
                config, where, mailbox = self._arguments
                self._endpoint = Endpoint(config, where=where, desk=RemoteDesk(mailbox), pool=LimiterPool())
            return await self._endpoint.ask(call)
        except QRDistillError as error:
            return error


class RayEndpoint:
    """An endpoint whose calls are made by Ray actors. The driver's side; used like `Endpoint`.

    Args:
        config: the endpoint.
        where: how a user would name it in an error.
        desk: the run's.
        num_workers: actors; each may run on another machine of the cluster.

    Raises:
        UsageError: Ray is not installed.
    """

    def __init__(self, config: EndpointConfig, *, where: str, desk: Desk, num_workers: int) -> None:
        ray = start_ray()
        self._desk = desk
        self._stopped: QRDistillError | None = None
        self._ray = ray
        self._mailbox = ray.remote(num_cpus=0, max_concurrency=10_000)(Mailbox).remote()
        share = share_of(config, num_workers)
        actor = ray.remote(num_cpus=0, max_concurrency=10_000, max_restarts=-1)(Worker)
        self._workers = [actor.remote(share, where, self._mailbox) for _ in range(num_workers)]
        self._load = [0] * num_workers
        self._serving = asyncio.get_running_loop().create_task(self._serve())

    @property
    def stopped(self) -> QRDistillError | None:
        """Why nothing more may be sent, or None."""
        return self._stopped

    def stop(self, reason: QRDistillError) -> None:
        """Let no further call start; the first reason stays."""
        self._stopped = self._stopped or reason

    async def ask(self, call: Call, *, rows: FurtherRows | None = None) -> Outcome:
        """As `Endpoint.ask`, on the least busy worker. A worker that dies leaves a hole."""
        index = min(range(len(self._load)), key=self._load.__getitem__)
        self._load[index] += 1
        try:
            outcome = await self._workers[index].ask.remote(call)
        except self._ray.exceptions.RayActorError as error:
            failure = Failure(kind="lost", message=f"a worker died: {type(error).__name__}")
            return Outcome(completion=None, failure=failure, attempts=())
        finally:
            self._load[index] -= 1
        if isinstance(outcome, QRDistillError):
            raise outcome
        assert isinstance(outcome, Outcome)
        if isinstance(outcome.completion, Completion):
            attempt = outcome.attempts[-1]
            further = rows(attempt, outcome.completion) if rows is not None else ()
            self._desk.back((attempt, *further), outcome.most_usd)
        return outcome

    async def _serve(self) -> None:
        """Keep the books for the workers until the endpoint is closed."""
        while True:
            posts: list[Post] = await self._mailbox.take.remote(1.0)
            outs = [post for post in posts if post[1] == "out"]
            for _, kind, rows, most_usd in posts:
                if kind == "back":
                    self._desk.back(rows, most_usd)
            for post in outs:
                # Each in a task of its own: one that waits for room under a cap must not hold up the others.
                asyncio.get_running_loop().create_task(self._answer(post))

    async def _answer(self, post: Post) -> None:
        number, _, rows, most_usd = post
        error: QRDistillError | None = self._stopped
        if error is None:
            try:
                await self._desk.out(rows, most_usd)
            except QRDistillError as refused:
                error = refused
        await self._mailbox.answer.remote([(number, error)])

    async def close(self) -> None:
        """End the workers."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        for actor in [*self._workers, self._mailbox]:
            self._ray.kill(actor)


def share_of(config: EndpointConfig, num_workers: int) -> EndpointConfig:
    """The endpoint with one worker's share of its limits, so that all together keep them."""
    limits = config.limits
    shared = limits.model_copy(
        update={
            "max_concurrency": max(1, limits.max_concurrency // num_workers),
            "requests_per_minute": limits.requests_per_minute / num_workers,
            "tokens_per_minute": limits.tokens_per_minute / num_workers,
        }
    )
    return config.model_copy(update={"limits": shared})


def start_ray() -> Any:
    """Ray, connected to the cluster that RAY_ADDRESS names or started on this machine.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise UsageError("the engine ray needs the package ray; run: pip install 'qrdistill[ray]'") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    return ray
