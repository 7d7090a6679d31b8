"""The screen that follows a run shows what the ledger holds, while another process writes it; it writes nothing itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("textual", reason="needs the extra tui")
import yaml
from textual.widgets import Static

from harness.books import gold_answers, write_recipe
from harness.client import KEY, VARIABLE
from harness.fault_server import FaultServer
from harness.killer import start
from qrdistill.report import write_report
from qrdistill.report.live import Snapshot
from qrdistill.report.watch import Watch, head, look, path_lines, spark, training_lines, work_lines
from qrdistill.store import Ledger, Run
from qrdistill.types import Attempt, FilterDecision, PathRequest, ReasoningPath
from report.hostile import PAYLOADS
from report.synthetic import STUDENTS, build_run


def on(screen: Watch, part: str) -> str:
    return str(screen.query_one(f"#{part}", Static).render())


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """However long it takes, as long as the process lives."""
    while not is_so():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


@contextlib.contextmanager
def frozen(process: subprocess.Popen[str], folder: Path):  # type: ignore[no-untyped-def]
    """The run stands still, wherever it is; yields its ledger."""
    process.send_signal(signal.SIGSTOP)
    ledger = Ledger(folder / "ledger.sqlite", is_read_only=True)
    try:
        yield ledger
    finally:
        ledger.close()
        process.send_signal(signal.SIGCONT)


def recipe(folder: Path, url: str) -> Path:
    """One paid teacher with one call at a time, one tiny student, some steps of training."""
    path = write_recipe(folder, url, num_train=4, limits={"max_concurrency": 1}, **{"budget.run_usd": 1000})
    tree = yaml.safe_load(path.read_text())
    tree["generate"]["styles"] = ["cot", "fact"]
    tree["method"] = {"policy": {"kind": "random", "budget": 1}}
    tree["training"] = {"questions_per_step": 1, "epochs": 3, "checkpoint_steps": 2}
    tree["runtime"] = {"threads": 1}
    path.write_text(yaml.safe_dump(tree))
    return path


async def test_it_follows_a_run_that_another_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    golds: dict[str, str] = {}
    folder = tmp_path / "run"
    with FaultServer(latency_s=0.2, answer=lambda prompt: f"We add. The answer is {golds[prompt.splitlines()[0]]}.") as server:
        path = recipe(tmp_path, server.url)
        golds |= gold_answers(path)
        process = start(["-m", "qrdistill", "run", str(path), "-o", str(folder), "--until", "train"])
        try:
            wait_until(lambda: len(server.accepted) >= 4, process)
            with frozen(process, folder) as ledger:
                async with Watch(lambda: look(folder), every_s=3600).run_test(size=(120, 40)) as pilot:
                    await pilot.app.workers.wait_for_complete()
                    await pilot.pause()
                    screen = pilot.app
                    assert isinstance(screen, Watch)
                    assert f"process {process.pid} works on it" in on(screen, "head")
                    asked, came = ledger.count(PathRequest), ledger.count(ReasoningPath)
                    assert 0 < came < asked
                    assert "generate  under way" in on(screen, "work")
                    assert f"paths     {came} of {asked} requests" in on(screen, "work")
                    spent = sum(attempt.cost_usd for attempt in ledger.all(Attempt, "outcome = 'ok'"))
                    assert f"teachers  ${spent:#.2g}" in on(screen, "work") or f"teachers  ${spent:,.2f}" in on(screen, "work")
                    assert "of $1,000.00" in on(screen, "work")
                    newest = max(ledger.all(Attempt, "outcome = 'ok'"), key=lambda attempt: attempt.finished_s)
                    (last,) = ledger.all(ReasoningPath, "id = ?", (newest.path_id,))
                    assert on(screen, "paths").splitlines()[1].endswith(last.text)
                    assert "training has not begun" in on(screen, "training")

                    process.send_signal(signal.SIGCONT)
                    wait_until(lambda: ledger.count(ReasoningPath) > came, process)
                    process.send_signal(signal.SIGSTOP)
                    more = ledger.count(ReasoningPath)
                    await pilot.press("r")
                    await screen.workers.wait_for_complete()
                    await pilot.pause()
                    assert f"paths     {more} of {asked} requests" in on(screen, "work"), "it has grown"
            metrics = folder / "metrics.jsonl"
            wait_until(lambda: metrics.is_file() and metrics.read_text().count("\n") >= 2, process)
            with frozen(process, folder) as ledger:
                lines = [json.loads(line) for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]
                seen = look(folder)
                assert seen.training
                assert seen.training.losses["one"] == tuple(line["loss/sft/one"] for line in lines)
                shown = "\n".join(map(str, [*work_lines(seen), *training_lines(seen)]))
                assert f"step {lines[-1]['step']}," in shown
                assert f"loss {lines[-1]['loss/sft/one']:.3f} nats" in shown
                assert f"gate {lines[-1]['routing/load/one']:.2f}" in shown
                assert f"filter    {ledger.count(FilterDecision, 'is_kept')} kept" in shown
                assert "train     under way" in shown or seen.stages["train"] == "finished"
            out, err = process.communicate(timeout=200)
            assert process.returncode == 0, out + err
        finally:
            process.kill()
            process.communicate()
    after = look(folder)
    assert after.owner == 0
    assert after.stages | {"evaluate": "", "report": ""} == {
        "generate": "finished", "filter": "finished", "train": "finished", "evaluate": "", "report": ""
    }  # fmt: skip
    assert "nobody works on it" in str(head(after)[0])


def test_looking_changes_nothing_and_locks_nobody(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    run.close()
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(run.folder.rglob("*")) if path.is_file()}
    with run.owned():
        assert look(run.folder).owner == os.getpid(), "a reader is not refused"
    run.close()
    seen = look(run.folder)
    assert seen.num_paths == seen.num_kept + seen.num_dropped > 0
    files = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(run.folder.rglob("*")) if path.is_file()}
    changed = {path.name for path in before if before[path] != files.get(path)}
    assert changed <= {"lock", "manifest.json"}, "those that the writer above wrote"


async def test_a_run_without_a_ledger_and_one_that_vanishes(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    run.close()
    (run.folder / "ledger.sqlite").rename(tmp_path / "aside")
    seen = look(run.folder)
    assert (seen.num_paths, set(seen.stages.values())) == (0, {"waiting"})
    (run.folder / "config.yaml").unlink()
    async with Watch(lambda: look(run.folder), every_s=3600).run_test() as pilot:
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert "holds no run" in on(pilot.app, "head")  # type: ignore[arg-type]
        await pilot.press("q")


def test_hostile_paths_cannot_steer_the_terminal(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    with run.owned():
        evil = run.ledger.all(ReasoningPath)[: len(PAYLOADS)]
        run.ledger.add(
            ReasoningPath(
                id=path.id, question_id=path.question_id, teacher=text[:40], style=text[:40], sample=0, text=f"\x1b[2J{text}"
            )
            for path, text in zip(evil, PAYLOADS, strict=False)
        )
        now = time.time()
        run.ledger.add(
            Attempt(id=f"evil{number}", path_id=path.id, started_s=now, finished_s=now + number, outcome="ok")
            for number, path in enumerate(evil)
        )
    run.close()
    shown = [str(line) for line in path_lines(look(run.folder))]
    assert len(shown) > 5
    for line in shown:
        assert line.isprintable()
        assert "⟨U+001B⟩" in line or line == "newest paths"


def test_losses_are_drawn_between_their_least_and_greatest(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    run.close()
    seen: Snapshot = look(run.folder)
    assert seen.training
    assert set(seen.training.losses) == set(STUDENTS)
    curve = spark(seen.training.losses[STUDENTS[0]])
    values = seen.training.losses[STUDENTS[0]]
    assert curve[values.index(max(values))] == "█"
    assert curve[values.index(min(values))] == "▁"
    assert spark([2.0, 2.0]) == "▁▁"


def test_the_verb_draws_on_a_real_terminal_and_q_leaves(tmp_path: Path) -> None:
    """The command itself on a pseudo-terminal, as a user types it; however long it takes."""
    run = build_run(tmp_path / "run")
    write_report([run])
    run.close()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    command = [sys.executable, "-m", "qrdistill", "show", str(run.folder), "--follow"]
    env = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True) as process:
        os.close(theirs)
        try:
            drawn = b""
            while b"evaluate" not in drawn:
                drawn += os.read(ours, 65536)
            os.write(ours, b"q")
            with contextlib.suppress(OSError):  # the terminal is gone when the process has ended
                while more := os.read(ours, 65536):
                    drawn += more
            assert process.wait(timeout=200) == 0
        finally:
            process.kill()
            os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", drawn.decode("utf-8", "replace"))
    for word in ("finished: open", "paths", "kept", *STUDENTS):
        assert word in text.replace("\u00a0", " "), word


def test_without_the_extra_one_sentence_names_it(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    run.close()
    code = (
        "import sys; sys.modules['textual'] = None\n"
        f"from qrdistill.cli.main import run_app; sys.exit(run_app(['show', {str(run.folder)!r}, '--follow']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr == "qrdistill: show --follow needs the package textual; run: pip install 'qrdistill[tui]'\n"
    plain = subprocess.run(
        [sys.executable, "-m", "qrdistill", "show", str(run.folder), "--follow"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert plain.returncode == 2
    assert "draws on a terminal" in plain.stderr
    assert Run(run.folder).config.name == "toy"
