"""Figures of studies: differences around zero, and accuracy over the share of the questions that was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qrdistill.report.blocks import Figure, LegendEntry
from qrdistill.report.figures import NUM_MARKS, WIDTH, Range, _at, _line, _svg, _tag, _text, nice_ticks
from qrdistill.report.tables import count, interval, percent, points, table
from qrdistill.report.text import one_line


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracies with intervals over shares in [0, 1]."""

    name: str
    shares: tuple[float, ...]
    ranges: tuple[Range, ...]


def difference_chart(title: str, rows: Sequence[tuple[str, Range]], *, what: str) -> Figure:
    """Differences with their intervals, one row a name; the line at zero says which side of it an interval lies on."""
    left, right, top, pitch = 136.0, WIDTH - 20.0, 10.0, 24.0
    ticks = nice_ticks(min([item.low for _, item in rows] + [0.0]), max([item.high for _, item in rows] + [0.0]), 5)
    bottom = top + pitch * len(rows)

    def at_x(value: float) -> float:
        return left + (right - left) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    shapes = []
    for tick in ticks:
        shapes += [_line(at_x(tick), top, at_x(tick), bottom, "axis" if tick == 0 else "grid")]
        shapes.append(_text(at_x(tick), bottom + 16, points(tick).removesuffix(".0"), "middle"))
    for index, (name, item) in enumerate(rows):
        middle = top + pitch * (index + 0.5)
        shapes.append(_text(left - 10, middle + 4, one_line(name, 20), "end", "name"))
        shapes.append(_line(at_x(item.low), middle, at_x(item.high), middle, "whisker after"))
        shapes.append(_tag("circle", cx=_at(at_x(item.value)), cy=_at(middle), r=4.5, class_="estimate after"))
    cells = [[name, points(item.value), f"{points(item.low)} to {points(item.high)}"] for name, item in rows]
    described = "; ".join(f"{row[0]} {row[1]} ({row[2]})" for row in cells)
    return Figure(
        title=title,
        description=described,
        svg=_svg(title, described, bottom + 26, shapes),
        legend=(),
        table=table(title, [what, "Difference, points", "95% interval"], cells),
        is_repeated=True,
    )


def share_chart(title: str, curves: Sequence[Curve], *, target: float, target_name: str) -> Figure:
    """Accuracy over the share of the training questions, with the accuracy to be reached as a level."""
    left, right, top, bottom = 52.0, WIDTH - 20.0, 26.0, 186.0
    every = [item for curve in curves for item in curve.ranges]
    ticks = nice_ticks(min([item.low for item in every] + [target]), max([item.high for item in every] + [target]), 4)

    def at_x(share: float) -> float:
        return left + (right - left) * share

    def at_y(value: float) -> float:
        return bottom - (bottom - top) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    shapes = [_text(2, 13, "accuracy", class_="unit")]
    for tick in ticks:
        shapes += [_line(left, at_y(tick), right, at_y(tick), "grid"), _text(left - 6, at_y(tick) + 4, percent(tick, 0), "end")]
    for step in range(0, 11, 2):
        shapes += [_line(at_x(step / 10), bottom, at_x(step / 10), bottom + 4, "axis")]
        shapes.append(_text(at_x(step / 10), bottom + 17, percent(step / 10, 0), "middle"))
    shapes += [_line(left, bottom, right, bottom, "axis"), _line(left, at_y(target), right, at_y(target), "axis")]
    shapes += [_text(right, bottom + 33, "share of the training questions", "end", "unit")]
    shapes += [_text(left + 4, at_y(target) - 4, f"{target_name}, all questions", class_="unit")]
    for mark, curve in enumerate(curves):
        line = " ".join(f"{_at(at_x(s))},{_at(at_y(r.value))}" for s, r in zip(curve.shares, curve.ranges, strict=True))
        shapes.append(_tag("polyline", points=line, class_=f"line m{mark % NUM_MARKS}"))
        for share, item in zip(curve.shares, curve.ranges, strict=True):
            shapes.append(_line(at_x(share), at_y(item.low), at_x(share), at_y(item.high), f"line m{mark % NUM_MARKS}"))
    cells = [
        [curve.name, percent(share, 0), percent(item.value), interval(item.low, item.high)]
        for curve in curves
        for share, item in zip(curve.shares, curve.ranges, strict=True)
    ]
    described = "; ".join(f"{row[0]} at {row[1]}: {row[2]} ({row[3]})" for row in cells)
    return Figure(
        title=title,
        description=f"{target_name} on all questions {percent(target)}; {described}.",
        svg=_svg(title, described, 224, shapes),
        legend=tuple(LegendEntry(curve.name, mark % NUM_MARKS) for mark, curve in enumerate(curves)),
        table=table(title, ["Method", "Share of questions", "Accuracy", "95% interval, %"], cells, num_headers=2),
    )


def tokens(value: float) -> str:
    """Label tokens; none for students as they come."""
    return count(round(value)) if value else "0"
