"""What a check of one statement found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement that could be re-computed. `quote` is its text, `reason` says what is right where it is false."""

    quote: str
    is_true: bool
    reason: str = ""
