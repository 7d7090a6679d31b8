"""Times that a busy machine does not stretch."""

from __future__ import annotations

import time


def slowdown() -> float:
    """By how much other work stretches a plain loop on this machine just now (1 on a quiet one)."""
    begun_s, used_s = time.perf_counter(), time.process_time()
    while time.process_time() - used_s < 0.2:
        pass
    return max(1.0, (time.perf_counter() - begun_s) / 0.2)


def took_s(begun_s: float) -> float:
    """Seconds since `begun_s` (of ``time.monotonic()``), as they would have been on a quiet machine."""
    seconds = time.monotonic() - begun_s
    return seconds / slowdown() if seconds > 0.1 else seconds
