"""What a call asks for and what comes of it: the records between teachers or judges and their endpoint."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from qrdistill.errors import QRDistillError
from qrdistill.teacher.client.classify import Failure
from qrdistill.teacher.client.desk import Row
from qrdistill.teacher.client.reply import Completion
from qrdistill.types import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one call asks for. `id` is the path's id; `rows` are saved together with the intent."""

    id: str
    messages: tuple[dict[str, str], ...]
    max_tokens: int
    temperature: float
    top_p: float = 1.0
    n: int = 1
    seed: int = -1
    """Negative: none."""
    json_schema: Mapping[str, Any] | None = None
    rows: tuple[Row, ...] = ()


FurtherRows = Callable[[Attempt, Completion], Iterable[Row]]
"""From an attempt and what it brought to the records that must be saved in the same transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a call: a completion, or why there is none; and every attempt that was made."""

    completion: Completion | None
    failure: Failure | None
    attempts: tuple[Attempt, ...]
    most_usd: float = 0.0
    """What was set aside for the last attempt."""


class Asker(Protocol):
    """What teachers and judges need of an endpoint, wherever its calls are made."""

    @property
    def stopped(self) -> QRDistillError | None:
        """Why nothing more may be sent, or None."""

    def stop(self, reason: QRDistillError) -> None:
        """Let no further call start."""

    async def ask(self, call: Call, *, rows: FurtherRows | None = None) -> Outcome:
        """See `Endpoint.ask`."""

    async def close(self) -> None:
        """Close the connections."""


def new_attempt(call: Call, most_usd: float) -> Attempt:
    """An attempt that is about to be sent; its cost is the most it can be."""
    now_s = time.time()
    id_ = f"{call.id}.{secrets.token_hex(6)}"
    return Attempt(id=id_, path_id=call.id, started_s=now_s, finished_s=now_s, outcome="sent", cost_usd=most_usd)


def messages_of(prompt: str) -> tuple[dict[str, str], ...]:
    """A single user message."""
    return ({"role": "user", "content": prompt},)
