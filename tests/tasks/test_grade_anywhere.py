"""The same verdicts from a plain script, threads, asyncio and forked workers; nothing of the caller's is touched; nothing is left
behind (C3)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qrdistill.tasks import grade

ROWS = [
    ("number", "42", None, "6 * 7 = 42. The answer is 42."),
    ("number", "42", None, "The answer is 41."),
    ("number", "42", None, "I do not know."),
    ("choice", "B", [("A", "a cat"), ("B", "a dog")], "The best answer is B."),
    ("yesno", "yes", None, "The answer is no."),
    ("nli", "neutral", None, "Answer: neutral"),
    ("math", r"\frac{\sqrt{2}}{2}", None, r"The answer is $\frac{1}{\sqrt{2}}$."),
    ("math", r"\frac{\sqrt{2}}{2}", None, r"The answer is $\frac{1}{\sqrt{3}}$."),
    ("math", "(x+1)^2", None, r"\boxed{x^2+2x+1}"),
    ("math", "1", None, r"\boxed{\int_0^1 2x dx}"),
    ("math", "2", None, r"\boxed{\sum_{k=0}^{\infty} \frac{1}{2^k}}"),
    ("math", r"2\sqrt{3}", None, r"\boxed{9^{9^{9^9}}}"),
]
EXPECTED = [
    *("match", "differ", "unparsed"),
    "match",
    "differ",
    "match",
    *("match", "differ", "match", "match", "match", "timeout"),
]
SLOW = ("math", r"\sqrt{13}", None, r"\boxed{\int_0^1 \frac{x^{31}+4}{x^{31}+x+4} dx}")
"""A question the engine does not finish: its worker ends at the limit."""

PRELUDE = f"""
from qrdistill.tasks import grade
ROWS, SLOW = {ROWS!r}, {SLOW!r}
def ask(row):
    kind, gold, choices, response = row
    return grade(kind=kind, gold=gold, choices=choices, response=response)
def verdicts():
    return [ask(row) for row in ROWS]
"""

WAYS = {
    "plain": "print(*verdicts())",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    jobs = [pool.submit(verdicts) for _ in range(8)]
found = {tuple(job.result()) for job in jobs}
assert len(found) == 1
print(*found.pop())
""",
    "asyncio": """
import asyncio
async def main():
    alone = verdicts()
    beside = await asyncio.gather(*(asyncio.to_thread(ask, row) for row in ROWS))
    assert alone == beside
    print(*alone)
asyncio.run(main())
""",
    "the program ends in the middle of a question": """
import threading
threading.Thread(target=ask, args=(SLOW,), daemon=True).start()
print(*verdicts())
""",
    "fork": """
import os
before = verdicts()  # the parent has workers of its own when it forks
read, write = os.pipe()
child = os.fork()
if not child:
    os.write(write, " ".join(verdicts()).encode())
    os._exit(0)
assert verdicts() == before  # at the same time
os.waitpid(child, 0)
assert os.read(read, 10_000).decode().split() == before
print(*before)
""",
    "forked pool": """
import multiprocessing
verdicts()
with multiprocessing.get_context("fork").Pool(3) as pool:
    found = pool.map(ask, ROWS * 3)
assert found[:len(ROWS)] * 3 == found
print(*found[:len(ROWS)])
""",
    "fork in threads": """
import os, threading
results = []
def job():
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, " ".join(verdicts()).encode())
        os._exit(0)
    results.append(tuple(verdicts()))
    os.waitpid(child, 0)
    results.append(tuple(os.read(read, 10_000).decode().split()))
threads = [threading.Thread(target=job) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(results) == 8 and len(set(results)) == 1, results
print(*results[0])
""",
    "broken pipes are deadly": """
import signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
ask(SLOW)
print(*verdicts())
""",
    "children are ignored": """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
assert ask(SLOW) == "timeout"
print(*verdicts())
""",
    "profiling signals are blocked": """
import signal
signal.signal(signal.SIGPROF, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPROF, signal.SIGALRM})
assert ask(SLOW) == "timeout"
print(*verdicts())
""",
    "little memory": """
import resource
resource.setrlimit(resource.RLIMIT_AS, (900 << 20, 900 << 20))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
print(*verdicts())
""",
    "another folder": """
import os, tempfile
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    print(*verdicts())
    os.chdir("/")
""",
    "workers are killed from outside": """
import os, signal
from pathlib import Path
def workers():
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
found = []
for row in ROWS:
    for pid in workers():
        os.kill(pid, signal.SIGKILL)
    found.append(ask(row))
print(*found)
""",
}


