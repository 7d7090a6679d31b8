"""How progress is drawn: bars with the time left on a terminal, a line about every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from qrdistill.cli.text import plain
from qrdistill.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


def make_progress(stream: TextIO) -> Progress:
    """Bars when the stream is a terminal, plain lines when it is not."""
    return Bars(stream) if stream.isatty() else Lines(stream)


class Lines:
    """Plain lines for logs: one at the start of a piece of work, one about every `interval_s`, one at its end."""

    def __init__(self, stream: TextIO, *, interval_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._interval_s = interval_s
        self._clock = clock
        self._label = ""
        self._total = self._done = 0
        self._started_s = self._printed_s = 0.0

    def start(self, total: int, label: str) -> None:
        """Begin a piece of work."""
        self._label, self._total, self._done = label, total, 0
        self._started_s = self._printed_s = self._clock()
        self.note(f"{label}: 0/{total}")

    def advance(self, n: int = 1) -> None:
        """Count units; print when the interval has passed."""
        self._done += n
        now = self._clock()
        if now - self._printed_s >= self._interval_s and self._done < self._total:
            self._printed_s = now
            left_s = (now - self._started_s) / max(1, self._done) * (self._total - self._done)
            self.note(f"{self._label}: {self._done}/{self._total}, {_duration(left_s)} left")

    def note(self, text: str) -> None:
        """Print one line."""
        print(plain(text), file=self._stream, flush=True)

    def stop(self) -> None:
        """Print how long the piece of work took."""
        if self._label:
            self.note(f"{self._label}: {self._done}/{self._total} in {_duration(self._clock() - self._started_s)}")
        self._label = ""


class Bars:
    """A rich progress bar with count and time left; notes are printed above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._bars: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, total: int, label: str) -> None:
        """Begin a piece of work."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.stop()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left", style="dim"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bars.add_task(plain(label), total=total)
        self._bars.start()

    def advance(self, n: int = 1) -> None:
        """Count units."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, n)

    def note(self, text: str) -> None:
        """Print one line above the bar."""
        self._console.print(plain(text))

    def stop(self) -> None:
        """Leave the bar as it stands."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._task = None


def _duration(seconds: float) -> str:
    """Seconds for people.

    >>> _duration(75)
    '1 min 15 s'
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
