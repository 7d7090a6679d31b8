"""How a long stage tells what it is doing; the command line draws it, libraries and tests stay silent."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A sink for a stage's progress. Calls come in the order start, (advance | note)*, stop; a stage may start again."""

    def start(self, total: int, label: str) -> None:
        """Begin a piece of work of `total` units."""

    def advance(self, n: int = 1) -> None:
        """Report `n` more units done."""

    def note(self, text: str) -> None:
        """Say one line about what is going on."""

    def stop(self) -> None:
        """End the piece of work, finished or not."""


class Silent:
    """Reports nothing."""

    def start(self, total: int, label: str) -> None:
        """Do nothing."""

    def advance(self, n: int = 1) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


SILENT = Silent()
"""The default of every stage."""
