"""What a report is made of: sections of blocks. The page and report.md are two renderings of the same list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qrdistill.report.tables import Table


@dataclass(frozen=True, slots=True)
class Prose:
    """One paragraph; a warning stands out."""

    text: str
    tone: Literal["", "warning", "lead"] = ""
    kind: Literal["prose"] = "prose"


@dataclass(frozen=True, slots=True)
class Fact:
    """A number a reader looks for first, with what it counts and one line of context."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A row of facts."""

    facts: tuple[Fact, ...]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """The name of a line or colour in a figure; `mark` is the number of its style in the style sheet."""

    name: str
    mark: int
    shape: Literal["line", "box", "dot", "ring"] = "line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """An SVG drawing with the words and the table that say the same."""

    title: str
    description: str
    svg: str
    legend: tuple[LegendEntry, ...]
    table: Table
    is_repeated: bool = False
    """Whether another table of the section says the same, so that report.md need not say it twice."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures side by side where there is room."""

    figures: tuple[Figure, ...]
    kind: Literal["figures"] = "figures"


@dataclass(frozen=True, slots=True)
class Tables:
    """Tables, side by side where there is room."""

    tables: tuple[Table, ...]
    kind: Literal["tables"] = "tables"

    @property
    def is_narrow(self) -> bool:
        """Whether two of the tables fit beside each other."""
        return len(self.tables) > 1 and all(len(table.columns) <= 6 for table in self.tables)


@dataclass(frozen=True, slots=True)
class Listing:
    """Text to be read as it is: a command, a config."""

    caption: str
    text: str
    is_folded: bool = False
    kind: Literal["listing"] = "listing"


@dataclass(frozen=True, slots=True)
class Browser:
    """The place of the path browser (the page fills it; report.md shows samples instead)."""

    kind: Literal["browser"] = "browser"


Block = Prose | Facts | Figures | Tables | Listing | Browser


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: Literal["heading"] = "heading"


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report, under its own heading and address."""

    id: str
    heading: str
    blocks: tuple[Block | Heading, ...]
