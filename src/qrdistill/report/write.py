"""The report stage: read the run folder, write report.html and report.md beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qrdistill.config import content_hash
from qrdistill.errors import UsageError
from qrdistill.progress import SILENT, Progress
from qrdistill.report.blocks import Browser, Section
from qrdistill.report.browser import BrowserData, browser_data
from qrdistill.report.explain import Story, stories
from qrdistill.report.markdown import render_markdown
from qrdistill.report.page import render_page
from qrdistill.report.reading import questions_of, rows, total
from qrdistill.report.sections.audit import audit_section
from qrdistill.report.sections.compare import compare_section
from qrdistill.report.sections.control import control_among, control_blocks, control_rows
from qrdistill.report.sections.funnel import funnel_section, read_cohorts
from qrdistill.report.sections.provenance import WORK, missing_stages, provenance_section
from qrdistill.report.sections.results import headline, read_results, results_section
from qrdistill.report.sections.routing import routing_section
from qrdistill.report.sections.team import team_section
from qrdistill.report.sections.training import training_section
from qrdistill.report.tables import count
from qrdistill.report.text import as_text
from qrdistill.store import Run, write_text

VERSION = "2"
"""Raised when the same ledger gives another page."""


def write_report(runs: Sequence[Run], *, progress: Progress = SILENT) -> Path:
    """Write report.html and report.md into the first run's folder.

    The stage is skipped when nothing it reads has changed. On an unfinished run the report says what is missing and shows the
    rest, and the stage stays open. The same ledger always gives the same bytes.

    Args:
        runs: the run to report on, and any others to set beside it.
        progress: is told how many questions have been read.

    Returns:
        The path of report.html.

    Raises:
        UsageError: no run was given.
        RunInUseError: another process owns the first run's folder.
        StorageError: the disk refuses.
    """
    if not runs:
        raise UsageError("no run to report on; give at least one run folder")
    first = runs[0]
    page, text = first.folder / "report.html", first.folder / "report.md"
    with first.owned():
        inputs = _inputs(runs)
        if first.is_done("report") and first.summary("report").get("inputs") == inputs and page.is_file() and text.is_file():
            return page
        missing = missing_stages(first)
        if not missing:
            first.begin("report")
        num_questions = total(first, "SELECT count(*) FROM questions")
        progress.start(num_questions, "report")
        try:
            title, lead, warnings, sections = _contents(runs)
            browser: BrowserData | None = browser_data(first, progress.advance) if num_questions else None
            samples = _samples(first, first.config.report.num_sample_questions)
            write_text(page, render_page(title, lead, warnings, sections, browser))
            write_text(text, render_markdown(title, [*lead, *warnings], sections, samples))
        finally:
            progress.stop()
        if not missing:
            first.finish("report", {"inputs": inputs, "num_questions": num_questions, "num_runs": len(runs)})
    return page


def _inputs(runs: Sequence[Run]) -> str:
    """Hash of what the report depends on: its own version, and for each run the config and when each stage finished."""
    states = [[run.config.model_dump(mode="json"), *(_noted(run, stage) for stage in WORK)] for run in runs]
    return content_hash([VERSION, states])


def _noted(run: Run, stage: str) -> Any:
    found = rows(run, "SELECT value FROM notes WHERE key = ?", [f"stage/{stage}"])
    return as_text(found[0][0]) if found else ""


def _contents(runs: Sequence[Run]) -> tuple[str, list[str], list[str], list[Section]]:
    first = runs[0]
    results = [read_results(run) for run in runs]
    cohorts = read_cohorts(first)
    missing = missing_stages(first)
    place = control_among(runs)
    control, its = (None, None) if place is None else (runs[place], results[place])
    lead = [
        headline(first, results[0]),
        _about(first, cohorts_kept=sum(c.num_kept for c in cohorts), generated=sum(c.num_generated for c in cohorts)),
    ]
    warnings = []
    if missing:
        warnings.append(f"This run is not finished: {', '.join(missing)} still to do for this config. What is shown may change.")
    warnings += [line for run in runs for line in _overrides(run, is_named=len(runs) > 1)]
    sections = [compare_section(runs, results)] if len(runs) > 1 else []
    sections += [
        results_section(
            first, results[0], rows=control_rows(first, results[0], its), more=control_blocks(first, results[0], control, its)
        ),
        funnel_section(first, cohorts),
        audit_section(first),
        routing_section(first),
        training_section(first),
        team_section(first, results[0]),
        Section("paths", "Questions and their paths", (Browser(),)),
        provenance_section(first),
    ]
    title = first.config.name if len(runs) == 1 else f"{first.config.name} and {len(runs) - 1} more"
    return title, lead, warnings, sections


def _overrides(run: Run, *, is_named: bool) -> list[str]:
    """Safeguards the recipe switched off, as warnings."""
    leaks = run.summary("filter").get("num_leaks_allowed")
    counted = f" ({count(leaks)} of them)" if isinstance(leaks, int) else ""
    whose = f"{run.config.name}: " if is_named else ""
    return [f"{whose}A safeguard is off, these scores do not compare with others: {line}{counted}." for line in run.overrides()]


def _about(run: Run, *, cohorts_kept: int, generated: int) -> str:
    policy, judge = run.config.method.policy.kind, run.config.filter.judge.kind
    students = ", ".join(student.name for student in run.config.students)
    return (
        f"Students: {students}. Training pool: {cohorts_kept:,} of {generated:,} reasoning paths in "
        f"{len(run.config.generate.styles)} styles, judged by {judge.replace('_', ' ')}, "
        f"routed by {policy}. Seed {run.config.seed}."
    )


def _samples(run: Run, number: int) -> list[Story]:
    """Sample questions for report.md: half with paths and half with answers, spread over the ids."""
    chosen: list[str] = []
    for table, size in (("paths", number - number // 2), ("predictions", number // 2)):
        ids = [as_text(row[0]) for row in rows(run, f"SELECT DISTINCT question_id FROM {table} ORDER BY 1")]
        pitch = max(1, len(ids) // size) if size else 1
        chosen += [name for name in ids[::pitch][:size] if name not in chosen]
    if not chosen:
        return []
    by_id = {question.id: question for question in questions_of(run, chosen)}
    return stories(run, [by_id[name] for name in chosen if name in by_id])
