"""What became of every path: from the teacher's reply to the training pool, with the reason of every drop and its price."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from qrdistill.config.tree import STYLES
from qrdistill.report.blocks import Fact, Facts, Figures, Prose, Section, Tables
from qrdistill.report.figures import stacked_bars
from qrdistill.report.reading import in_order, real, rows, total, whole
from qrdistill.report.sections.calls import call_tables
from qrdistill.report.tables import NONE, Cell, Table, count, dollars, percent, table
from qrdistill.report.text import as_text
from qrdistill.store import Run
from qrdistill.teacher.client.classify import MAYBE_BILLED
from qrdistill.types import PathState, Verdict

GATES = ("state", "answer", "duplicate", "judge", "other", "undecided")
"""Where a path can be lost, in the order of the funnel; "undecided" has no decision yet."""
MAX_COHORTS, MAX_REASONS = 60, 60
GATE_TITLES = {
    "state": "no usable reply",
    "answer": "answer not right",
    "duplicate": "duplicate",
    "judge": "judge",
    "other": "other rule",
    "undecided": "not decided yet",
}


def gate_of(reason: str) -> str:
    """The gate a drop reason belongs to.

    >>> [gate_of(reason) for reason in ("truncated", "differ", "duplicate_text", "judge_drop", "leak", "")]
    ['state', 'answer', 'duplicate', 'judge', 'other', 'undecided']
    """
    if not reason:
        return "undecided"
    name = reason.removeprefix("state_").removeprefix("answer_").removeprefix("verdict_")
    if name in get_args(PathState):
        return "state"
    if name in get_args(Verdict):
        return "answer"
    if name in ("drop", "unknown"):
        return "judge"
    return next((gate for gate in ("duplicate", "judge") if gate in reason), "other")


@dataclass(slots=True)
class Cohort:
    """The paths of one teacher and style: how many, why they were dropped, what they cost."""

    teacher: str
    style: str
    reasons: Counter[str] = field(default_factory=Counter)
    cost_usd: float = 0.0
    num_tokens: int = 0
    num_asked: int = 0
    """Cells of the grid; those without a path are holes."""

    @property
    def num_generated(self) -> int:
        """All paths of the cohort."""
        return sum(self.reasons.values())

    @property
    def num_kept(self) -> int:
        """Paths that may be trained on."""
        return self.reasons["kept"]

    def lost_at(self, gate: str) -> int:
        """Paths lost at a gate."""
        return sum(n for reason, n in self.reasons.items() if reason != "kept" and gate_of(reason) == gate)


def read_cohorts(run: Run) -> list[Cohort]:
    """Every teacher and style with its drop reasons, tokens and certain cost (what was perhaps billed is in the calls table)."""
    cohorts: dict[tuple[str, str], Cohort] = {}

    def cohort(teacher: object, style: object) -> Cohort:
        key = (as_text(teacher), as_text(style))
        return cohorts.setdefault(key, Cohort(*key))

    decided = (
        "SELECT p.teacher, p.style, coalesce(CASE WHEN d.is_kept THEN 'kept' ELSE d.reason END, ''), count(*), "
        "sum(p.completion_tokens), sum(p.cost_usd) FROM paths p LEFT JOIN decisions d ON d.path_id = p.id GROUP BY 1, 2, 3"
    )
    path_cost: dict[tuple[str, str], float] = defaultdict(float)
    for teacher, style, reason, number, tokens, cost in rows(run, decided):
        found = cohort(teacher, style)
        found.reasons[as_text(reason)] += whole(number)
        found.num_tokens += whole(tokens)
        path_cost[found.teacher, found.style] += real(cost)
    paid = (
        "SELECT r.teacher, r.style, sum(a.cost_usd) FROM attempts a JOIN requests r ON r.id = a.path_id "
        f"WHERE a.outcome NOT IN ({', '.join(repr(outcome) for outcome in sorted(MAYBE_BILLED))}) GROUP BY 1, 2"
    )
    attempt_cost = {(as_text(teacher), as_text(style)): real(cost) for teacher, style, cost in rows(run, paid)}
    for teacher, style, number in rows(run, "SELECT teacher, style, count(*) FROM requests GROUP BY 1, 2"):
        cohort(teacher, style).num_asked += whole(number)
    teachers = in_order([teacher for teacher, _ in cohorts], [teacher.name for teacher in run.config.generate.teachers])
    for key, found in cohorts.items():
        found.cost_usd = max(path_cost[key], attempt_cost.get(key, 0.0))
    styles = in_order([style for _, style in cohorts], [*run.config.generate.styles, *STYLES])
    return _merged([cohorts[teacher, style] for teacher in teachers for style in styles if (teacher, style) in cohorts])


def _merged(cohorts: Sequence[Cohort]) -> list[Cohort]:
    """The same paths in no more cohorts than a table can show; those beyond are counted together."""
    if len(cohorts) <= MAX_COHORTS:
        return list(cohorts)
    rest = Cohort("others", "others")
    for cohort in cohorts[MAX_COHORTS:]:
        rest.reasons.update(cohort.reasons)
        rest.cost_usd += cohort.cost_usd
        rest.num_tokens += cohort.num_tokens
        rest.num_asked += cohort.num_asked
    return [*cohorts[:MAX_COHORTS], rest]


def funnel_section(run: Run, cohorts: Sequence[Cohort]) -> Section:
    """The filter: facts, figure, funnel and reasons."""
    if not any(cohort.num_generated for cohort in cohorts):
        return Section("filter", "Paths and filter", (Prose("No paths yet: the generate stage has not begun.", "warning"),))
    blocks: list[Prose | Facts | Figures | Tables] = [_facts(run, cohorts)]
    if undecided := sum(cohort.lost_at("undecided") for cohort in cohorts):
        blocks.append(
            Prose(f"{count(undecided)} paths have no filter decision yet: the filter stage has not finished.", "warning")
        )
    gates = ["kept", *GATES]
    by_style: dict[str, list[int]] = {}
    for cohort in cohorts:
        numbers = [cohort.num_kept, *(cohort.lost_at(gate) for gate in GATES)]
        by_style[cohort.style] = [a + b for a, b in zip(by_style.get(cohort.style, [0] * len(gates)), numbers, strict=True)]
    names = ["kept", *(GATE_TITLES[gate] for gate in GATES)]
    figure = stacked_bars("Paths by style: kept, and where the others were dropped", names, list(by_style.items()), "Style")
    blocks += [Figures((figure,)), Tables((_funnel_table(cohorts),)), Tables((_reason_table(cohorts),))]
    blocks += [Tables((calls,)) for calls in call_tables(run)]
    return Section("filter", "Paths and filter", tuple(blocks))


def _facts(run: Run, cohorts: Sequence[Cohort]) -> Facts:
    generated, kept = sum(c.num_generated for c in cohorts), sum(c.num_kept for c in cohorts)
    cost = sum(c.cost_usd for c in cohorts)
    requested = total(run, "SELECT count(*) FROM requests")
    bare_sql = "SELECT count(*) FROM (SELECT question_id FROM decisions GROUP BY question_id HAVING max(is_kept) = 0)"
    bare, asked = total(run, bare_sql), total(run, "SELECT count(DISTINCT question_id) FROM decisions")
    return Facts(
        (
            Fact("paths generated", count(generated), f"{count(requested)} requested" if requested else ""),
            Fact("kept for training", count(kept), percent(kept / generated) + " of the generated" if generated else ""),
            Fact("questions without a kept path", count(bare), f"of {count(asked)}"),
            Fact("cost per kept path", dollars(cost / kept) if kept else "–", f"{dollars(cost)} in all, retries included"),
        )
    )


def _funnel_table(cohorts: Sequence[Cohort]) -> Table:
    has_other = any(c.lost_at("other") for c in cohorts)
    has_undecided = any(c.lost_at("undecided") for c in cohorts)
    whole_run = Cohort("all", "all styles")
    for cohort in cohorts:
        whole_run.reasons.update(cohort.reasons)
        whole_run.cost_usd += cohort.cost_usd
        whole_run.num_tokens += cohort.num_tokens
        whole_run.num_asked += cohort.num_asked
    gates = [
        "state",
        "answer",
        "duplicate",
        "judge",
        *(["other"] if has_other else []),
        *(["undecided"] if has_undecided else []),
    ]
    heads = ["Reply usable", "Answer right", "Not duplicate", "Judge lets pass", "Other rules"][: 4 + has_other]
    body = [_funnel_row(cohort, gates[: len(heads)], has_undecided) for cohort in [*cohorts, whole_run]]
    return table(
        "Filter funnel: how many paths pass each check, in order",
        [
            "Teacher",
            "Style",
            "Asked",
            "Generated",
            *heads,
            *(["Not decided"] if has_undecided else []),
            "Kept",
            "Kept share",
            "Tokens per kept",
            "Cost per kept",
            "Kept per dollar",
        ],
        body,
        num_headers=2,
        note=(
            "Tokens and cost per kept path include the paths that were dropped. Cells that were asked for and not generated are "
            "holes: every attempt failed, or the recording has no such path."
        ),
    )


def _funnel_row(cohort: Cohort, gates: Sequence[str], has_undecided: bool) -> list[Cell | str]:
    left = cohort.num_generated - cohort.lost_at("undecided")
    row: list[Cell | str] = [cohort.teacher, cohort.style, count(cohort.num_asked), count(cohort.num_generated)]
    for gate in gates:
        left -= cohort.lost_at(gate)
        row.append(count(left))
    if has_undecided:
        row.append(count(cohort.lost_at("undecided")))
    kept = cohort.num_kept
    share = percent(kept / cohort.num_generated) if cohort.num_generated else "–"
    tokens = count(round(cohort.num_tokens / kept)) if kept and cohort.num_tokens else NONE
    per_path = dollars(cohort.cost_usd / kept) if kept else NONE
    per_dollar = f"{kept / cohort.cost_usd:,.{0 if kept >= 10 * cohort.cost_usd else 2}f}" if cohort.cost_usd else NONE
    return [*row, count(kept), share, tokens, per_path, per_dollar]


def _reason_table(cohorts: Sequence[Cohort]) -> Table:
    styles = list(dict.fromkeys(cohort.style for cohort in cohorts))
    by_reason: dict[str, Counter[str]] = defaultdict(Counter)
    for cohort in cohorts:
        for reason, number in cohort.reasons.items():
            by_reason[reason][cohort.style] += number
    order = ["kept", *sorted((r for r in by_reason if r != "kept"), key=lambda r: (GATES.index(gate_of(r)), r))]
    for reason in order[MAX_REASONS:]:
        by_reason["all other reasons"].update(by_reason.pop(reason))
    order = [*order[:MAX_REASONS], *(["all other reasons"] if len(order) > MAX_REASONS else [])]
    body: list[list[Cell | str]] = []
    for reason in order:
        cells = [count(by_reason[reason][style]) if by_reason[reason][style] else NONE for style in styles]
        body.append([reason or "not decided yet", *cells, count(by_reason[reason].total())])
    sums = [count(sum(numbers[style] for numbers in by_reason.values())) for style in styles]
    body.append([Cell("generated"), *sums, count(sum(c.num_generated for c in cohorts))])
    return table("Every path has one outcome; each column adds up to what was generated", ["Outcome", *styles, "All"], body)
