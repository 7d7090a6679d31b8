"""The labelled corpus: responses with their gold answers, the verdict a careful reader gives, and why.

`<kind>.jsonl` holds the rows written by hand: one line each with `kind`, `gold`, `choices` (choice questions only), `response`,
`label` and `why`. :mod:`tasks.corpus.generate` adds rows whose label is true by construction. No label was made by running the
grader.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
KINDS = ("choice", "yesno", "nli", "number", "math")


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled response."""

    kind: str
    gold: str
    choices: tuple[tuple[str, str], ...] | None
    response: str
    label: str
    """The right verdict; two joined by "/" where a careful reader could give either (neither is ever "match")."""
    why: str

    def agrees(self, verdict: str) -> bool:
        """Whether a verdict is right."""
        return verdict in self.label.split("/")


def hand_written(kind: str) -> list[Row]:
    """The rows of one kind, in the order they were written."""
    lines = (HERE / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    return [_row(json.loads(line)) for line in lines]


def _row(values: dict[str, object]) -> Row:
    choices = values.get("choices")
    pairs = tuple((str(label), str(text)) for label, text in choices) if isinstance(choices, list) else None
    return Row(str(values["kind"]), str(values["gold"]), pairs, str(values["response"]), str(values["label"]), str(values["why"]))
