"""A bounded crowd of workers over a stream of items: results come as they are ready, nobody runs ahead of the consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from qrdistill.errors import PausedError, QRDistillError
from qrdistill.teacher.client.limits import Limiter

T = TypeVar("T")
R = TypeVar("R")


async def stream(
    items: Iterable[T],
    work: Callable[[T], Awaitable[Sequence[R]]],
    *,
    limiters: Sequence[Limiter],
    places: int,
    grace_s: float,
) -> AsyncGenerator[R, None]:
    """Do `work` on every item, at most `places` at a time, and hand out the results in the order they come.

    When a limiter is stopped (or `work` raises an error of ours, which stops them all) no further item is taken; what is under
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
            if any(limiter.stopped for limiter in limiters):
                return
            try:
                results = await work(item)
            except QRDistillError as error:
                _stop(limiters, error)
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
        _stop(limiters, PausedError("interrupted; run the same command again to go on"))
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
    for limiter in limiters:
        if limiter.stopped is not None:
            raise limiter.stopped


def _stop(limiters: Sequence[Limiter], reason: QRDistillError) -> None:
    for limiter in limiters:
        limiter.stop(reason)
