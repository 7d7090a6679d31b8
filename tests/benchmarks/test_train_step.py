"""benchmarks/train_step.py runs every arm on the same labels and ends with its JSON line; tiny students prove no figure."""

import json
import subprocess
import sys
from pathlib import Path

ARMS = {"bare", "plain", "ours", "hf", "trl", "trl_padding_free"}


def test_every_arm_trains_on_the_same_labels(root: Path, tmp_path: Path) -> None:
    """The script stops with an error if the arms' first losses differ by 1e-3."""
    out = tmp_path / "found.json"
    sizes = ("--students", "tiny", "--shapes", "60x2,60x3", "--rounds", "1")
    command = [sys.executable, str(root / "benchmarks" / "train_step.py"), *sizes, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    kept = json.loads(out.read_text())
    assert last.keys() == {"vs_hf", "vs_trl", "overhead"}
    assert kept["shapes"].keys() == {"60x2", "60x3"}
    for shape in kept["shapes"].values():
        assert shape["cpu_s"].keys() == ARMS
        assert all(seconds > 0 for seconds in shape["cpu_s"].values())
        per_s = shape["label_tokens"] / shape["cpu_s"]["hf"]
        assert abs(shape["label_tokens_per_s"]["hf"] - per_s) <= 0.05 * per_s
    assert last == {name: kept["shapes"]["60x2"][name] for name in last}
    assert kept["per_student"]["1"] == 1.0
    assert kept["per_student"].keys() == {"1", "2", "3", "4"}
