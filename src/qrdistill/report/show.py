"""A run at a glance: what is done, how much there is, scores, filter, routes and team, where the files are, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from qrdistill.report.blocks import Section, Tables
from qrdistill.report.reading import rows, some_question, total, whole
from qrdistill.report.sections.funnel import funnel_section, read_cohorts
from qrdistill.report.sections.provenance import flat
from qrdistill.report.sections.results import ARMS, headline, read_results
from qrdistill.report.sections.routing import routing_section
from qrdistill.report.sections.team import team_section
from qrdistill.report.tables import count, interval, percent
from qrdistill.report.text import as_text, visible
from qrdistill.store import STAGES, Run


def show(run: Run) -> dict[str, Any]:
    """The state of a run as plain JSON values."""
    results = read_results(run)
    splits = rows(run, "SELECT split, count(*) FROM questions GROUP BY 1")
    todo = [stage for stage in STAGES if not run.is_done(stage)]
    folder = shlex.quote(str(run.folder))
    following = (
        f"qrdistill {todo[0]} {folder}"
        if todo
        else f"open {folder}/report.html, or: qrdistill explain {folder} {some_question(run)}"
    )
    return {
        "name": run.config.name,
        "folder": str(run.folder),
        "seed": run.config.seed,
        "stages": [{"stage": stage, "is_done": run.is_done(stage), "summary": run.summary(stage)} for stage in STAGES],
        "counts": {
            "questions": {as_text(split): whole(num) for split, num in splits},
            "requests": total(run, "SELECT count(*) FROM requests"),
            "paths": total(run, "SELECT count(*) FROM paths"),
            "kept": total(run, "SELECT count(*) FROM decisions WHERE is_kept"),
            "dropped": total(run, "SELECT count(*) FROM decisions WHERE NOT is_kept"),
            "routes": total(run, "SELECT count(*) FROM routes"),
            "predictions": total(run, "SELECT count(*) FROM predictions"),
        },
        "headline": headline(run, results),
        "scores": [{name: getattr(score, name) for name in score.__dataclass_fields__} for score in results.scores],
        "tables": _tables([funnel_section(run, read_cohorts(run)), routing_section(run), team_section(run, results)]),
        "files": _files(run),
        "next": following,
    }


_SHOWN = ("Every path has one outcome", "Share of paths routed to", "What the router decided", "Team against", "Who is right")
"""How the captions begin of the report's tables that a terminal shows as well."""


def _tables(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """The report's tables that fit a terminal, as plain values: caption, columns, rows."""
    found = [table for section in sections for block in section.blocks if isinstance(block, Tables) for table in block.tables]
    return [
        {
            "caption": table.caption,
            "columns": [column.title for column in table.columns],
            "rows": [[cell.text for cell in row] for row in table.rows],
        }
        for table in found
        if table.caption.startswith(_SHOWN) and ", by " not in table.caption
    ]


def _files(run: Run) -> list[str]:
    """What lies in the run folder, the report first; not the lock and not what is hidden or belongs to SQLite's journal."""
    names = [path.name for path in run.folder.iterdir()] if run.folder.is_dir() else []
    shown = [name for name in names if name != "lock" and not name.startswith(".") and not name.endswith(("-wal", "-shm"))]
    return [str(run.folder / name) for name in sorted(shown, key=lambda name: (not name.startswith("report"), name))]


def render_show(state: dict[str, Any]) -> RenderableType:
    """What `show` gives, as something rich can print."""
    stages = Table(title="stages", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for title in ("stage", "state", "noted"):
        stages.add_column(title)
    for row in state["stages"]:
        brief = {key: value for key, value in row["summary"].items() if isinstance(value, int | float) and value}
        said = ", ".join(f"{key.removeprefix('num_').replace('_', ' ')} {value}" for key, value in flat(brief).items())
        stages.add_row(
            row["stage"], Text("finished", "green") if row["is_done"] else Text("not finished", "yellow"), _words(said)
        )
    counts = "  ".join(f"{name} {count(number)}" for name, number in flat_counts(state["counts"]).items())
    parts: list[RenderableType] = [
        _words(f"{state['name']} (seed {state['seed']}) in {state['folder']}", "bold"),
        stages,
        _words(counts),
    ]
    if state["scores"]:
        parts += [_scores(state), _words(state["headline"])]
    parts += [_table(**given) for given in state["tables"]]
    parts += [_words(f"files: {', '.join(state['files'])}", "dim"), _words(f"next: {state['next']}", "bold")]
    return Group(*parts)


def flat_counts(counts: dict[str, Any]) -> dict[str, int]:
    """The counts with the questions' splits beside them."""
    questions = {f"{split} questions": number for split, number in counts["questions"].items()}
    return {**questions, **{name: number for name, number in counts.items() if name != "questions"}}


def _scores(state: dict[str, Any]) -> Table:
    table = Table(title="scores, all tasks", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for title in ("student", "arm", "accuracy", "95% interval", "n", "unparsed", "truncated"):
        table.add_column(title, justify="left" if title in ("student", "arm") else "right")
    for score in (score for score in state["scores"] if score["task"] == "all"):
        table.add_row(
            _words(score["student"]),
            _words(ARMS.get(score["arm"], score["arm"])),
            percent(score["accuracy"]),
            interval(score["low"], score["high"]),
            count(score["n"]),
            percent(score["unparsed_frac"]),
            percent(score["truncated_frac"]),
        )
    return table


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=visible(caption), title_justify="left", box=None, pad_edge=False, header_style="dim")
    for number, title in enumerate(columns):
        is_words = any(row[number][-1:].isalpha() for row in rows)
        table.add_column(_words(title), justify="left" if is_words else "right")
    for row in rows:
        table.add_row(*(_words(cell) for cell in row))
    return table


def _words(text: str, style: str = "") -> Text:
    return Text(visible(text), style)
