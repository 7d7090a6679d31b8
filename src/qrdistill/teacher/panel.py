"""The live panel of a generate stage: what is done, what failed and why, what it cost so far and what it will cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from qrdistill.teacher.base import Reply
from qrdistill.teacher.client.classify import MAYBE_BILLED

IsRight = Callable[[Reply], bool | None]
"""Whether a reply's answer is right; None where finding out is not cheap."""


@dataclass(slots=True)
class Panel:
    """Counts replies as they come. All figures are of this process; what earlier ones did is in the ledger."""

    total: int
    """Requests that had no path when the stage began."""
    is_right: IsRight | None = None
    clock: Callable[[], float] = time.monotonic
    states: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    """Failed attempts by class, also where a later attempt came through."""
    right: int = 0
    graded: int = 0
    holes: int = 0
    tokens: int = 0
    spent_usd: float = 0.0
    maybe_usd: float = 0.0
    started_s: float = 0.0

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    @property
    def answered(self) -> int:
        """Requests that are through, with a path or without."""
        return self.states.total() + self.holes

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        for attempt in reply.attempts:
            if attempt.outcome in MAYBE_BILLED:
                self.maybe_usd += attempt.cost_usd
            else:
                self.spent_usd += attempt.cost_usd
            if attempt.outcome not in {"ok", "wrong_model"}:
                self.failures[attempt.outcome] += 1
            self.tokens += attempt.prompt_tokens + attempt.completion_tokens
        if reply.path is None:
            self.holes += 1
            return
        self.states[reply.path.state] += 1
        if reply.path.state == "done" and self.is_right is not None and (is_right := self.is_right(reply)) is not None:
            self.graded += 1
            self.right += is_right

    @property
    def left_s(self) -> float:
        """Seconds to the end at the pace so far; 0 before anything came."""
        return (self.clock() - self.started_s) / self.answered * (self.total - self.answered) if self.answered else 0.0

    @property
    def projected_usd(self) -> float:
        """What the whole piece of work will have cost at the price per request so far."""
        return self.spent_usd / self.answered * self.total if self.answered else 0.0

    def line(self) -> str:
        """Everything on one line.

        >>> panel = Panel(total=4, clock=lambda: 0.0)
        >>> panel.line()
        '0 of 4 requests: 0 done'
        """
        parts = [f"{self.answered} of {self.total} requests: {self.states['done']} done"]
        if self.graded:
            parts.append(f"{self.right / self.graded:.0%} right")
        parts += [f"{count} {state.replace('_', ' ')}" for state, count in sorted(self.states.items()) if state != "done"]
        if self.holes:
            parts.append(f"{self.holes} without a path")
        if self.failures:
            parts.append("failed attempts: " + ", ".join(f"{name} {count}" for name, count in sorted(self.failures.items())))
        if self.tokens:
            parts.append(f"{self.tokens:,} tokens")
        if self.spent_usd:
            parts.append(f"{self.spent_usd:.4f} USD spent, about {self.projected_usd:.2f} at the end")
        if self.maybe_usd:
            parts.append(f"at most {self.maybe_usd:.4f} USD for replies that never came")
        if self.answered and self.answered < self.total:
            parts.append(f"about {self.left_s / 60:.1f} min left")
        return ", ".join(parts)
