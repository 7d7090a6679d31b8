"""A teacher behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from qrdistill.config.endpoints import OpenAICompatibleTeacherConfig
from qrdistill.teacher.base import Reply
from qrdistill.teacher.client.call import Asker, Call, Outcome, messages_of
from qrdistill.teacher.client.capabilities import resolve
from qrdistill.teacher.client.desk import Desk, MemoryDesk
from qrdistill.teacher.client.endpoint import Endpoint
from qrdistill.teacher.client.limits import LimiterPool, loop_pool
from qrdistill.teacher.client.reply import Completion
from qrdistill.teacher.client.workers import stream
from qrdistill.types import Attempt, PathRequest, Question, ReasoningPath

if TYPE_CHECKING:
    import httpx2

Work = tuple[PathRequest, Question]
Prompt = Callable[[PathRequest, Question], str]
"""From a cell of the grid to the text that is sent: the style's template around the task's prompt."""


class OpenAICompatibleTeacher:
    """Asks a model for paths, as many at a time as its limits allow.

    Every reply, whole or not, is saved through the desk before it is handed out, so a crash of whoever consumes the replies
    loses none of them.

    Args:
        config: the endpoint.
        prompt: writes the text of a cell.
        seed: the run's seed; with the cell's id it makes the seed of a call, where the server takes one.
        desk: books calls, or opens a desk each time the teacher answers; in memory unless a run's desk is given.
        pool: limiters shared with other users of the same endpoints; those of the running loop unless given.
        transport: replaces the network (tests).
        num_workers: make the calls in so many Ray actors; 0: here.
    """

    version = "1"

    def __init__(
        self,
        config: OpenAICompatibleTeacherConfig,
        *,
        prompt: Prompt,
        seed: int = 0,
        desk: Desk | Callable[[], Desk] | None = None,
        pool: LimiterPool | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        num_workers: int = 0,
    ) -> None:
        self.config = config
        self.name = config.name
        self.target = resolve(config, where=f"teacher {config.name!r}")
        self.open_desk: Callable[[], Desk] = desk if callable(desk) else lambda: desk or MemoryDesk()
        self._pool = pool
        self._prompt = prompt
        self._seed = seed
        self._transport = transport
        self._num_workers = num_workers

    def sampling(self, style: str) -> str:
        """What shapes a reply beside the prompt: the model and its sampling parameters. The address and the price do not."""
        config = self.config
        parts: dict[str, object] = {
            "max_tokens": config.max_tokens,
            "model": config.model,
            "temperature": config.temperature,
            "top_p": config.top_p,
        }
        if config.extra:
            parts["extra"] = dict(sorted(config.extra.items()))
        if self.target.capabilities.seed:
            parts["seed"] = self._seed
        return json.dumps(parts, sort_keys=True, separators=(",", ":"))

    async def answer(self, work: Iterable[Work]) -> AsyncIterator[Reply]:
        """Answer every request once, in the order replies come.

        When the endpoint must not be used any more, no further call is sent, replies in flight are still handed out, and then
        the reason is raised. When the consumer is cancelled, calls in flight get `grace_s` to end; their replies are saved.

        Raises:
            AuthError: the key is missing or refused.
            PausedError: a cap or a quota is reached.
            ProviderError: the endpoint is down, or refuses everything we ask.
            StorageError: the disk refuses.
        """
        desk = self.open_desk()
        endpoint = self._open_asker(desk)
        limits = self.config.limits

        async def ask(group: tuple[Work, ...]) -> list[Reply]:
            return await self._ask(endpoint, group)

        try:
            replies = stream(
                _groups(work, self.target.capabilities.n),
                ask,
                stops=[endpoint],
                places=2 * limits.max_concurrency,  # as many rest between attempts as are in flight
                grace_s=limits.grace_s,
            )
            async with contextlib.aclosing(replies):
                async for reply in replies:
                    yield reply
        finally:
            await endpoint.close()
            await desk.flush()

    def _open_asker(self, desk: Desk) -> Asker:
        if not self._num_workers:
            return self.open_endpoint(desk)
        from qrdistill.teacher.client.ray_engine import RayEndpoint

        return RayEndpoint(self.config, where=f"teacher {self.name!r}", desk=desk, num_workers=self._num_workers)

    def open_endpoint(self, desk: Desk) -> Endpoint:
        """The endpoint, inside a running loop; whoever opens it closes it."""
        pool = self._pool or loop_pool()
        return Endpoint(self.config, where=f"teacher {self.name!r}", desk=desk, pool=pool, transport=self._transport)

    def call_of(self, group: Sequence[Work]) -> Call:
        """The call that asks for cells that differ only in their sample."""
        request, question = group[0]
        return Call(
            id=request.id,
            messages=messages_of(self._prompt(request, question)),
            max_tokens=self.config.max_tokens,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            n=len(group),
            seed=_call_seed(self._seed, request.id),
            rows=tuple(member for member, _ in group),
        )

    async def _ask(self, endpoint: Asker, group: tuple[Work, ...]) -> list[Reply]:
        call = self.call_of(group)

        def rows(attempt: Attempt, completion: Completion) -> list[ReasoningPath]:
            return self.paths_of(group, attempt, completion)

        outcome: Outcome = await endpoint.ask(call, rows=rows)
        paths: Sequence[ReasoningPath | None] = []
        if outcome.completion is not None:
            paths = self.paths_of(group, outcome.attempts[-1], outcome.completion)
        paths = [*paths, *[None] * (len(group) - len(paths))]
        return [
            Reply(request=member, path=path, attempts=outcome.attempts if index == 0 else ())
            for index, ((member, _), path) in enumerate(zip(group, paths, strict=True))
        ]

    def paths_of(self, group: Sequence[Work], attempt: Attempt, completion: Completion) -> list[ReasoningPath]:
        """One path per choice, in order; tokens and cost of a shared call are split evenly."""
        shares = min(len(group), len(completion.choices))
        return [
            ReasoningPath(
                id=request.id,
                question_id=request.question_id,
                teacher=request.teacher,
                style=request.style,
                sample=request.sample,
                text=choice.text,
                state=choice.state,
                model=completion.model,
                reasoning=choice.reasoning,
                prompt_tokens=attempt.prompt_tokens,
                completion_tokens=attempt.completion_tokens // shares,
                cost_usd=attempt.cost_usd / shares,
            )
            for (request, _), choice in zip(group, completion.choices, strict=False)
        ]


def _groups(work: Iterable[Work], most: int) -> Iterator[tuple[Work, ...]]:
    """Neighbouring cells that differ only in their sample, at most `most` a group."""
    group: list[Work] = []
    for item in work:
        request = item[0]
        if group and (len(group) >= most or _prompt_key(request) != _prompt_key(group[0][0])):
            yield tuple(group)
            group = []
        group.append(item)
    if group:
        yield tuple(group)


def _prompt_key(request: PathRequest) -> tuple[str, str, str]:
    return request.question_id, request.style, request.template_version


def _call_seed(seed: int, request_id: str) -> int:
    """A seed in [0, 2^31) that differs between cells and is the same in every attempt at one cell."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{request_id}".encode()).digest()[:4], "big") >> 1
