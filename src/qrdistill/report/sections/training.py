"""The training run as curves: losses, gates, peers, optimizer. Whatever the metrics file holds is drawn, the rest is skipped."""

from __future__ import annotations

from dataclasses import dataclass

from qrdistill.report.blocks import Block, Figure, Figures, Heading, Prose, Section, Tables
from qrdistill.report.figures import Line, line_chart
from qrdistill.report.reading import Metrics, few, metrics, student_names
from qrdistill.report.tables import NONE, Cell, Table, count, number, table
from qrdistill.store import Run


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure: the metric (one line, or one a student when it ends with a slash), its title and unit."""

    metric: str
    title: str
    unit: str
    floor_zero: bool = True


CURVES: dict[str, tuple[Curve, ...]] = {
    "Losses": (
        Curve("loss/sft/", "Student loss on routed paths", "nats per label token"),
        Curve("loss/peer/", "Peer loss", "nats per aligned position"),
        Curve("loss/router", "Router loss", "mean of −A·p", floor_zero=False),
    ),
    "Gates": (
        Curve("routing/load/", "Mean gate probability (load)", "probability"),
        Curve("routing/entropy_nats", "Gate entropy", "nats"),
        Curve("routing/kappa/", "Reliability of the router, κ", "rank correlation", floor_zero=False),
    ),
    "Peers": (
        Curve("peer/agreement", "Students agree on the next piece", "share of positions"),
        Curve("peer/agreement_shuffled", "The same at shuffled positions: agreement that means nothing", "share of positions"),
        Curve("peer/entropy_nats", "Entropy of the students' next pieces", "nats"),
        Curve("peer/gate_frac/", "Positions where a peer teaches", "share of positions"),
    ),
    "Optimizer": (
        Curve("optim/lr/", "Learning rate", "learning rate"),
        Curve("optim/grad_norm/", "Gradient norm before clipping", "norm"),
        Curve("train/label_tokens/", "Label tokens so far", "tokens"),
        Curve("train/seconds_s", "Time per step", "seconds"),
    ),
}


def training_section(run: Run) -> Section:
    """The curves of a run and what each student was trained on."""
    found = metrics(run)
    if not found.steps:
        return Section(
            "training", "Training", (Prose("No training metrics yet: the train stage has not taken a step.", "warning"),)
        )
    blocks: list[Block | Heading] = [Tables((_effort_table(run, found),))]
    if found.num_unreadable:
        blocks.insert(
            0, Prose(f"{count(found.num_unreadable)} lines of metrics.jsonl could not be read and are left out.", "warning")
        )
    blocks += [Prose(text, "warning") for text in alarms(found)]
    for heading, curves in CURVES.items():
        figures = tuple(figure for curve in curves if (figure := _figure(run, found, curve)) is not None)
        if figures:
            blocks += [Heading(heading), Figures(figures)]
    return Section("training", "Training", tuple(blocks))


def alarms(found: Metrics) -> list[str]:
    """A sentence for each alarm that went off while training."""
    said = []
    for key in found.keys("alarm/"):
        steps, values = found.series(key)
        rung = [round(step) for step, value in zip(steps, values, strict=True) if value > 0]
        if rung:
            name = key.removeprefix("alarm/").replace("/", " of ")
            said.append(
                f"Alarm, {name}: at {count(len(rung))} of {count(len(found.steps))} steps, first at step {count(rung[0])}."
            )
    return said


def _figure(run: Run, found: Metrics, curve: Curve) -> Figure | None:
    keys = {key.removeprefix(curve.metric) or curve.title: key for key in found.keys(curve.metric)}
    lines = []
    for name in few(list(keys), student_names(run)):
        xs, ys = found.series(keys[name])
        if xs:
            lines.append(Line(name, xs, ys))
    return line_chart(curve.title, curve.unit, lines, floor_zero=curve.floor_zero) if lines else None


def trained_tokens(found: Metrics, student: str) -> int:
    """Label tokens a student was trained on in all (the metric is a running sum)."""
    return round(max(found.series(f"train/label_tokens/{student}")[1], default=0.0))


def _effort_table(run: Run, found: Metrics) -> Table:
    seconds = sum(found.series("train/seconds_s")[1])
    body: list[list[Cell | str]] = []
    for student in student_names(run):
        losses = found.series(f"loss/sft/{student}")[1]
        tokens = trained_tokens(found, student)
        quarter = max(1, len(losses) // 4)
        first, last = (number(sum(part) / len(part)) if part else "–" for part in (losses[:quarter], losses[-quarter:]))
        body.append([student, count(tokens) if tokens else NONE, count(len(losses)), first, last])
    timing = f" {number(seconds, 4)} s in all." if seconds else ""
    return table(
        "What each student was trained on",
        ["Student", "Label tokens", "Steps with a loss", "Loss, first quarter", "Loss, last quarter"],
        body,
        note=f"{count(len(found.steps))} optimizer steps.{timing} Equal label tokens make arms comparable.",
    )
