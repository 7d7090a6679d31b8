"""What passes between the parts of extraction: places that may hold an answer, and what was read there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MAX_CLAUSE = 800
"""Longest clause or line that is read for an answer; bounds the work on hostile input."""

Source = Literal[
    "cue",
    "boxed",
    "tag",
    "json",
    "correction",
    "bold",
    "line",
    "lead",
    "emphasis",
    "sentence",
    "predicate",
    "pronoun",
    "conclusion",
]
EXPLICIT: frozenset[Source] = frozenset({"cue", "boxed", "tag", "json"})
"""Places that say outright that they hold the answer."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Characters [start, end) of a view that claim to hold the answer. `is_exact`: nothing but the answer is in there."""

    start: int
    end: int
    source: Source
    is_exact: bool = False
    is_conditional: bool = False
    """Said under a condition ("if you meant the hot spoon, the answer is B"): counts only where nothing is said without one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer in its canonical spelling and the span it was read from."""

    value: str
    start: int
    end: int
    is_strict: bool
    strict: str = ""
    """The last answer in the asked-for form; this one if it is in that form, another (or none) where lenient rules decided."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A final statement that names no single answer ("A or B", "cannot be determined"); ends the search."""

    reason: str
    start: int
    end: int


Found = Reading | Refusal | None

ADVERB = (
    r"(?!(?:only|early|daily|family|reply|july|italy|ugly|holy|possibly|hardly|unlikely|supposedly|allegedly|partly|partially|rarely|apply"
    r"|supply|rely|imply|multiply|fly|ally)\b)(?:most[ ]|very[ ])?[a-z]{2,12}ly"
)
"""An adverb that may stand before an answer and leaves it as it is ("clearly", "most likely")."""

_SENTENCE_END = re.compile(
    r"(?:(?<!\bapprox)(?<!\bvs)(?<!\bSt)(?<!\bDr)(?<!\bMr)(?<!\be\.g)(?<!\bi\.e)(?<!\b[ap]\.m)(?<!\bU\.S)"
    r"(?<!\bNo(?=\.[ ]?\d))(?<!\\(?=!))(?<!\.\.(?=\.\s{0,2}[a-z]))"
    r"[.!?](?=[\s\"')\]}*$\\]|$)(?!\\(?:overline|bar|dot|[lc]?dots)))|\n"
    r"|(?=</\w)|$"
)


def sentence_end(text: str, start: int, end: int) -> int:
    """Where the sentence that goes on at `start` ends (its stop excluded)."""
    end = min(end, start + MAX_CLAUSE)
    found = _SENTENCE_END.search(text, start, end)
    return found.start() if found else end
