"""Time, memory and size of the report on a run with many paths.

    python benchmarks/report.py [--paths 100000] [--words 100] [--folder FOLDER] [--out FILE]

Writes a synthetic run (not timed), then the report in a process of its own, whose peak memory is measured. The last line is
JSON: seconds, cpu_seconds, rss_mb, size_mb. The bar: at most 60 s, 500 MB, 20 MB at 100,000 paths.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from report.synthetic import STYLES, TASKS, Size, build_run

MEASURED = """
import json, resource, sys, time
from qrdistill.report import write_report
from qrdistill.store import Run
started, started_cpu = time.perf_counter(), time.process_time()
page = write_report([Run(sys.argv[1])])
print(json.dumps({
    "seconds": round(time.perf_counter() - started, 2),
    "cpu_seconds": round(time.process_time() - started_cpu, 2),
    "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    "size_mb": round(page.stat().st_size / 1e6, 2),
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=100, help="random words in each path, besides its worked steps")
    parser.add_argument("--folder", default="", help="where to keep the run; default: a temporary folder")
    parser.add_argument("--out", default="", help="also write the figures, with machine and versions, to this JSON file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary) / "run"
        number = max(1, -(-given.paths // (len(STYLES) * len(TASKS))) - 2)
        run = build_run(folder, Size(train=number, validation=2, test=500, steps=2000, epochs=3, words=given.words))
        run.close()
        print(f"{run.ledger.execute('SELECT count(*) FROM paths')[0][0]} paths", flush=True)
        run.close()
        measured = subprocess.run([sys.executable, "-c", MEASURED, str(folder)], check=True, capture_output=True, text=True)
        found = json.loads(measured.stdout.splitlines()[-1])
    if given.out:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        packages = {name: importlib.metadata.version(name) for name in ("jinja2", "numpy", "pydantic")}
        settings = {"paths": given.paths, "words": given.words}
        kept = {**found, "settings": settings, "machine": machine, "versions": packages, "seed": 0}
        Path(given.out).write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
