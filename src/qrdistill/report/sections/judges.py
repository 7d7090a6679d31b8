"""What each judge found, and how it did on the planted controls among the paths it read."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import get_args

from qrdistill.evaluation.stats import wilson
from qrdistill.quality.controls import CONTROL
from qrdistill.report.reading import rows, total, whole
from qrdistill.report.tables import NONE, Cell, Table, count, interval, percent, table
from qrdistill.report.text import as_text
from qrdistill.store import Run
from qrdistill.types import Decision

_DECISIONS: tuple[str, ...] = get_args(Decision)
LISTED = 20
"""At most so many disagreements are listed; all are in the ledger."""
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
    return (_findings(found), *((_controls(found),) if has_controls else ()), *_disagreements(run))


def _disagreements(run: Run) -> tuple[Table, ...]:
    """Paths that one model of a two-judge filter keeps and the other drops; their own verdicts carry an @ in the judge's name."""
    pairs = (
        "FROM judgements a JOIN judgements b ON b.path_id = a.path_id JOIN paths p ON p.id = a.path_id "
        "WHERE a.decision = 'keep' AND b.decision = 'drop' AND a.judge GLOB 'llm:*@*' AND b.judge GLOB 'llm:*@*'"
    )
    listed = f"SELECT p.question_id, p.style, a.judge, a.grade, b.judge, b.grade, b.step, b.reason {pairs} ORDER BY 1, 2 LIMIT ?"
    body: list[list[Cell | str]] = [
        [as_text(question), as_text(style), as_text(keeps), count(whole(high)), as_text(drops), count(whole(low)), as_text(why)]
        for question, style, keeps, high, drops, low, step, reason in rows(run, listed, (LISTED,))
        for why in [f"{as_text(step)}: {as_text(reason)}" if step else reason]
    ]
    if not body:
        return ()
    number = total(run, f"SELECT count(*) {pairs}")
    heads = ["Question", "Style", "Keeps", "Grade", "Drops", "Grade", "Why it drops"]
    note = f"The path is dropped. {count(min(number, LISTED))} of {count(number)} are listed."
    return (table("Where two judges disagree", heads, body, note=note),)


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
            [percent(bad["drop"] / bad.total()), interval(*wilson(bad["drop"], bad.total()))] if bad.total() else [NONE, NONE]
        )
        accepted = Cell(count(bad["keep"]), tone="warning" if bad["keep"] > 0.1 * bad.total() else "")
        body.append([judge, count(bad.total()), count(bad["drop"]), accepted, *caught, count(good.total()), count(good["drop"])])
    return table(
        "Each judge on planted controls",
        ["Judge", "Known bad", "Caught", "Accepted", "Caught share", "95% interval, %", "Known good", "Wrongly dropped"],
        body,
        note="Controls are hidden among the paths a judge reads: known-bad ones carry one false step and the right answer.",
    )
