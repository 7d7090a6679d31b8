"""How many verdicts a second the grader gives on two cores, and whether it takes more memory the longer it runs.

    python benchmarks/verify.py [--plain 40000] [--symbolic 2000] [--from-rows 10000] [--to-rows 100000] [--out FILE]

plain_per_s: verdicts on replies of about 60 words whose answer is a number or an option, half each, by two processes.
symbolic_per_s: verdicts on formulas that are equal or not only after algebra, asked by two threads, computed in worker processes;
one in four is an integral or a sum for the symbolic engine. rss_growth_mb: growth of the memory of this process and its workers
between `--from-rows` and `--to-rows` verdicts, one in a hundred symbolic. No question comes twice, so nothing is remembered.
The last line is JSON: plain_per_s, symbolic_per_s, rss_growth_mb. The bars: 3,000, 60, 20 MB.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from qrdistill.tasks import grade

CORES = 2
REASONING = (
    "Let's think step by step. There are {a} boxes in the store, and each of them holds {b} pens, so all together hold "
    "{a} * {b} = {product} pens. Of these {c} are sold in the morning and none in the afternoon. What is left is the number of "
    "pens in the boxes less the number that was sold, which is {product} - {c} = {left}.\n\n"
)
LETTERS = "ABCDE"
Row = dict[str, Any]


def number_row(n: int) -> tuple[Row, str]:
    """A reply that ends in a number; every third states another one."""
    a, b, c = n % 97 + 2, n % 89 + 3, n
    left = a * b - c
    stated = left + (n % 3 == 0)
    response = REASONING.format(a=a, b=b, c=c, product=a * b, left=left) + f"The answer is {stated}."
    return {"kind": "number", "gold": str(left), "choices": None, "response": response}, "differ" if n % 3 == 0 else "match"


def choice_row(n: int) -> tuple[Row, str]:
    """A reply that ends in an option's letter; every third states another one."""
    options = [(letter, f"{n + 7 * index} pens") for index, letter in enumerate(LETTERS)]
    gold, stated = LETTERS[n % 5], LETTERS[(n + (n % 3 == 0)) % 5]
    response = REASONING.format(a=n, b=2, c=n, product=2 * n, left=n) + f"So the best answer is ({stated})."
    return {"kind": "choice", "gold": gold, "choices": options, "response": response}, "differ" if n % 3 == 0 else "match"


def plain_row(n: int) -> tuple[Row, str]:
    return (number_row if n % 2 else choice_row)(n)


def symbolic_row(n: int) -> tuple[Row, str]:
    """A formula that equals the gold one by algebra; in every third one sign or number is another."""
    a, b, off = n + 2, n % 83 + 3, n % 3 == 0
    gold, answer = (
        (rf"\frac{{\sqrt{{{a}}}}}{{{b}}}", rf"\frac{{{a + off}}}{{{b}\sqrt{{{a}}}}}"),
        (rf"(x+{a})(x+{b})", rf"x^2+{a + b}x+{a * b + off}"),
        (rf"2\sin x\cos x+{a}", rf"\sin(2x)+{a + off}"),
        (rf"\frac{{{a * a}}}{{2}}", rf"\int_0^{{{a}}} x dx")
        if n % 8 == 3
        else (str(2 * a), rf"\sum_{{k=0}}^{{\infty}} \frac{{{a}}}{{2^k}}"),
    )[n % 4]
    if n % 4 == 3 and off:
        gold += "+1"
    return {
        "kind": "math",
        "gold": gold,
        "choices": None,
        "response": f"We get $\\boxed{{{answer}}}$.",
    }, "differ" if off else "match"


def count_wrong(make: Callable[[int], tuple[Row, str]], numbers: range) -> int:
    """Grade some rows; how many verdicts are not the right one."""
    return sum(grade(**row) != wanted for row, wanted in map(make, numbers))


def measure(pool: ProcessPoolExecutor | ThreadPoolExecutor, make: Callable[[int], tuple[Row, str]], count: int) -> float:
    """Verdicts a second of a warm pool."""
    list(pool.map(count_wrong, [make] * CORES, [range(10**6 + k, 10**6 + 40 + k) for k in range(CORES)]))
    started_s = time.perf_counter()
    wrong = sum(pool.map(count_wrong, [make] * CORES, [range(k, count, CORES) for k in range(CORES)]))
    took_s = time.perf_counter() - started_s
    assert not wrong, f"{wrong} of {count} verdicts of {make.__name__} are wrong"
    return count / took_s


def mixed_rows(count: int) -> Iterator[tuple[Row, str]]:
    for n in range(count):
        yield symbolic_row(n // 100 + 10**5) if n % 100 == 99 else plain_row(n)


def measure_growth(from_rows: int, to_rows: int) -> float:
    before, found = 0.0, Counter[bool]()
    for n, (row, wanted) in enumerate(mixed_rows(to_rows), start=1):
        found[grade(**row) == wanted] += 1
        if n == from_rows:
            before = rss_mb()
        if n % 10_000 == 0:
            print(f"{n:>8,} verdicts: {rss_mb():.0f} MB", flush=True)
    assert not found[False], f"{found[False]} of {to_rows} verdicts are wrong"
    return rss_mb() - before


def rss_mb() -> float:
    """Memory of this process and of those it started."""
    tasks = Path("/proc/self/task").iterdir()
    pids = ["self", *(pid for task in tasks for pid in (task / "children").read_text().split())]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", type=int, default=40_000)
    parser.add_argument("--symbolic", type=int, default=2_000)
    parser.add_argument("--from-rows", type=int, default=10_000)
    parser.add_argument("--to-rows", type=int, default=100_000)
    parser.add_argument("--out", default="", help="also write the figures, with machine and versions, to this JSON file")
    given = parser.parse_args()
    found: dict[str, float] = {}
    with ProcessPoolExecutor(CORES) as processes:
        for name, make in (("number", number_row), ("choice", choice_row)):
            print(f"{name}: {measure(processes, make, given.plain // 4):,.0f} verdicts/s", flush=True)
        found["plain_per_s"] = round(measure(processes, plain_row, given.plain))
    with ThreadPoolExecutor(CORES) as threads:
        found["symbolic_per_s"] = round(measure(threads, symbolic_row, given.symbolic), 1)
    print(f"plain {found['plain_per_s']:,} verdicts/s, symbolic {found['symbolic_per_s']:,}", flush=True)
    found["rss_growth_mb"] = round(measure_growth(given.from_rows, given.to_rows), 1)
    if given.out:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        packages = {name: importlib.metadata.version(name) for name in ("math-verify", "mpmath", "sympy")}
        settings = {key: value for key, value in vars(given).items() if key != "out"}
        kept = {**found, "settings": settings, "machine": machine, "versions": packages}
        Path(given.out).write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
