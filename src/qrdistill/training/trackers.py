"""The metrics file, and the trackers that get a copy of each of its lines (through accelerate's own tracker classes).

`metrics.jsonl` is the record; a tracker is a view of it under the same names. A resumed run logs again the steps after its newest
checkpoint, with the same step numbers.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from qrdistill.errors import UsageError
from qrdistill.store import Run


def _tensorboard(run: Run) -> Any:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker(run.folder.name, logging_dir=str(run.folder / "tensorboard"))


def _trackio(run: Run) -> Any:
    from accelerate.tracking import TrackioTracker

    return TrackioTracker(run.config.name, name=run.folder.name, resume="allow")


def _wandb(run: Run) -> Any:
    from accelerate.tracking import WandBTracker

    return WandBTracker(run.config.name, name=run.folder.name, dir=str(run.folder))


def _mlflow(run: Run) -> Any:
    from accelerate.tracking import MLflowTracker

    return MLflowTracker(experiment_name=run.config.name, run_name=run.folder.name)


TRACKERS: dict[str, Callable[[Run], Any]] = {
    "tensorboard": _tensorboard,
    "trackio": _trackio,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
"""Name in `runtime.trackers` -> accelerate's tracker, not started yet."""


class MetricsLog:
    """Takes one JSON line a step: into the file, then to every tracker."""

    def __init__(self, file: TextIO, trackers: list[Any]) -> None:
        self._file = file
        self._trackers = trackers

    def write(self, line: str) -> None:
        """Record a step."""
        self._file.write(line)
        if self._trackers:
            values = json.loads(line)
            step = values.pop("step")
            for tracker in self._trackers:
                tracker.log(values, step=step)

    def flush(self) -> None:
        """Push the file's buffer out."""
        self._file.flush()


@contextmanager
def metrics_log(run: Run) -> Iterator[MetricsLog]:
    """The run's metrics file, open for more lines, with the recipe's trackers started.

    Raises:
        UsageError: a tracker's package is not installed.
    """
    names = run.config.runtime.trackers
    if absent := [name for name in names if importlib.util.find_spec(name) is None]:
        raise UsageError(
            f"runtime.trackers names {absent[0]}, which is not installed; run: pip install 'qrdistill[{absent[0]}]', "
            "or leave it out (metrics.jsonl is always written)"
        )
    with ExitStack() as stack:
        file = stack.enter_context(run.metrics.open("a", encoding="utf-8", buffering=1))
        started = []
        for name in names:
            tracker = TRACKERS[name](run)
            tracker.start()
            stack.callback(tracker.finish)
            started.append(tracker)
        yield MetricsLog(file, started)
