"""One model behind one address: ask until there is an answer, or a reason why there will be none.

The only retry loop of the package. Each attempt is booked at the desk before and after it is made, waits for its place in the
endpoint's limiter, and carries its id in `X-Client-Request-Id`, so a server's own log can be compared with the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from qrdistill.config.endpoints import EndpointConfig
from qrdistill.errors import ProviderError, QRDistillError
from qrdistill.teacher.client.call import Call, FurtherRows, Outcome, new_attempt
from qrdistill.teacher.client.capabilities import Target, resolve
from qrdistill.teacher.client.classify import UNSENT, Failure
from qrdistill.teacher.client.desk import Desk
from qrdistill.teacher.client.health import Health
from qrdistill.teacher.client.keys import Key
from qrdistill.teacher.client.limits import Limiter, LimiterPool, afresh
from qrdistill.teacher.client.money import cost_usd, likely_tokens, most_prompt_tokens
from qrdistill.teacher.client.reply import Completion, read_completion
from qrdistill.teacher.client.retry import wait_s
from qrdistill.teacher.client.wire import Wire
from qrdistill.types import Attempt

if TYPE_CHECKING:
    import httpx2


class Endpoint:
    """A model that can be asked. Use it inside one event loop; `close` it at the end.

    Args:
        config: the endpoint.
        where: how a user would name it in an error (`teacher 'big'`).
        desk: books every attempt.
        pool: the limiters of this loop.
        transport: replaces the network (tests).

    Raises:
        AuthError: the key cannot be read.
        ConfigError: the address or the place of the key is not given.
    """

    def __init__(
        self,
        config: EndpointConfig,
        *,
        where: str,
        desk: Desk,
        pool: LimiterPool,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.config = config
        self.where = where
        self.target: Target = resolve(config, where=where)
        self.key = Key.of(self.target)
        self.limiter: Limiter = pool.get(self.target.account, config.limits)
        self.wire = Wire(self.target.base_url, self.key, transport=transport)
        self._desk = desk
        self._dice = random.Random()
        self._mean_completion_tokens = config.max_tokens / 4
        self._health = Health(where, model=self.target.model, key_place=self.key.place)
        self._probe = asyncio.Lock()

    @property
    def stopped(self) -> QRDistillError | None:
        """Why nothing more may be sent to this model, or None."""
        return self._health.stopped or self.limiter.stopped

    def stop(self, reason: QRDistillError) -> None:
        """Let no further call of ours start; others who share the limiter go on. The first reason stays."""
        self._health.stop(reason)

    async def ask(self, call: Call, *, rows: FurtherRows | None = None) -> Outcome:
        """Make a call, again where that can help.

        Args:
            call: what to ask.
            rows: further records to save with the attempt that succeeds.

        Raises:
            QRDistillError: the endpoint must not be used any more (key, quota, cap, down); what was in flight goes on.
        """
        if not self._health.is_proven:
            # The first call goes alone, so a bad key or a wrong address costs one call and not a whole volley.
            async with self._probe:
                if not self._health.is_proven:
                    return await self._ask(call, rows)
        return await self._ask(call, rows)

    async def _ask(self, call: Call, rows: FurtherRows | None) -> Outcome:
        attempts: list[Attempt] = []
        failure: Failure | None = None
        for number in range(1, self.config.limits.max_attempts + 1):
            if failure is not None:
                await self._rest(wait_s(failure, number - 1, self.config.limits, dice=self._dice))
            attempt, result = await self._attempt(call, rows)
            attempts.append(attempt)
            if isinstance(result, Completion):
                return Outcome(completion=result, failure=None, attempts=tuple(attempts), most_usd=self.most_usd(call))
            failure = result
            if (reason := self._health.heed(failure)) is not None:
                if not isinstance(reason, ProviderError):  # a bad key or an empty account stops everybody at this address
                    self.limiter.stop(reason)
                raise reason
            if not failure.is_retried:
                break
        return Outcome(completion=None, failure=failure, attempts=tuple(attempts))

    async def _attempt(self, call: Call, rows: FurtherRows | None) -> tuple[Attempt, Completion | Failure]:
        """One attempt: saved as "sent" and made ready first, so that it goes out the moment a place is free."""
        limits = self.config.limits
        most_usd = self.most_usd(call)
        likely = sum(likely_tokens(message["content"]) for message in call.messages) + round(self._mean_completion_tokens)
        async with contextlib.AsyncExitStack() as ready:
            await ready.enter_async_context(self.limiter.ready())
            attempt = new_attempt(call, most_usd)
            await self._book_out(call, attempt, most_usd)
            headers = {"X-Client-Request-Id": quote(attempt.id, safe="/:#@+=")}
            request = self.wire.request("POST", "/chat/completions", json=self.body(call), headers=headers)
            try:
                async with self.limiter.place(likely):
                    if self._health.stopped is not None:
                        raise afresh(self._health.stopped)
                    await ready.aclose()
                    attempt = dataclasses.replace(attempt, started_s=time.time())
                    exchange = await self.wire.exchange(request, deadline_s=limits.deadline_s)
            except QRDistillError:
                self._desk.back((dataclasses.replace(attempt, outcome=UNSENT, cost_usd=0.0),), most_usd)
                raise
        result: Completion | Failure = exchange.failure or self.read(exchange.body, call)
        self.limiter.report(result if isinstance(result, Failure) else None)
        attempt = self.ended(attempt, call, result)
        if isinstance(result, Completion):
            self.limiter.correct(likely, attempt.prompt_tokens + attempt.completion_tokens)
        further = rows(attempt, result) if rows is not None and isinstance(result, Completion) else ()
        self._desk.back((attempt, *further), most_usd)
        return attempt, result

    async def _book_out(self, call: Call, attempt: Attempt, most_usd: float) -> None:
        try:
            await self._desk.out((*call.rows, attempt), most_usd)
        except QRDistillError as error:
            self.limiter.stop(error)
            raise

    def most_usd(self, call: Call) -> float:
        """The most a call can cost."""
        return cost_usd(self.target.price, most_prompt_tokens(call.messages), call.max_tokens * call.n)

    def body(self, call: Call) -> dict[str, Any]:
        """The request body, as far as the server understands it."""
        can = self.target.capabilities
        # A lone surrogate is no text any server could decode.
        messages = [
            {name: text.encode("utf-8", "replace").decode("utf-8") for name, text in part.items()} for part in call.messages
        ]
        body: dict[str, Any] = {"model": self.target.model, "messages": messages}
        body[can.max_tokens_field] = call.max_tokens
        if can.temperature:
            body["temperature"] = call.temperature
        if can.top_p and call.top_p < 1:
            body["top_p"] = call.top_p
        if can.seed and call.seed >= 0:
            body["seed"] = call.seed
        if call.n > 1:
            body["n"] = call.n
        if can.json_schema and call.json_schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": dict(call.json_schema)}
        return {**body, **self.config.extra}

    def read(self, body: bytes, call: Call) -> Completion | Failure:
        """What a reply's body says, with the key blotted out."""
        result = read_completion(
            body, model=self.target.model, is_model_checked=self.target.capabilities.model_check, max_tokens=call.max_tokens
        )
        if isinstance(result, Failure):
            return dataclasses.replace(result, message=self.key.hide(result.message))
        choices = tuple(
            dataclasses.replace(
                choice,
                text=self.key.hide(choice.text),
                reasoning=self.key.hide(choice.reasoning),
                detail=self.key.hide(choice.detail),
            )
            for choice in result.choices
        )
        return dataclasses.replace(result, choices=choices, model=self.key.hide(result.model))

    def ended(self, attempt: Attempt, call: Call, result: Completion | Failure) -> Attempt:
        """The attempt as it ended. Tokens the server did not count (or counted absurdly) are guessed from the texts."""
        if isinstance(result, Failure):
            bill_usd = attempt.cost_usd if result.kind == "lost" else 0.0
            return dataclasses.replace(
                attempt, finished_s=time.time(), outcome=result.kind, message=result.message, cost_usd=bill_usd
            )
        prompt_tokens, completion_tokens = result.prompt_tokens, result.completion_tokens
        message = "; ".join(dict.fromkeys(choice.detail for choice in result.choices if choice.detail))
        if prompt_tokens < 0 or completion_tokens < 0:
            message = "; ".join(part for part in ("no usable token counts, guessed from the text", message) if part)
            prompt_tokens = sum(likely_tokens(part["content"]) for part in call.messages) if prompt_tokens < 0 else prompt_tokens
            written = sum(likely_tokens(choice.text + choice.reasoning) for choice in result.choices)
            completion_tokens = written if completion_tokens < 0 else completion_tokens
        self._mean_completion_tokens += 0.05 * (completion_tokens - self._mean_completion_tokens)
        state = result.choices[0].state
        self._health.notice(result)
        return dataclasses.replace(
            attempt,
            finished_s=time.time(),
            outcome="wrong_model" if state == "wrong_model" else "ok",
            message=message,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=cost_usd(self.target.price, prompt_tokens, completion_tokens),
        )

    async def _rest(self, seconds: float) -> None:
        """Wait before the next attempt, but not past the endpoint's end."""
        deadline_s = time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            if self.stopped is not None:
                raise afresh(self.stopped)
            await asyncio.sleep(min(left_s, 0.5))
        if self.stopped is not None:
            raise afresh(self.stopped)

    async def close(self) -> None:
        """Close the connections."""
        await self.wire.close()
