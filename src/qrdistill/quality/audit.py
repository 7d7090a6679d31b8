"""How well the filter did where the truth is known: the flaws the embedded teacher planted.

Only audits and tests read the hidden truth; no stage does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from qrdistill.store import Run
from qrdistill.types import FilterDecision, Flaw, PlantedFlaw


@dataclass(frozen=True, slots=True, kw_only=True)
class FlawAudit:
    """What became of the paths with one sort of flaw ("none": of the clean ones)."""

    flaw: Flaw
    num_paths: int
    num_dropped: int
    missed: tuple[str, ...] = field(default=())
    """Ids of flawed paths that were kept, or of clean paths that were dropped."""


def audit_filter(run: Run) -> dict[Flaw, FlawAudit]:
    """Compare the filter's decisions of a run with the planted truth."""
    return audit_decisions(run.ledger.iterate(PlantedFlaw), run.ledger.all(FilterDecision))


def audit_decisions(planted: Iterable[PlantedFlaw], decisions: Iterable[FilterDecision]) -> dict[Flaw, FlawAudit]:
    """Compare decisions with the planted truth; paths without a known truth are left out."""
    kept = {decision.path_id: decision.is_kept for decision in decisions}
    totals: Counter[Flaw] = Counter()
    dropped: Counter[Flaw] = Counter()
    missed: dict[Flaw, list[str]] = {}
    for truth in planted:
        if truth.path_id not in kept:
            continue
        is_kept = kept[truth.path_id]
        totals[truth.flaw] += 1
        dropped[truth.flaw] += not is_kept
        if is_kept != (truth.flaw == "none"):
            missed.setdefault(truth.flaw, []).append(truth.path_id)
    flaws: tuple[Flaw, ...] = ("none", "wrong_answer", "spurious_step")
    return {
        flaw: FlawAudit(flaw=flaw, num_paths=totals[flaw], num_dropped=dropped[flaw], missed=tuple(missed.get(flaw, ())))
        for flaw in flaws
    }
