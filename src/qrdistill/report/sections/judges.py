"""What each judge found, and how it did on the planted controls among the paths it read."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import get_args

from qrdistill.quality.controls import CONTROL
from qrdistill.report.reading import rows, whole
from qrdistill.report.statistics import wilson_interval
from qrdistill.report.tables import NONE, Cell, Table, count, interval, percent, table
from qrdistill.report.text import as_text
from qrdistill.store import Run
from qrdistill.types import Decision

_DECISIONS: tuple[str, ...] = get_args(Decision)
_SORTS = {f"{CONTROL}bad/": "bad", f"{CONTROL}good/": "good"}


def judge_tables(run: Run) -> tuple[Table, ...]:
    """Findings of every judge, and a table of their controls where there were any."""
    found: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    sort = " ".join(f"WHEN substr(path_id, 1, {len(prefix)}) = '{prefix}' THEN '{name}'" for prefix, name in _SORTS.items())
    sql = f"SELECT judge, CASE {sort} ELSE 'path' END, decision, count(*) FROM judgements GROUP BY 1, 2, 3"
    for judge, what, decision, number in rows(run, sql):
        found[as_text(judge)][as_text(what)][as_text(decision)] += whole(number)
    if not found:
        return ()
    has_controls = any(numbers["bad"] or numbers["good"] for numbers in found.values())
    return (_findings(found), *((_controls(found),) if has_controls else ()))


def _findings(found: dict[str, dict[str, Counter[str]]]) -> Table:
    body: list[list[Cell | str]] = []
    for judge, numbers in sorted(found.items()):
        paths = numbers["path"]
        shares = (
            [percent(paths["drop"] / paths.total()), percent(paths["unknown"] / paths.total())] if paths.total() else [NONE, NONE]
        )
        body.append([judge, count(paths.total()), *(count(paths[name]) for name in _DECISIONS), *shares])
    return table(
        "What each judge found in the paths it read",
        ["Judge", "Read", *_DECISIONS, "Share drop", "Share unknown"],
        body,
        note="An unknown is excluded from training like a drop, but told apart from it.",
    )


def _controls(found: dict[str, dict[str, Counter[str]]]) -> Table:
    body: list[list[Cell | str]] = []
    for judge, numbers in sorted(found.items()):
        bad, good = numbers["bad"], numbers["good"]
        if not bad.total() + good.total():
            continue
        caught = (
            [percent(bad["drop"] / bad.total()), interval(*wilson_interval(bad["drop"], bad.total()))]
            if bad.total()
            else [NONE, NONE]
        )
        accepted = Cell(count(bad["keep"]), tone="warning" if bad["keep"] > 0.1 * bad.total() else "")
        body.append([judge, count(bad.total()), count(bad["drop"]), accepted, *caught, count(good.total()), count(good["drop"])])
    return table(
        "Each judge on planted controls",
        ["Judge", "Known bad", "Caught", "Accepted", "Caught share", "95% interval, %", "Known good", "Wrongly dropped"],
        body,
        note="Controls are hidden among the paths a judge reads: known-bad ones carry one false step and the right answer.",
    )
