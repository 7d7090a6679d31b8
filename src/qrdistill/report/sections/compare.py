"""Several runs side by side: scores, gains, what they were trained on, and how their configs differ."""

from __future__ import annotations

from collections.abc import Sequence

from qrdistill.config import differences
from qrdistill.report.blocks import Block, Heading, Prose, Section, Tables
from qrdistill.report.reading import TEAM, in_order, labels, metrics, student_names, total
from qrdistill.report.sections.provenance import missing_stages
from qrdistill.report.sections.results import ARMS, Results, paired, truncated
from qrdistill.report.sections.training import trained_tokens
from qrdistill.report.tables import NONE, Cell, Table, count, interval, percent, points, table
from qrdistill.store import Run


def compare_section(runs: Sequence[Run], results: Sequence[Results]) -> Section:
    """The runs of a report side by side; the sections after it are about the first one."""
    names = labels(runs)
    blocks: list[Block | Heading] = [Tables((_score_table(runs, results, names),))]
    if differing := _difference_table(runs, results, names):
        blocks.append(Tables((differing,)))
    blocks.append(Tables((_config_table(runs, names),)))
    unfinished = [
        f"{name} ({', '.join(missing_stages(run))})" for name, run in zip(names, runs, strict=True) if missing_stages(run)
    ]
    if unfinished:
        blocks.insert(0, Prose(f"Not finished: {'; '.join(unfinished)}.", "warning"))
    blocks.append(
        Prose(
            f"The sections below are about the first run, {names[0]}; "
            "write a report for each of the others to see them as closely."
        )
    )
    return Section("runs", "Runs side by side", tuple(blocks))


def _score_table(runs: Sequence[Run], results: Sequence[Results], names: Sequence[str]) -> Table:
    body: list[list[Cell | str]] = []
    for run, found, name in zip(runs, results, names, strict=True):
        trained = metrics(run)
        kept = count(total(run, "SELECT count(*) FROM decisions WHERE is_kept"))
        for student in in_order([s.student for s in found.scores], [*student_names(run), *TEAM]):
            before, after = (found.score(arm, student) for arm in ("zero_shot", "trained"))
            score = after or before
            if score is None:
                continue
            gain = found.gains.get(student)
            gained = f"{points(gain.value)} ({points(gain.low)} to {points(gain.high)})" if gain else NONE
            tokens = trained_tokens(trained, student)
            body.append(
                [
                    name,
                    student,
                    percent(before.accuracy) if before else NONE,
                    percent(after.accuracy) if after else NONE,
                    interval(score.low, score.high),
                    gained,
                    count(score.n),
                    NONE if student in TEAM else percent(score.unparsed_frac),
                    NONE if student in TEAM else truncated(score),
                    kept,
                    count(tokens) if tokens else NONE,
                ]
            )
    heads = ["Run", "Student", *(title.capitalize() for title in ARMS.values()), "95% interval, %", "Gain, points", "n"]
    return table(
        "Accuracy on all tasks, each run and student",
        [*heads, "Unparsed", "Truncated", "Kept paths", "Label tokens trained"],
        body,
        num_headers=2,
        note="Compare runs only at similar label tokens: more training alone raises accuracy.",
    )


def _difference_table(runs: Sequence[Run], results: Sequence[Results], names: Sequence[str]) -> Table | None:
    """Each other run against the first, over the test questions both answered."""
    body: list[list[Cell | str]] = []
    for found, name in zip(results[1:], names[1:], strict=True):
        for student in student_names(runs[0]):
            first, other = (
                [a for a in side.answers if (a.student, a.arm) == (student, "trained")] for side in (results[0], found)
            )
            change = paired(other, first)
            if change is not None:
                span = f"{points(change.low)} to {points(change.high)}"
                body.append(
                    [name, student, points(change.value), span, count(change.num_gained), count(change.num_lost), count(change.n)]
                )
    return (
        table(
            f"{names[0]} minus each other run, after training, in points (paired by question)",
            ["Other run", "Student", "Difference", "95% interval", "Only first right", "Only other right", "n"],
            body,
            num_headers=2,
            note="An interval that holds 0 does not tell the runs apart; it is about questions, other seeds may move more.",
        )
        if body
        else None
    )


def _config_table(runs: Sequence[Run], names: Sequence[str]) -> Table:
    body: list[list[Cell | str]] = []
    for run, name in zip(runs[1:], names[1:], strict=True):
        changed = [line for line in differences(runs[0].config, run.config) if not line.startswith(("name:", "runtime."))]
        for line in changed or ["no difference: "]:
            key, _, change = line.partition(": ")
            body.append([name, key, change])
    return table(
        f"How the configs differ from that of {names[0]}", ["Run", "Field", "~First run -> this run"], body, num_headers=2
    )
