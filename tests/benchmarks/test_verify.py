"""benchmarks/verify.py runs, ends with its JSON line, and meets its bars; at full size at night."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ("--plain", "1200", "--symbolic", "60", "--from-rows", "1000", "--to-rows", "4000")


@pytest.mark.parametrize(
    ("sizes", "most_mb"), [(SMALL, 20), pytest.param((), 20, marks=[pytest.mark.nightly, pytest.mark.timeout(2400)])]
)
def test_verdicts_are_right_and_memory_stays_flat(root: Path, sizes: tuple[str, ...], most_mb: float) -> None:
    command = [sys.executable, str(root / "benchmarks" / "verify.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2400)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {"plain_per_s", "symbolic_per_s", "rss_growth_mb"}
    assert found["rss_growth_mb"] <= most_mb
    # Rates are measured on an idle machine (benchmarks/results); beside other tests they only have to be there.
    assert found["plain_per_s"] > 0
    assert found["symbolic_per_s"] > 0
