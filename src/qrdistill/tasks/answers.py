"""Extraction: the final answer a response states, and where."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qrdistill.types import AnswerKind

_CUE = re.compile(r"(?i)(?:answer(?:\s+is)?\s*[:=]?|\\boxed\{|####)[\s*$(]*")
_VALUE = {
    "number": r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?",
    "math": r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?",
    "yesno": r"(?i:yes|no)\b",
    "nli": r"(?i:entailment|contradiction|neutral)\b",
}


def extract(kind: AnswerKind, choices: Sequence[tuple[str, str]] | None, response: str) -> tuple[str, int, int] | None:
    """The last stated answer and its span, or None."""
    pattern = _VALUE.get(kind) or "(?:" + "|".join(re.escape(label) for label, _ in choices or ()) + r")\b"
    found = None
    for cue in _CUE.finditer(response):
        value = re.match(pattern, response[cue.end() :])
        if value:
            found = (value.group(), cue.end(), cue.end() + value.end())
    return found
