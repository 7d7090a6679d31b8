"""The labelled corpus: responses with their gold answers, the verdict a careful reader gives, and why.

`<kind>.jsonl` holds the rows written by hand, one line each: `id`, `kind`, `gold`, `choices` (pairs, choice questions only),
`response`, `verdict` and `reason`. :mod:`tasks.corpus.generate` adds rows whose verdict is true by construction. Every verdict
was decided before the grader saw the row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
KINDS = ("choice", "yesno", "nli", "number", "math")
VERDICTS = ("match", "differ", "unparsed", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One labelled response."""

    id: str
    kind: str
    gold: str
    choices: tuple[tuple[str, str], ...] | None
    response: str
    verdict: str
    reason: str


def hand_written(kind: str) -> list[Row]:
    """The rows of one kind, in the order they were written."""
    lines = (HERE / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    return [_row(json.loads(line)) for line in lines]


def _row(values: dict[str, object]) -> Row:
    choices = values.pop("choices")
    pairs = tuple((str(label), str(text)) for label, text in choices) if isinstance(choices, list) else None
    return Row(**{name: str(value) for name, value in values.items()}, choices=pairs)


@dataclass(slots=True)
class Errors:
    """What a grader got wrong. A false accept is a match where the right verdict is another one; a false reject the reverse."""

    num_rows: Counter[str] = field(default_factory=Counter)
    num_right: Counter[str] = field(default_factory=Counter)
    """Rows of each kind whose right verdict is a match."""
    num_agreed: Counter[str] = field(default_factory=Counter)
    """Rows of each kind that got exactly the right verdict."""
    false_accepts: list[str] = field(default_factory=list)
    false_rejects: list[str] = field(default_factory=list)

    @property
    def false_accept_frac(self) -> float:
        """False accepts over the rows that are no match."""
        return len(self.false_accepts) / (self.num_rows.total() - self.num_right.total())

    @property
    def false_reject_frac(self) -> float:
        """False rejects over the rows that are a match."""
        return len(self.false_rejects) / self.num_right.total()

    def table(self) -> str:
        """Counts by kind, the two rates and the rows that are wrong."""
        lines = [
            f"{kind:7} {self.num_rows[kind]:5} rows, {self.num_right[kind]:5} right answers, {self.num_agreed[kind]:5} same "
            f"verdict"
            for kind in KINDS
        ]
        lines.append(f"false accepts {self.false_accept_frac:.3%}, false rejects {self.false_reject_frac:.3%}")
        return "\n".join([*lines, *self.false_accepts, *self.false_rejects])


def errors(rows: Iterable[Row], grade: Callable[[Row], str]) -> Errors:
    """The errors of a grader on labelled rows."""
    found = Errors()
    for row in rows:
        verdict = grade(row)
        found.num_rows[row.kind] += 1
        found.num_right[row.kind] += row.verdict == "match"
        found.num_agreed[row.kind] += row.verdict == verdict
        if (verdict == "match") != (row.verdict == "match"):
            kind_of_error = found.false_accepts if verdict == "match" else found.false_rejects
            kind_of_error.append(f"{row.id}: {verdict}, should be {row.verdict} ({row.reason}): {row.response[-200:]!r}")
    return found
