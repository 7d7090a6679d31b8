"""A bounded crowd of workers over a stream of items: results come as they are ready, nobody runs ahead of the consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol, TypeVar

from qrdistill.errors import PausedError, QRDistillError
from qrdistill.teacher.client.limits import afresh

T = TypeVar("T")
R = TypeVar("R")


class Stop(Protocol):
    """What can be stopped: an endpoint."""

    @property
    def stopped(self) -> QRDistillError | None:
        """Why, or None."""

    def stop(self, reason: QRDistillError) -> None:
        """Let nothing new start."""


async def stream(
    items: Iterable[T],
    work: Callable[[T], Awaitable[Sequence[R]]],
    *,
    stops: Sequence[Stop],
    places: int,
    grace_s: float,
) -> AsyncGenerator[R, None]:
    """Do `work` on every item, at most `places` at a time, and hand out the results in the order they come.

    When one of `stops` is stopped (or `work` raises an error of ours, which stops all) no further item is taken; what is under
    way ends, is handed out, and the reason is raised. When the consumer is cancelled or leaves, what is under way has `grace_s`
    to end; its results are not handed out any more (`work` has saved them).

    Raises:
        QRDistillError: why it stopped early.
    """
    iterator = iter(items)
    first = [item for _, item in zip(range(places), iterator, strict=False)]
    rest = chain(first, iterator)
    done: asyncio.Queue[R | None] = asyncio.Queue()
    room = asyncio.Semaphore(2 * places)  # results nobody has taken yet

    async def worker(rest: Iterator[T]) -> None:
        for item in rest:
            if any(stop.stopped for stop in stops):
                return
            try:
                results = await work(item)
            except QRDistillError as error:
                _stop(stops, error)
                return
            for result in results:
                await room.acquire()
                done.put_nowait(result)

    workers = [asyncio.create_task(worker(rest)) for _ in first]
    for task in workers:
        task.add_done_callback(lambda _: done.put_nowait(None))
    num_open = len(workers)
    try:
        while num_open:
            result = await done.get()
            if result is None:
                num_open -= 1
                continue
            room.release()
            yield result
    except (asyncio.CancelledError, GeneratorExit):
        _stop(stops, PausedError("interrupted; run the same command again to go on"))
        for _ in range(128 * places):
            room.release()
        if workers:
            await asyncio.wait(workers, timeout=grace_s)
        raise
    finally:
        for task in workers:
            task.cancel()
        ends = await asyncio.gather(*workers, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
            raise end
    for stop in stops:
        if stop.stopped is not None:
            raise afresh(stop.stopped)


def _stop(stops: Sequence[Stop], reason: QRDistillError) -> None:
    for stop in stops:
        stop.stop(reason)
