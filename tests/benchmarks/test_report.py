"""benchmarks/report.py runs, ends with its JSON line, and its figures meet the bars; at full size at night (G5)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("paths", [3_000, pytest.param(100_000, marks=[pytest.mark.nightly, pytest.mark.timeout(1500)])])
def test_memory_and_size_keep_to_their_bars(root: Path, tmp_path: Path, paths: int) -> None:
    command = [sys.executable, str(root / "benchmarks" / "report.py"), "--paths", str(paths), "--out", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rss_mb"] <= 500
    assert found["size_mb"] <= 20
    assert found["cpu_seconds"] <= 60, "processor time: what else the machine does must not matter"
    assert json.loads((tmp_path / "out.json").read_text())["settings"]["paths"] == paths


def test_the_committed_result_meets_the_bars(root: Path) -> None:
    found = json.loads((root / "benchmarks" / "results" / "report.json").read_text())
    assert (found["seconds"] <= 60, found["rss_mb"] <= 500, found["size_mb"] <= 20) == (True, True, True)
    assert found["settings"]["paths"] == 100_000
