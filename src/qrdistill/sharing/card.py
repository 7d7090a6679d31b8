"""Pieces of the cards that travel with exported data and students: front matter, tables, text that stays text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from qrdistill.report.text import visible


def front_matter(fields: Mapping[str, Any]) -> str:
    """YAML between two lines of dashes, as the hub reads it."""
    return "---\n" + yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=False) + "---\n"


def escaped(text: object) -> str:
    r"""A value as Markdown text on one line: nothing in it is markup, a link, or the end of a table cell.

    >>> escaped("a|b <script>")
    'a\\|b \\<script\\>'
    """
    flat = visible(" ".join(str(text).split()))
    return "".join("\\" + character if character in "\\`*_{}[]<>()#!|~$&" else character for character in flat)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; every cell is escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
