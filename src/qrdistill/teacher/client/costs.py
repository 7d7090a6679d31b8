"""What a run spent, read from its ledger."""

from __future__ import annotations

from dataclasses import dataclass

from qrdistill.store import Ledger
from qrdistill.teacher.client.classify import MAYBE_BILLED

_MAYBE = ", ".join(f"'{outcome}'" for outcome in sorted(MAYBE_BILLED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Money and calls. `billed` is certain; `maybe` is the most that calls without a whole reply may have cost."""

    billed_usd: float = 0.0
    maybe_usd: float = 0.0
    num_attempts: int = 0
    num_maybe: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def most_usd(self) -> float:
        """The most that can have been spent."""
        return self.billed_usd + self.maybe_usd


def spent_before(ledger: Ledger, *, owner: str = "") -> Spent:
    """Everything the ledger knows was spent: by teachers, or (`owner` is a judge's name, "*" all of them) by a judge.

    Attempts of a judge belong to the path "judge/NAME/PATH_ID"; all others are a teacher's.
    """
    mine = "judge/" if owner in {"", "*"} else f"judge/{owner}/"
    condition = f"instr(path_id, ?) {'!=' if not owner else '='} 1"
    sql = (
        f"SELECT total(iif(outcome IN ({_MAYBE}), 0, cost_usd)), total(iif(outcome IN ({_MAYBE}), cost_usd, 0)), count(*), "
        f"total(outcome IN ({_MAYBE})), total(prompt_tokens), total(completion_tokens) FROM attempts WHERE {condition}"
    )
    billed, maybe, attempts, num_maybe, prompt, completion = ledger.execute(sql, (mine,))[0]
    return Spent(
        billed_usd=billed,
        maybe_usd=maybe,
        num_attempts=attempts,
        num_maybe=int(num_maybe),
        prompt_tokens=int(prompt),
        completion_tokens=int(completion),
    )
