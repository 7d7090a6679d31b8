"""Drawings as inline SVG: lines over steps, intervals, stacked bars. Each comes with a description and a table of its numbers.

They are written by hand because the page's content policy forbids style attributes, and because colours must follow the
reader's light or dark theme: every shape only carries a class that the style sheet paints. See decision 0040.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from qrdistill.report.blocks import Figure, LegendEntry
from qrdistill.report.tables import Cell, count, interval, number, percent, table
from qrdistill.report.text import one_line, visible

WIDTH = 380
NUM_MARKS = 8
"""Distinct line styles in the style sheet; with more students they repeat."""
TABLE_POINTS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart. Points with NaN are left out."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate with its interval; `is_before` draws it hollow."""

    value: float
    low: float
    high: float
    is_before: bool = False


def _tag(name: str, content: str = "", **attributes: object) -> str:
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items())
    return f"<{name}{pairs}>{content}</{name}>"


def _text(x: float, y: float, text: str, anchor: str = "start", class_: str = "tick") -> str:
    return _tag("text", escape(visible(text)), x=_at(x), y=_at(y), text_anchor=anchor, class_=class_)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    return _tag("line", x1=_at(x1), y1=_at(y1), x2=_at(x2), y2=_at(y2), class_=class_)


def _at(value: float) -> str:
    return f"{value:.1f}"


def _svg(title: str, description: str, height: float, shapes: Iterable[str]) -> str:
    key = f"figure-{sum(ord(letter) * (index + 1) for index, letter in enumerate(title + description)):x}"
    labels = _tag("title", escape(visible(title)), id=f"{key}-t") + _tag("desc", escape(visible(description)), id=f"{key}-d")
    size = {"viewBox": f"0 0 {WIDTH} {height:.0f}", "role": "img", "aria-labelledby": f"{key}-t", "aria-describedby": f"{key}-d"}
    pairs = "".join(f' {name}="{value}"' for name, value in size.items())
    return f'<svg xmlns="http://www.w3.org/2000/svg" class="chart"{pairs}>{labels}{"".join(shapes)}</svg>'


