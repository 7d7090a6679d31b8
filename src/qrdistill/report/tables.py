"""A table, defined once and shown three times: in the page, in report.md and in the terminal. Also the number formats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["", "good", "warning", "muted"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: what it says, and how it is tinted. `heat` in [0, 1] colours it as part of a heat map."""

    text: str
    tone: Tone = ""
    heat: float | None = None

    @property
    def heat_class(self) -> int:
        """The colour step, 0 to 9."""
        return -1 if self.heat is None or math.isnan(self.heat) else min(9, max(0, int(self.heat * 10)))


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading. Numbers are aligned to the right, words to the left."""

    title: str
    is_number: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under a caption. The first `num_headers` cells of each row name the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    num_headers: int = 1


def table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell | str]], *, note: str = "", num_headers: int = 1
) -> Table:
    """Build a table; the header columns hold words and the others numbers, unless their title starts with a tilde.

    >>> table("t", ["a", "~b", "c"], [["x", "y", "1"]]).columns[1:]
    (Column(title='b', is_number=False), Column(title='c', is_number=True))
    """
    heads = tuple(
        Column(title.removeprefix("~"), is_number=index >= num_headers and not title.startswith("~"))
        for index, title in enumerate(columns)
    )
    body = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    assert all(len(row) == len(heads) for row in body), caption
    return Table(caption=caption, columns=heads, rows=body, note=note, num_headers=num_headers)


NONE = Cell("–", tone="muted")
"""A cell with nothing to say."""


def count(number: int) -> str:
    """A whole number with thousands separators.

    >>> count(12345)
    '12,345'
    """
    return f"{number:,}"


def percent(share: float, digits: int = 1) -> str:
    """A share as per cent, "–" where it is not known.

    >>> percent(0.3134), percent(float("nan"))
    ('31.3%', '–')
    """
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}%"


def interval(low: float, high: float) -> str:
    """A 95% interval of a share, in per cent.

    >>> interval(0.244, 0.391)
    '24.4 to 39.1'
    """
    return f"{100 * low:.1f} to {100 * high:.1f}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(0.24), points(-0.013)
    ('+24.0', '−1.3')
    """
    return f"{100 * difference:+.1f}".replace("-", "−")


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits.

    >>> number(0.00012345), number(1234.5), number(float("nan"))
    ('0.000123', '1,234', '–')
    """
    if math.isnan(value) or math.isinf(value):
        return "–"
    if value and abs(value) >= 10**digits:
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    return text.replace("-", "−", 1) if "e" not in text else text


def fixed(value: float, digits: int = 2) -> str:
    """A number with `digits` decimals.

    >>> fixed(-0.1234), fixed(float("nan"))
    ('−0.12', '–')
    """
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def dollars(amount: float) -> str:
    """An amount of money; small ones keep their significant digits.

    >>> dollars(0.0), dollars(0.00123), dollars(12.5)
    ('$0', '$0.0012', '$12.50')
    """
    if amount == 0:
        return "$0"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:#.2g}"
