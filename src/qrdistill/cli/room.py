"""How the memory planner's prediction is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qrdistill.cli.output import table
from qrdistill.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qrdistill.planning import Plan
    from qrdistill.store import Run
    from qrdistill.training.dry import DryStep

_GOOD = 0.15
"""Largest deviation of a measurement from the prediction that needs no remark."""


def room_lines(planned: Plan) -> list[RenderableType]:
    """What training takes in memory, student by student, and how much of a step it can keep."""
    if planned.room is None:
        return [f"memory at least {planned.memory_bytes / 1e9:.1f} GB (weights, gradients and optimizer; steps come on top)"]
    memory, available = planned.room.memory, planned.room.available

    def shown(size: int) -> str:
        return f"{size / 1e9:.2f} GB"

    rows: list[tuple[str, ...]] = [
        (one.name, shown(one.weights), shown(one.trained), shown(one.graph), str(one.step_tokens)) for one in memory.students
    ]
    whole, least = memory.peaks[0], memory.peaks[-1]
    there = f", {shown(available)} are there" if available is not None else ""
    kept = [f"{one.name} {limit} tokens" for one, limit in zip(memory.students, planned.room.graph_tokens, strict=True) if limit]
    way = f"in pieces: {', '.join(kept)} at once" if kept else "a whole step at once"
    outcome = "it does not fit" if planned.room.problem else way
    return [
        table("", ("student", "weights", "trained state", "largest step", "its tokens"), rows),
        f"memory of training on the {'GPU' if memory.device == 'cuda' else 'CPU'}, by {planned.room.basis}: {shown(whole)} at "
        f"the peak, at least {shown(least)} with one path at a time{there}; {outcome}",
    ]


def take_dry_step(run: Run | None, planned: Plan) -> DryStep | None:
    """Measure the largest step of a run; None while something stands in its way.

    Raises:
        UsageError: there are no kept paths to take it on.
    """
    if run is None or not run.is_done("filter"):
        raise UsageError("check --dry-step needs a run whose paths are kept; make one with: qrdistill run RECIPE --until filter")
    if planned.problems:
        return None
    from qrdistill.training.dry import dry_step

    return dry_step(run)


def dry_lines(planned: Plan, measured: DryStep) -> list[RenderableType]:
    """What a dry step took, beside what was predicted."""
    line = f"dry step: {measured.peak_bytes / 1e9:.2f} GB, {measured.step_s:.1f} s for the largest step"
    if planned.room is None:
        return [line]
    deviation = measured.peak_bytes / planned.room.memory.peaks[0] - 1
    remark = "" if abs(deviation) <= _GOOD else "; take the measured number"
    return [f"{line} ({deviation:+.0%} against the prediction{remark})"]