def nice_ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Round numbers that cover [low, high], at most about `target` intervals.

    >>> nice_ticks(0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    rough = (high - low) / target
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def _binned(line: Line, bins: int) -> Line:
    """Means over equal stretches, so that thousands of steps stay legible."""
    points = [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if math.isfinite(y)]
    if len(points) <= bins:
        return Line(line.name, tuple(x for x, _ in points), tuple(y for _, y in points))
    cuts = [round(index * len(points) / bins) for index in range(bins + 1)]
    groups = [points[first:last] for first, last in pairwise(cuts)]
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return Line(line.name, tuple(x for x, _ in means), tuple(y for _, y in means))


def line_chart(title: str, unit: str, lines: Sequence[Line], *, floor_zero: bool = False) -> Figure:
    """Lines over optimizer steps.

    Args:
        title: what is drawn.
        unit: the unit of the values, shown above the axis.
        lines: at least one line with at least one finite point.
        floor_zero: let the axis start at zero.
    """
    drawn = [_binned(line, 120) for line in lines]
    ys = [y for line in drawn for y in line.ys] + ([0.0] if floor_zero else [])
    xs = [x for line in drawn for x in line.xs]
    ticks_y, ticks_x = nice_ticks(min(ys), max(ys), 4), nice_ticks(min(xs), max(xs), 5)
    left, right, top, bottom = 52.0, WIDTH - 12.0, 26.0, 176.0

    def at_x(x: float) -> float:
        low, high = min(xs), max(xs)
        return left + (right - left) * ((x - low) / (high - low) if high > low else 0.5)

    def at_y(y: float) -> float:
        return bottom - (bottom - top) * (y - ticks_y[0]) / (ticks_y[-1] - ticks_y[0])

    shapes = [_text(2, 13, unit, class_="unit")]
    for tick in ticks_y:
        shapes += [_line(left, at_y(tick), right, at_y(tick), "grid"), _text(left - 6, at_y(tick) + 4, number(tick), "end")]
    for tick in (tick for tick in ticks_x if min(xs) <= tick <= max(xs)):
        shapes += [
            _line(at_x(tick), bottom, at_x(tick), bottom + 4, "axis"),
            _text(at_x(tick), bottom + 17, number(tick, 6), "middle"),
        ]
    shapes += [_line(left, bottom, right, bottom, "axis"), _text(right, bottom + 33, "optimizer step", "end", "unit")]
    for index, line in enumerate(drawn):
        points = " ".join(f"{_at(at_x(x))},{_at(at_y(y))}" for x, y in zip(line.xs, line.ys, strict=True))
        if len(line.xs) == 1:
            shapes.append(
                _tag("circle", cx=_at(at_x(line.xs[0])), cy=_at(at_y(line.ys[0])), r=3, class_=f"dot m{index % NUM_MARKS}")
            )
        shapes.append(_tag("polyline", points=points, class_=f"line m{index % NUM_MARKS}"))
    described = "; ".join(f"{line.name} from {number(line.ys[0])} to {number(line.ys[-1])}" for line in drawn)
    legend = tuple(LegendEntry(line.name, index % NUM_MARKS) for index, line in enumerate(drawn)) if len(drawn) > 1 else ()
    short = [_binned(line, TABLE_POINTS) for line in lines]
    rows: list[list[Cell | str]] = [
        [count(round(x)), *(_value_near(line, x) for line in short)] for x in max(short, key=lambda line: len(line.xs)).xs
    ]
    numbers = table(f"{title} ({unit}), means over stretches of steps", ["Around step", *(line.name for line in lines)], rows)
    return Figure(
        title=title, description=f"{unit}; {described}.", svg=_svg(title, described, 214, shapes), legend=legend, table=numbers
    )


def _value_near(line: Line, x: float) -> Cell:
    nearest = min(range(len(line.xs)), key=lambda index: abs(line.xs[index] - x))
    return Cell(number(line.ys[nearest]))


def range_chart(title: str, rows: Sequence[tuple[str, Sequence[Range]]], *, before: str, after: str) -> Figure:
    """Shares with their intervals, one row a name: hollow before, filled after."""
    left, right, top, pitch = 118.0, WIDTH - 20.0, 10.0, 34.0
    ceiling = max([item.high for _, ranges in rows for item in ranges] + [0.1])
    ticks = nice_ticks(0.0, min(1.0, ceiling), 5)
    bottom = top + pitch * len(rows)

    def at_x(share: float) -> float:
        return left + (right - left) * share / ticks[-1]

    shapes = []
    for tick in ticks:
        shapes += [_line(at_x(tick), top, at_x(tick), bottom, "grid"), _text(at_x(tick), bottom + 16, percent(tick, 0), "middle")]
    for index, (name, ranges) in enumerate(rows):
        middle = top + pitch * (index + 0.5)
        shapes.append(_text(left - 10, middle + 4, one_line(name, 18), "end", "name"))
        for item in ranges:
            y = middle + (-6 if item.is_before else 6) * (len(ranges) > 1)
            kind = "before" if item.is_before else "after"
            shapes.append(_line(at_x(item.low), y, at_x(item.high), y, f"whisker {kind}"))
            shapes.append(_tag("circle", cx=_at(at_x(item.value)), cy=_at(y), r=4.5, class_=f"estimate {kind}"))
    shapes.append(_line(left, bottom, right, bottom, "axis"))
    cells = [
        [name, before if item.is_before else after, percent(item.value), interval(item.low, item.high)]
        for name, ranges in rows
        for item in ranges
    ]
    numbers = table(title, ["Who", "When", "Accuracy", "95% interval, %"], cells, num_headers=2)
    described = "; ".join(f"{row[0]} {row[1]} {row[2]} ({row[3]})" for row in cells)
    legend = (LegendEntry(before, 1, "ring"), LegendEntry(after, 0, "dot"))
    return Figure(
        title=title,
        description=described,
        svg=_svg(title, described, bottom + 26, shapes),
        legend=legend,
        table=numbers,
        is_repeated=True,
    )


def stacked_bars(title: str, parts: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]], what: str) -> Figure:
    """Counts that add up, one bar a name; the first part is the one that matters and is drawn strongest."""
    left, right, top, pitch = 118.0, WIDTH - 46.0, 6.0, 26.0
    longest = max([sum(values) for _, values in rows] + [1])
    shapes = []
    for index, (name, values) in enumerate(rows):
        y = top + pitch * index
        shapes.append(_text(left - 10, y + 15, one_line(name, 18), "end", "name"))
        x = left
        for mark, value in enumerate(values):
            width = (right - left) * value / longest
            if value:
                shapes.append(_tag("rect", x=_at(x), y=_at(y + 3), width=_at(width), height=16, class_=f"bar b{mark}"))
            x += width
        shapes.append(_text(x + 6, y + 15, count(sum(values))))
    cells = [[name, *(count(value) for value in values), count(sum(values))] for name, values in rows]
    numbers = table(title, [what, *parts, "Together"], cells)
    described = "; ".join(
        f"{name}: " + ", ".join(f"{value} {part}" for part, value in zip(parts, values, strict=True)) for name, values in rows
    )
    legend = tuple(LegendEntry(part, mark, "box") for mark, part in enumerate(parts) if any(values[mark] for _, values in rows))
    return Figure(
        title=title,
        description=described,
        svg=_svg(title, described, top + pitch * len(rows) + 4, shapes),
        legend=legend,
        table=numbers,
        is_repeated=True,
    )
