"""Money: what a call costs, hard caps, and what was spent.

A call reserves the most it can cost before it is sent and settles to its bill when it ends, so a cap holds with any number of
calls in flight. A call whose reply was never seen whole keeps its reservation: it may have been billed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from qrdistill.config.endpoints import PriceConfig
from qrdistill.errors import ConfigError, PausedError

_NOTHING_USD = 1e-9
_TOKEN_OVERHEAD = 16
"""Tokens a chat template may add to a message."""


def cost_usd(price: PriceConfig | None, prompt_tokens: int, completion_tokens: int) -> float:
    """Price of a call in dollars; 0 when no price is known."""
    if price is None:
        return 0.0
    tokens_usd = prompt_tokens * price.prompt_usd_per_million + completion_tokens * price.completion_usd_per_million
    return tokens_usd / 1e6


def most_prompt_tokens(messages: Sequence[dict[str, str]]) -> int:
    """A bound on the prompt's tokens without its tokenizer: no tokenizer makes more tokens than UTF-8 bytes."""
    return sum(len(message["content"].encode("utf-8", "replace")) + _TOKEN_OVERHEAD for message in messages)


def likely_tokens(text: str) -> int:
    """A guess at the tokens of a text: four UTF-8 bytes each (English, most tokenizers within a third)."""
    return max(1, len(text.encode("utf-8", "replace")) // 4)


@dataclass(slots=True)
class Cap:
    """One hard cap. `spent_usd` starts with what earlier processes spent under it."""

    name: str
    """The setting, as a user would write it (budget.generate_usd)."""
    limit_usd: float
    """0: no cap."""
    spent_usd: float = 0.0


@dataclass(slots=True)
class Meter:
    """What has been spent, and what calls in flight may still cost, under every cap that applies."""

    caps: list[Cap] = field(default_factory=list)
    spent_usd: float = 0.0
    """Billed by replies we saw, in this process."""
    maybe_usd: float = 0.0
    """Most that attempts without a whole reply may have cost, in this process."""
    reserved_usd: float = 0.0
    """Most that calls in flight can cost."""
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def is_capped(self) -> bool:
        """Whether any cap is set."""
        return any(cap.limit_usd > 0 for cap in self.caps)

    @property
    def room_usd(self) -> float:
        """What may still be reserved under every cap."""
        rooms = [cap.limit_usd - cap.spent_usd - self.reserved_usd for cap in self.caps if cap.limit_usd > 0]
        return min(rooms, default=math.inf)

    def adopt(self, most_usd: float) -> None:
        """Take over a call that an earlier process made and that is still under way: booked as spent, now reserved."""
        self.reserved_usd += most_usd
        for cap in self.caps:
            cap.spent_usd = max(0.0, cap.spent_usd - most_usd)

    async def reserve(self, most_usd: float) -> None:
        """Set money aside for a call, waiting for calls in flight to settle when only their reservations stand in its way.

        Raises:
            PausedError: the call could break a cap.
        """
        while cap := next((cap for cap in self.caps if 0 < cap.limit_usd < cap.spent_usd + self.reserved_usd + most_usd), None):
            if self.reserved_usd == 0 or cap.spent_usd + most_usd > cap.limit_usd:
                raise PausedError(
                    f"{cap.name} is {cap.limit_usd:.4f} USD, {cap.spent_usd:.4f} are spent and the next call may cost "
                    f"{most_usd:.4f}; raise the cap, then run the same command again"
                )
            settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(settled)
            await settled
        self.reserved_usd += most_usd

    def settle(self, most_usd: float, bill_usd: float, *, is_maybe: bool = False) -> None:
        """End a call: give its reservation back and book its bill, or (`is_maybe`) what may have been billed."""
        self.reserved_usd -= most_usd
        if self.reserved_usd < _NOTHING_USD:  # what rounding leaves
            self.reserved_usd = 0.0
        if is_maybe:
            self.maybe_usd += bill_usd
        else:
            self.spent_usd += bill_usd
        for cap in self.caps:
            cap.spent_usd += bill_usd
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            if not settled.done():
                settled.set_result(None)


def require_price(price: PriceConfig | None, meter: Meter, *, where: str) -> None:
    """Insist on a price when a cap is set.

    Raises:
        ConfigError: a cap is set and the price is not known, so the cap could not hold.
    """
    if price is None and meter.is_capped:
        capped = next(cap.name for cap in meter.caps if cap.limit_usd > 0)
        raise ConfigError(
            f"{where}: {capped} is set but the price is unknown; "
            "add `price: {prompt_usd_per_million: .., completion_usd_per_million: ..}`, or `price: free`"
        )
