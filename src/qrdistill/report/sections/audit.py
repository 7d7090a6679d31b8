"""The filter against hidden truth: which planted flaws it found, and how many sound paths it threw away.

Only the embedded teacher plants flaws; for other teachers there is no truth to compare with and the section says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from qrdistill.config.tree import STYLES
from qrdistill.evaluation.stats import wilson
from qrdistill.report.blocks import Block, Heading, Prose, Section, Tables
from qrdistill.report.reading import few, rows
from qrdistill.report.sections.funnel import gate_of
from qrdistill.report.sections.judges import judge_tables
from qrdistill.report.tables import NONE, Cell, Table, count, interval, percent, table
from qrdistill.report.text import as_text
from qrdistill.store import Run

FLAWS = {"wrong_answer": "wrong answer", "spurious_step": "false step, right answer", "none": "sound"}
_SQL = """
SELECT t.flaw, d.style, CASE WHEN d.is_kept THEN 'kept' ELSE d.reason END, t.step,
       (SELECT j.step FROM judgements j WHERE j.path_id = t.path_id AND j.decision = 'drop' ORDER BY j.judge LIMIT 1)
FROM planted t JOIN decisions d ON d.path_id = t.path_id
"""


def audit_section(run: Run) -> Section:
    """What the filter did with paths whose flaw is known."""
    found = [tuple(as_text(cell) for cell in row) for row in rows(run, _SQL)]
    judges = tuple(Tables((part,)) for part in judge_tables(run))
    if not found:
        text = "No planted flaws are known for these paths, so the filter as a whole cannot be audited against truth here."
        return Section("audit", "Filter audit", (Prose(text), *judges))
    outcomes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for flaw, style, reason, _, _ in found:
        outcomes[flaw, style]["kept" if reason == "kept" else gate_of(reason)] += 1
    blocks: list[Block | Heading] = [
        Prose("The embedded teacher planted flaws at known places. The pipeline never reads them; this audit does."),
        Tables((_outcome_table(outcomes),)),
        Tables((_style_table(run, outcomes), _step_table(found))),
        *judges,
    ]
    return Section("audit", "Filter audit", tuple(blocks))


def _outcome_table(outcomes: dict[tuple[str, str], Counter[str]]) -> Table:
    body: list[list[Cell | str]] = []
    for flaw, title in FLAWS.items():
        numbers = sum((counts for (name, _), counts in outcomes.items() if name == flaw), Counter[str]())
        by_answer, by_judge = numbers["answer"], numbers["judge"]
        dropped, n = by_answer + by_judge, by_answer + by_judge + numbers["kept"]
        if not n:
            continue
        low, high = wilson(dropped, n)
        is_good = (dropped / n <= 0.01) if flaw == "none" else dropped / n >= (0.99 if flaw == "wrong_answer" else 0.95)
        share = Cell(percent(dropped / n), tone="good" if is_good else "warning")
        unchecked = count(numbers.total() - n)
        body.append([title, count(n), count(dropped), share, interval(low, high), count(by_answer), count(by_judge), unchecked])
    return table(
        "Planted truth against the filter's checks",
        [
            "Planted",
            "Checked",
            "Dropped",
            "Dropped share",
            "95% interval, %",
            "By answer check",
            "By judge",
            "Set aside by other rules",
        ],
        body,
        note="Wanted: at least 99% of wrong answers and 95% of false steps dropped, at most 1% of sound paths. "
        "Duplicates and unusable replies are set aside without a verdict on their content.",
    )


def _style_table(run: Run, outcomes: dict[tuple[str, str], Counter[str]]) -> Table:
    styles = few([style for _, style in outcomes], [*run.config.generate.styles, *STYLES])
    body: list[list[Cell | str]] = []
    for style in styles:
        row: list[Cell | str] = [style]
        for flaw in FLAWS:
            numbers = outcomes.get((flaw, style), Counter())
            dropped = numbers["answer"] + numbers["judge"]
            n = dropped + numbers["kept"]
            row.append(f"{count(dropped)} of {count(n)}" if n else NONE)
        body.append(row)
    return table("Dropped of planted, by style", ["Style", *FLAWS.values()], body)


def _step_table(found: Sequence[tuple[str, ...]]) -> Table:
    """Whether the judge pointed at the planted step, not just at some step."""
    pairs = [
        (planted, named) for flaw, _, reason, planted, named in found if flaw == "spurious_step" and gate_of(reason) == "judge"
    ]
    same = sum(_is_same_step(planted, named) for planted, named in pairs)
    silent = sum(not named.strip() for _, named in pairs)
    body = [
        ["the planted step", count(same)],
        ["another step", count(len(pairs) - same - silent)],
        ["no step", count(silent)],
        ["together", count(len(pairs))],
    ]
    return table("Which step the judge named when it dropped a planted false step", ["Named", "Paths"], body)


def _is_same_step(planted: str, named: str) -> bool:
    a, b = " ".join(planted.split()), " ".join(named.split())
    return bool(a and b) and (a in b or b in a)
