"""`report` and the viewers on what they cannot use as it is: one sentence and a stable exit code, and the rest is shown."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import qrdistill
from qrdistill.cli.main import run_app
from qrdistill.report import write_report
from qrdistill.store import Run
from qrdistill.types import FilterDecision
from report.chromium import Page, find_chromium
from report.synthetic import build_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = build_run(tmp_path_factory.mktemp("runs") / "toy")
    write_report([run])
    run.close()
    return run.folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def newer_ledger(folder: Path) -> None:
    database = sqlite3.connect(folder / "ledger.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()


def newer_config(folder: Path) -> None:
    """A setting this version does not know, in a file that is otherwise whole."""
    path = folder / "config.yaml"
    header, _, text = path.read_text().partition("\n")
    text += "setting_of_next_year: 1\n"
    digest = next(word for word in header.replace(":", " ").split() if len(word) >= 16)
    new = hashlib.sha256(text.encode()).hexdigest()[: len(digest)]
    path.write_text(f"{header.replace(digest, new)}\n{text}")


@pytest.mark.parametrize(
    ("make_newer", "says"),
    [(newer_ledger, "written by a newer version"), (newer_config, "this run was made by another version of qrdistill")],
)
@pytest.mark.parametrize("verb", ["report", "show", "explain"])
def test_a_run_of_a_newer_version_is_refused_and_left_alone(
    make_newer: object, says: str, verb: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (folder / "report.html").read_bytes()
    make_newer(folder)  # type: ignore[operator]
    given = ["chain_sum-test-00007"] if verb == "explain" else []
    assert run_app([verb, str(folder), *given, "--json"]) == 65
    printed = capsys.readouterr()
    error = json.loads(printed.out)
    assert error["exit_code"] == 65
    assert says in error["error"]
    assert "\n" not in error["error"]
    assert "Traceback" not in printed.err
    assert (folder / "report.html").read_bytes() == page


def test_words_a_newer_version_may_write_are_shown_as_they_are(folder: Path) -> None:
    """A drop reason and a metric this version does not know change no other number."""
    run = Run(folder)
    with run.owned():
        first = run.ledger.all(FilterDecision, "NOT is_kept")[0]
        run.ledger.add([FilterDecision(path_id=first.path_id, question_id=first.question_id, style=first.style, is_kept=False,
                                       reason="refuted_by_proof")])  # fmt: skip
        run.finish("filter", {"again": 1})
    with run.metrics.open("a") as file:
        file.write('{"step": 99999, "room/of_the_future": 1.0}\n')
    page = write_report([run]).read_text()
    assert "refuted_by_proof" in page


def test_what_is_no_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "not-there"):
        code = run_app(["report", str(tmp_path / name), "--json"])
        error = json.loads(capsys.readouterr().out)
        assert code == error["exit_code"] != 0
        assert name in error["error"]
    assert not (tmp_path / "not-there").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_unfinished_run_says_what_is_missing_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = build_run(tmp_path / "run", until="filter")
    run.close()
    assert run_app(["report", str(run.folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["next"] == f"qrdistill train {run.folder}"
    page = Path(found["report"]).read_text()
    assert "This run is not finished: train, evaluate still to do" in page
    assert "Filter funnel" in page
    for absent in ("No scores yet", "No routing decisions yet", "No training metrics yet"):
        assert absent in page


@pytest.mark.parametrize("name", ["blocks.html.j2", "report.css"])
def test_a_damaged_installation_leaves_the_earlier_report_alone(name: str, tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", until="filter")
    page = write_report([run]).read_bytes()
    run.close()
    source = Path(qrdistill.__file__).parents[1]
    shutil.copytree(source, tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    template = tmp_path / "source" / "qrdistill" / "report" / "templates" / name
    template.write_text("{% macro cut off") if name.endswith("j2") else template.unlink()
    command = [sys.executable, "-m", "qrdistill", "report", str(run.folder), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "source")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == 70
    assert "crash.txt" in found["error"]
    assert "\n" not in found["error"]
    assert "Traceback" not in done.stderr
    assert "Traceback" in (run.folder / "crash.txt").read_text()
    assert (run.folder / "report.html").read_bytes() == page


def opened(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`report --open` in a process that sees no browser but those named."""
    known = {key: value for key, value in os.environ.items() if key not in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "qrdistill", "report", str(folder), "--open", "--json"]
    return subprocess.run(command, env={**known, **environment}, capture_output=True, text=True, timeout=120)


def test_without_a_browser_the_report_is_there_and_says_where_to_take_it(folder: Path, tmp_path: Path) -> None:
    done = opened(folder, PATH=str(tmp_path))
    assert done.returncode == 0
    assert Path(json.loads(done.stdout)["report"]).is_file()
    assert "no browser could be opened here; copy" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_a_browser_it_is_opened(folder: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/seen\n')
    browser.chmod(0o755)
    done = opened(folder, BROWSER=f"{browser} %s")
    assert done.returncode == 0
    assert (tmp_path / "seen").read_text().strip() == (folder / "report.html").resolve().as_uri()
    assert "no browser" not in done.stderr


@pytest.mark.skipif(find_chromium() is None, reason="no chromium on the PATH")
def test_a_browser_that_cannot_unpack_the_questions_says_so(finished: Path, tmp_path: Path) -> None:
    program = find_chromium()
    assert program is not None
    page = Page(program, tmp_path / "profile")
    try:
        page.call("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.DecompressionStream")
        page.open(finished / "report.html")
        assert "too old to unpack the questions; report.md" in page.run("document.getElementById('q-status').textContent")
        assert page.run("document.querySelector('#results table') !== null"), "the rest is shown"
        assert page.complaints() == []
    finally:
        page.close()
