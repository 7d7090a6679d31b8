"""Who learns from which style: routing rates per style and student, over time, by task family and by difficulty.

The paper's Figures 4 and 5 as heat maps that are tables: every cell shows its number, colour only helps the eye.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qrdistill.config.tree import STYLES
from qrdistill.report.blocks import Block, Heading, Prose, Section, Tables
from qrdistill.report.reading import few, real, rows, student_names, task_names, whole
from qrdistill.report.tables import NONE, Cell, Table, count, fixed, percent, table
from qrdistill.report.text import as_text
from qrdistill.store import Run

MAX_GROUPS = 24
PARTS = ("first third", "middle third", "last third")


@dataclass(frozen=True, slots=True)
class Rate:
    """Decisions of one cell: how many, the share routed, the mean gate probability and utility."""

    num: int
    routed: float
    prob: float
    utility: float


Group = tuple[str, ...]
"""What a column of a heat map stands for: a third, or a task and its family or level."""
Rates = Mapping[tuple[str, str, Group], Rate]
"""(student, style, group) -> rate."""


def routing_section(run: Run) -> Section:
    """The routing heat maps of a run."""
    span = rows(run, "SELECT min(step), max(step), count(*) FROM routes")
    if not span or not span[0][2]:
        return Section(
            "routing", "Routing", (Prose("No routing decisions yet: the train stage has not recorded any.", "warning"),)
        )
    low, high, num = (whole(cell) for cell in span[0])
    part = f"min(2, (r.step - {low}) * 3 / {high - low + 1})"
    thirds = _rates(run, part)
    present = sorted({group for _, _, group in thirds})
    last = present[-1][0]
    late = f"WHERE {part} = {last}"
    blocks: list[Block | Heading] = [
        Prose(
            f"{count(num)} decisions over optimizer steps {count(low)} to {count(high)}. A cell is the share of its paths that "
            "were routed to the student; equal columns mean that the router tells no styles apart."
        ),
        Heading("Routing rate by style, over time"),
        Tables(_maps(run, thirds, present, "Share of paths routed to {}", lambda key: PARTS[int(key[0])])),
        Heading(f"Gate probability and measured utility, {PARTS[int(last)]}"),
        Tables((_late_table(run, thirds, (last,)),)),
    ]
    families = _rates(run, "q.task, q.family", late)
    blocks.append(Heading(f"By task family, {PARTS[int(last)]}"))
    blocks += _grouped(run, families, "task family", _family_title, _family_order(run))
    levels = _rates(run, "q.task, q.level", late + " AND q.level != ''")
    if len({group for _, _, group in levels}) > 1:
        blocks.append(Heading(f"By difficulty, {PARTS[int(last)]}"))
        blocks += _grouped(run, levels, "level", " · ".join, _family_order(run))
    return Section("routing", "Routing", tuple(blocks))


def _rates(run: Run, group: str, where: str = "") -> Rates:
    """Rates by student, style and a list of columns (texts are grouped as they are: joining them could break their encoding)."""
    join = " JOIN questions q ON q.id = d.question_id" if "q." in group else ""
    sql = (
        "SELECT count(*), avg(r.is_routed), avg(r.prob), avg(r.utility), r.student, d.style, "
        f"{group} FROM routes r JOIN decisions d ON d.path_id = r.path_id{join} {where} GROUP BY r.student, d.style, {group}"
    )
    return {
        (as_text(student), as_text(style), tuple(map(as_text, key))): Rate(whole(num), real(routed), real(prob), real(utility))
        for num, routed, prob, utility, student, style, *key in rows(run, sql)
    }


def _maps(run: Run, rates: Rates, groups: Sequence[Group], caption: str, title: Callable[[Group], str]) -> tuple[Table, ...]:
    """One heat map a student: styles down, groups across."""
    styles = few([style for _, style, _ in rates], [*run.config.generate.styles, *STYLES])
    maps = []
    for student in few([student for student, _, _ in rates], student_names(run)):
        body: list[list[Cell | str]] = []
        for style in styles:
            cells = [rates.get((student, style, group)) for group in groups]
            body.append([style, *(NONE if rate is None else Cell(percent(rate.routed, 0), heat=rate.routed) for rate in cells)])
        sizes = [sum(rate.num for (who, _, g), rate in rates.items() if who == student and g == group) for group in groups]
        body.append([Cell("decisions", tone="muted"), *(Cell(count(size), tone="muted") for size in sizes)])
        maps.append(table(caption.format(student), ["Style", *(title(group) for group in groups)], body))
    return tuple(maps)


def _late_table(run: Run, thirds: Rates, last: Group) -> Table:
    students = few([student for student, _, _ in thirds], student_names(run))
    styles = few([style for _, style, _ in thirds], [*run.config.generate.styles, *STYLES])
    body: list[list[Cell | str]] = []
    for style in styles:
        for student in students:
            rate = thirds.get((student, style, last))
            if rate is not None:
                row = [
                    percent(rate.routed),
                    fixed(rate.prob),
                    fixed(rate.utility).replace("–", "not measured"),
                    count(rate.num),
                ]
                body.append([style, student, *row])
    return table(
        "What the router decided, and the utility it was shown",
        ["Style", "Student", "Routed", "Mean gate probability", "Mean utility", "Decisions"],
        body,
        num_headers=2,
        note="Utility is standardised within each question: above 0 means better for this student than its other paths.",
    )


def _grouped(
    run: Run, rates: Rates, what: str, title: Callable[[Group], str], order: Callable[[Group], tuple[object, ...]]
) -> list[Block]:
    groups = sorted({group for _, _, group in rates}, key=order)
    blocks: list[Block] = []
    if len(groups) > MAX_GROUPS:
        blocks.append(Prose(f"The first {MAX_GROUPS} of {len(groups)} columns are shown; the ledger has all."))
    caption = f"Share of paths routed to {{}}, by {what}"
    return [*blocks, Tables(_maps(run, rates, groups[:MAX_GROUPS], caption, title))]


def _family_title(key: Group) -> str:
    task, family = key
    return task if family in ("", task) else f"{task} · {family}"


def _family_order(run: Run) -> Callable[[Group], tuple[object, ...]]:
    known = task_names(run)

    def order(key: Group) -> tuple[object, ...]:
        task, rest = key
        place = known.index(task) if task in known else len(known)
        is_number = rest.lstrip("-").replace(".", "", 1).isdecimal()
        return place, task, not is_number, float(rest) if is_number else 0.0, rest

    return order
