"""The report as Markdown: the same sections, with sample questions in the place of the browser. Texts are shown, never obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from qrdistill.report.blocks import Block, Browser, Facts, Figures, Heading, Listing, Prose, Section
from qrdistill.report.explain import Story
from qrdistill.report.story_text import story_text
from qrdistill.report.tables import Cell, Table
from qrdistill.report.text import visible

_SPECIAL = re.compile(r"([\\`*_\[\]<>#!|~$&])")
_BARE_LINK = re.compile(r"(?i)\b(https?|ftp|mailto|www)([:.])")


def escaped(text: str) -> str:
    r"""One line of text that Markdown shows as it is: no markup, no HTML, no link, no image.

    >>> escaped("a|b <img> [x](y)\nz")
    'a\\|b \\<img\\> \\[x\\](y) z'
    """
    line = _SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))
    return _BARE_LINK.sub(r"\1\\\2", line)


def render_markdown(title: str, lead: Iterable[str], sections: Sequence[Section], samples: Sequence[Story]) -> str:
    """The whole report.

    Args:
        title: the first heading.
        lead: the paragraphs below it.
        sections: the parts of the report.
        samples: the stories shown in the place of the path browser.
    """
    parts = [f"# {escaped(title)}", *(escaped(text) for text in lead)]
    for section in sections:
        parts.append(f"## {escaped(section.heading)}")
        for block in section.blocks:
            parts += _block(block, samples)
    return "\n\n".join(parts) + "\n"


def _block(block: Block | Heading, samples: Sequence[Story]) -> list[str]:
    if isinstance(block, Heading):
        return [f"### {escaped(block.text)}"]
    if isinstance(block, Prose):
        return [f"**{escaped(block.text)}**" if block.tone == "warning" else escaped(block.text)]
    if isinstance(block, Facts):
        return [
            "\n".join(
                f"- {escaped(fact.label)}: **{escaped(fact.value)}** {escaped(fact.detail)}".rstrip() for fact in block.facts
            )
        ]
    if isinstance(block, Figures):
        return [text for figure in block.figures if not figure.is_repeated for text in _table(figure.table)]
    if isinstance(block, Listing):
        return [escaped(block.caption) + ":", fenced(block.text)]
    if isinstance(block, Browser):
        return _samples(samples)
    return [text for part in block.tables for text in _table(part)]


def _table(part: Table) -> list[str]:
    heads = "| " + " | ".join(escaped(column.title) or " " for column in part.columns) + " |"
    rule = "|" + "|".join("---:" if column.is_number else "---" for column in part.columns) + "|"
    rows = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in part.rows]
    note = [f"_{escaped(part.note)}_"] if part.note else []
    return [f"**{escaped(part.caption)}**", "\n".join([heads, rule, *rows]), *note]


def _cell(cell: Cell) -> str:
    return escaped(cell.text) or " "


def fenced(text: str) -> str:
    """Text in a code fence that it cannot close."""
    shown = visible(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown.rstrip()}\n{fence}"


def _samples(samples: Sequence[Story]) -> list[str]:
    if not samples:
        return ["No sample questions."]
    parts = [f"{len(samples)} sample questions; report.html holds a browser of them all."]
    for story in samples:
        parts += [f"### {escaped(story.question.id)}", fenced(story_text(story, width=100))]
    return parts
