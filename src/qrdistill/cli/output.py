"""What a verb prints: a result and the next step on stdout, progress and errors on stderr, one JSON object with --json."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qrdistill.cli.bars import make_progress
from qrdistill.cli.text import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qrdistill.progress import Progress


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> RenderableType:
    """A plain table; cells are text, never markup."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(plain(str(cell))) for cell in row))
    return drawn


class ReaderGoneError(Exception):
    """Whoever read our stdout has closed it."""


@dataclass(slots=True)
class Session:
    """One call of the command line.

    Attributes:
        is_json: print one JSON object on stdout instead of text.
        folder: the run folder in hand, for messages and crash reports.
        exit_code: what the process returns when nothing is raised.
    """

    is_json: bool = False
    folder: Path | None = None
    exit_code: int = 0
    _progress: Progress | None = field(default=None)

    @property
    def progress(self) -> Progress:
        """Draws progress on stderr."""
        if self._progress is None:
            self._progress = make_progress(sys.stderr)
        return self._progress

    def result(self, payload: Mapping[str, Any], shown: Sequence[RenderableType], *, next_step: str = "") -> None:
        """Print what a verb found, then the line that says what to do next (unless what is shown ends with it already)."""
        self.close()
        if self.is_json:
            following = {"next": next_step} if next_step else {}
            _write(json.dumps(_finite({**payload, **following}), ensure_ascii=True, allow_nan=False) + "\n")
            return
        from rich.console import Console

        console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
        with console.capture() as text:  # rich would turn a closed pipe into exit code 1
            for item in shown:
                console.print(plain(item) if isinstance(item, str) else item, soft_wrap=isinstance(item, str))
            if next_step:
                console.print(f"next: {plain(next_step)}", soft_wrap=True)
        _write(text.get())

    def close(self) -> None:
        """End whatever progress is still drawn, so that the terminal is left as it was."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def error(self, message: str, exit_code: int) -> int:
        """Print an error as one sentence on stderr (with --json also as the JSON object on stdout); returns the exit code."""
        self.close()
        if self.is_json:
            _write(json.dumps({"error": message, "exit_code": exit_code}, ensure_ascii=True) + "\n")
        print(f"qrdistill: {plain(message)}", file=sys.stderr)
        return exit_code


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:  # typer would make this exit code 1
        raise ReaderGoneError from error


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, Path) else value
