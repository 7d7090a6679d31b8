"""The equal-compute control and the leak gate in the report: found where they are, said to be missing where they are not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qrdistill.config import Config, load_recipe
from qrdistill.pipeline import run_pipeline
from qrdistill.report import write_report
from qrdistill.report.blocks import Listing, Section
from qrdistill.report.reading import metrics
from qrdistill.report.sections.control import control_among, control_blocks, control_rows
from qrdistill.report.sections.leaks import leak_table
from qrdistill.report.sections.results import read_results, results_section
from qrdistill.store import Run
from qrdistill.training.compute import compute_factor
from qrdistill.types import FilterDecision, Prediction
from recipes import toy_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """A run of the smoke recipe and the control its own report tells to make, by the very commands the report prints."""
    place = tmp_path_factory.mktemp("pair")
    run = run_pipeline(load_recipe(ROOT / "recipes" / "smoke.yaml"), place / "RUN")
    results = read_results(run)
    (listing,) = [block for block in control_blocks(run, results, None, None) if isinstance(block, Listing)]
    run.close()
    tools = place / "tools"
    tools.mkdir()
    (tools / "qrdistill").write_text(f'#!/bin/sh\nexec {sys.executable} -m qrdistill "$@"\n')
    (tools / "qrdistill").chmod(0o755)
    shell = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", "-ec", listing.text], cwd=place, env=shell, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "generate: already done" in done.stderr, "no teacher is asked again"
    return [Run(place / "RUN"), Run(place / "RUN-control")]


def cells(section: Section, caption: str) -> list[list[str]]:
    """The one table whose caption begins like this."""
    (found,) = [
        one for block in section.blocks if hasattr(block, "tables") for one in block.tables if one.caption.startswith(caption)
    ]
    return [[cell.text for cell in row] for row in found.rows]


def section_of(runs: list[Run]) -> Section:
    place = control_among(runs)
    results = [read_results(run) for run in runs]
    control, its = (None, None) if place is None else (runs[place], results[place])
    return results_section(
        runs[0], results[0], rows=control_rows(runs[0], results[0], its), more=control_blocks(runs[0], results[0], control, its)
    )


def test_without_a_control_its_rows_say_so(pair: list[Run]) -> None:
    rows = [row for row in cells(section_of(pair[:1]), "Accuracy with") if row[2] == "equal-compute control"]
    assert [row[:4] for row in rows] == [["all tasks", name, "equal-compute control", "not run"] for name in ("llama", "gemma3")]
    page = write_report(pair[:1]).read_text()
    assert "No equal-compute control is set beside this run" in page
    assert "cp -r RUN RUN-control" in page


def test_the_control_stands_beside_the_result(pair: list[Run]) -> None:
    run, control = pair
    section = section_of(pair)
    shown = {row[1]: row for row in cells(section, "Accuracy with") if row[2] == "equal-compute control"}
    minus = {row[0]: row for row in cells(section, "This run minus its equal-compute control (random)")}
    for student in ("llama", "gemma3"):
        said = [
            {
                p.question_id: p.verdict == "match"
                for p in one.ledger.all(Prediction, "student = ? AND arm = 'trained'", [student])
            }
            for one in pair
        ]
        n, right = len(said[1]), sum(said[1].values())
        assert shown[student][3] == f"{100 * right / n:.1f}%"
        assert shown[student][5:7] == [str(right), str(n)]
        difference = sum(said[0][q] - said[1][q] for q in said[0]) / n
        assert minus[student][1] == f"{100 * difference:+.1f}".replace("-", "−")
        used = [max(line[f"train/label_tokens/{student}"] for line in metrics(one).steps) for one in (run, control)]
        assert minus[student][4:6] == [f"{round(tokens):,}" for tokens in used]
        assert used[1] >= 0.97 * compute_factor(run.config) * used[0] > used[0]
    page = write_report(pair).read_text()
    assert "No equal-compute control" not in page
    assert "This run minus its equal-compute control" in page


def with_tokens(run: Run, folder: Path, frac: float) -> Run:
    """A copy of a control that saw another share of its label tokens."""
    shutil.copytree(run.folder, folder)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for line in lines:
        for key in line:
            if key.startswith("train/label_tokens/"):
                line[key] *= frac
    other = Run(folder)
    other.metrics.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return other


def test_only_an_equal_and_plain_run_is_a_control(pair: list[Run], tmp_path: Path) -> None:
    run, control = pair
    assert control_among([run, control]) == 1
    assert control_among([run, run]) is None, "a run with a router is no control"
    assert control_among([control, run]) is None, "a plain run needs none"
    assert control_rows(control, read_results(control), None) == []
    assert control_blocks(control, read_results(control), None, None) == []
    assert control_among([run, with_tokens(control, tmp_path / "less", 0.6)]) is None, "it saw fewer tokens"
    changed: Config = control.config.model_copy(update={"questions": control.config.questions.model_copy(update={"num_test": 3})})
    assert control_among([run, Run(tmp_path / "other", changed)]) is None, "it was asked other questions"


def test_the_leak_gate_s_result_is_in_the_report(pair: list[Run], tmp_path: Path) -> None:
    run = pair[0]
    found = {row[0].text: row[1].text for row in leak_table(run).rows}
    assert found["result"] == "passed, no leak found"
    assert found["test questions"] == "10"
    assert found["paths compared with them"] == "96"
    page = write_report([run]).read_text()
    assert "passed, no leak found" in page


def test_planted_leaks_are_counted_and_a_gate_that_is_off_is_a_warning(tmp_path: Path) -> None:
    test = {"id": "t", "question": "A baker sells 12 loaves on Monday and 7 loaves on Friday. How many loaves?", "answer": 19}
    own = [{"id": f"q{n}", "question": f"What is {n} plus 4?", "answer": n + 4} for n in range(4)]
    leaked = {"id": "leak", **{key: test[key] for key in ("question", "answer")}}
    path = [{"id": one["id"], "style": "cot", "response": f"The answer is {one['answer']}."} for one in [*own, leaked]]
    path[0]["response"] = f"It is like this one: {test['question']} {path[0]['response']}"
    for name, lines in (("train", [*own, leaked]), ("test", [test]), ("paths", path)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = {"kind": "jsonl", "name": "mine", "path": str(tmp_path / "train.jsonl"), "test_path": str(tmp_path / "test.jsonl")}
    for is_off in (False, True):
        recipe = toy_recipe(
            questions={"tasks": [task], "num_train": 4, "num_validation": 1, "num_test": 1},
            generate={"teachers": [{"kind": "replay", "path": str(tmp_path / "paths.jsonl")}], "styles": ["cot"]},
            filter={"allow_leaks": is_off},
        )
        run = run_pipeline(recipe, tmp_path / f"run-{is_off}", until="filter")
        found = {row[0].text: row[1] for row in leak_table(run).rows}
        if is_off:
            assert found["result"].text == "switched off: 2 leaks were let through"
            assert found["result"].tone == "warning"
            continue
        assert found["result"].text == "passed, 2 paths dropped"
        assert found["dropped, since the question gives a test question away"].text == "1"
        assert found["dropped, since the path repeats a test question"].text == "1"
        dropped = {d.question_id for d in run.ledger.all(FilterDecision, "reason = 'leak'")}
        assert set(found["questions with a dropped path"].text.split(", ")) == dropped
    begun = Run(tmp_path / "new", toy_recipe())
    assert leak_table(begun).rows[0][1].text == "not run yet"
