"""A worker process of a study: reads units as JSON lines on stdin, does them, answers each with one JSON line on stdout.

It serves many units, so models' libraries are loaded once. What libraries print goes to stderr (the study's log file). When the
study goes away (stdin closes), the unit under way ends as with Ctrl-C: checkpoints and answers are kept.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any

from qrdistill.errors import QRDistillError


class Log:
    """Progress as lines of a log: notes and the start and end of each piece of work."""

    def __init__(self) -> None:
        self._label = ""

    def start(self, total: int, label: str) -> None:
        """Begin a piece of work."""
        self._label = label
        self.note(f"{label}: {total}")

    def advance(self, n: int = 1) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Print one line."""
        print(text, file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Say that it ended."""
        if self._label:
            self.note(f"{self._label}: ended")
        self._label = ""


def main() -> int:
    """Serve until stdin closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while line := lines.get():
            answers.write(json.dumps(_answer(json.loads(line))) + "\n")
            answers.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    return 0


def _listen(lines: queue.Queue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put("")
    os.kill(os.getpid(), signal.SIGTERM)  # nobody is left to answer to


def _answer(tree: dict[str, Any]) -> dict[str, Any]:
    from qrdistill.study.units import Unit, do

    unit = Unit.from_dict(tree)
    print(f"--- {unit.label}", file=sys.stderr, flush=True)
    try:
        do(unit, Log())
    except QRDistillError as error:
        print(f"{error}", file=sys.stderr, flush=True)
        return {"error": str(error), "kind": type(error).__name__}
    except Exception as error:  # becomes "a bug in qrdistill" where the study is, with the traceback in the log
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", "kind": ""}
    finally:
        _let_go()
    return {}


def _let_go() -> None:
    """Give memory back before the next unit, so that several workers can share one GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