def run(script: str, *, stdin: str | None = None, cwd: Path | None = None) -> str:
    """Standard output of a script that ended well and said nothing on standard error."""
    command = [sys.executable, "-W", "error", "-"] if stdin is not None else [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=280, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_the_expected_verdicts_hold_here() -> None:
    assert [grade(kind=kind, gold=gold, choices=choices, response=text) for kind, gold, choices, text in ROWS] == EXPECTED


@pytest.mark.parametrize("way", WAYS)
def test_verdicts_are_the_same_everywhere(way: str) -> None:
    assert run(PRELUDE + WAYS[way]).split() == EXPECTED


def test_a_script_needs_no_main_guard_and_may_come_from_standard_input(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(PRELUDE + "print(*verdicts())\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=True)
    assert done.stdout.split() == EXPECTED
    assert run("", stdin=PRELUDE + "print(*verdicts())\n", cwd=tmp_path).split() == EXPECTED


def test_signal_handlers_and_timers_are_the_caller_s() -> None:
    """Handlers stay in place, none is called, no timer is set; a worker that is ended at its limit changes nothing."""
    script = """
import signal
called = []
handler = lambda number, frame: called.append(number)
numbers = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD})
for number in numbers:
    signal.signal(number, handler)
before = {number: signal.getsignal(number) for number in signal.valid_signals()}
assert ask(SLOW) == "timeout"
print(*verdicts())
assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before
assert called == [], called
assert [signal.getitimer(timer) for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)] == [(0.0, 0.0)] * 3
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
"""
    assert run(PRELUDE + script).split() == EXPECTED


def test_an_interrupted_question_never_answers_the_next() -> None:
    """An alarm that raises in the middle of a question, at eight moments, leaves right verdicts and free workers."""
    script = """
import signal, time
class Alarm(Exception): ...
def ring(number, frame): raise Alarm
signal.signal(signal.SIGALRM, ring)
ask(ROWS[9])
interrupted = 0
for number in range(8):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02 + number / 15)
        ask(SLOW)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Alarm:
        interrupted += 1
    assert [ask(("math", "x+1", None, f"The answer is $x+{n}$.")) for n in (2, 3)] == ["differ"] * 2
assert interrupted >= 6, interrupted
print(*verdicts())
"""
    assert run(PRELUDE + script).split() == EXPECTED


def children(pid: int) -> list[int]:
    """Processes a process started, from any of its threads."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("is_busy", [False, True])
def test_no_worker_outlives_a_killed_owner(is_busy: bool) -> None:
    script = (
        PRELUDE + "verdicts()\nprint('asked', flush=True)\n" + ("ask(SLOW)\n" if is_busy else "") + "import time; time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout
            assert owner.stdout.readline() == "asked\n"
            workers = children(owner.pid)
            assert workers
            limits = Path(f"/proc/{workers[0]}/limits").read_text()
            assert {line.split("  ")[0]: line.split()[-3] for line in limits.splitlines()}["Max address space"] == str(1 << 30)
        finally:
            owner.send_signal(signal.SIGKILL)
            owner.wait()
    deadline_s = time.monotonic() + 120  # ends after two seconds of computing, however long these take
    while any(map(is_running, workers)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not [pid for pid in workers if is_running(pid)]


def test_a_worker_that_cannot_start_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    script = """
import sys
from qrdistill.errors import UsageError
sys.executable = {executable!r}
try:
    print(verdicts())
except UsageError as error:
    print(error)
"""
    found = run(PRELUDE + script.format(executable=str(tmp_path / "none")))
    assert found.startswith("cannot start the process that compares formulas")
    broken = tmp_path / "python"
    broken.write_text('#!/bin/sh\necho \'{"failed": "no module"}\'\n')
    broken.chmod(0o755)
    assert "did not start (no module)" in run(PRELUDE + script.format(executable=str(broken)))
    assert os.access(broken, os.X_OK)
