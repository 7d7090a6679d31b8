"""The report's numbers, each against a plain count over the records; the stage's bookkeeping; unfinished runs; several runs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from qrdistill.errors import RunInUseError, UsageError
from qrdistill.report import write_report
from qrdistill.report.browser import browser_data
from qrdistill.report.reading import labels, metrics
from qrdistill.report.sections.audit import audit_section
from qrdistill.report.sections.compare import compare_section
from qrdistill.report.sections.funnel import funnel_section, gate_of, read_cohorts
from qrdistill.report.sections.results import gain_of, headline, read_results
from qrdistill.report.sections.routing import routing_section
from qrdistill.report.sections.team import team_section
from qrdistill.report.tables import Table
from qrdistill.store import Run
from qrdistill.types import (
    Attempt,
    FilterDecision,
    JudgeVerdict,
    PathRequest,
    PlantedFlaw,
    Prediction,
    Question,
    ReasoningPath,
    Route,
    Score,
)
from report.synthetic import STUDENTS, STYLES, Size, build_run, config, score


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return build_run(tmp_path_factory.mktemp("runs") / "toy")


def find(section: object, caption: str) -> list[list[str]]:
    """The cells of the one table whose caption begins like this."""
    blocks = [block for block in section.blocks if hasattr(block, "tables")]  # type: ignore[attr-defined]
    found: list[Table] = [table for block in blocks for table in block.tables if table.caption.startswith(caption)]
    assert len(found) == 1, caption
    return [[cell.text for cell in row] for row in found[0].rows]


def test_funnel_counts_add_up(run: Run) -> None:
    cohorts = read_cohorts(run)
    paths, decisions = run.ledger.all(ReasoningPath), run.ledger.all(FilterDecision)
    assert [c.style for c in cohorts] == list(STYLES)
    assert sum(c.num_generated for c in cohorts) == len(paths) == len(decisions)
    plain = Counter((d.style, "kept" if d.is_kept else d.reason) for d in decisions)
    assert {(c.style, reason): n for c in cohorts for reason, n in c.reasons.items()} == plain
    section = funnel_section(run, cohorts)
    for row in find(section, "Filter funnel"):
        passed = [int(cell.replace(",", "")) for cell in row[2:9]]
        assert passed == sorted(passed, reverse=True)
        assert passed[-1] == passed[-2], "what passes the last check is kept"
    for column in list(zip(*find(section, "Every path has one outcome"), strict=True))[1:]:
        numbers = [0 if cell == "–" else int(cell.replace(",", "")) for cell in column]
        assert sum(numbers[:-1]) == numbers[-1]


def test_cost_counts_every_path_not_only_the_kept(run: Run) -> None:
    paths = run.ledger.all(ReasoningPath)
    kept = run.ledger.count(FilterDecision, "is_kept")
    assert sum(c.cost_usd for c in read_cohorts(run)) / kept == pytest.approx(sum(p.cost_usd for p in paths) / kept)


def test_audit_agrees_with_the_hidden_truth(run: Run) -> None:
    truth = {p.path_id: p.flaw for p in run.ledger.all(PlantedFlaw)}
    checked: dict[str, list[bool]] = defaultdict(list)
    for decision in run.ledger.all(FilterDecision):
        if decision.is_kept or gate_of(decision.reason) in ("answer", "judge"):
            checked[truth[decision.path_id]].append(not decision.is_kept)
    rows = {row[0]: row for row in find(audit_section(run), "Planted truth")}
    names = {"wrong_answer": "wrong answer", "spurious_step": "false step, right answer", "none": "sound"}
    for flaw, dropped in checked.items():
        assert rows[names[flaw]][1:3] == [str(len(dropped)), str(sum(dropped))]


def test_routing_rates_are_plain_means(run: Run) -> None:
    style_of = {d.path_id: d.style for d in run.ledger.all(FilterDecision)}
    routes = run.ledger.all(Route)
    low, high = min(r.step for r in routes), max(r.step for r in routes)
    cells: dict[tuple[str, str, int], list[bool]] = defaultdict(list)
    for route in routes:
        third = min(2, (route.step - low) * 3 // (high - low + 1))
        cells[route.student, style_of[route.path_id], third].append(route.is_routed)
    section = routing_section(run)
    thirds = next(block for block in section.blocks if hasattr(block, "tables")).tables
    assert [table.caption for table in thirds] == [f"Share of paths routed to {student}" for student in STUDENTS]
    for student, table in zip(STUDENTS, thirds, strict=True):
        for row in table.rows[:-1]:
            style, *shares = [cell.text for cell in row]
            for third, share in enumerate(shares):
                picked = cells[student, style, third]
                assert share == (f"{100 * sum(picked) / len(picked):.0f}%" if picked else "–")
        assert sum(int(cell.text) for cell in table.rows[-1][1:]) == sum(r.student == student for r in routes)


def test_gain_is_the_paired_difference(run: Run) -> None:
    results = read_results(run)
    right = {(p.student, p.arm, p.question_id): p.verdict == "match" for p in run.ledger.all(Prediction)}
    for student in STUDENTS:
        ids = [q for s, arm, q in right if s == student and arm == "trained"]
        plain = [right[student, "trained", q] - right[student, "zero_shot", q] for q in ids]
        gain = results.gains[student]
        assert gain.value == pytest.approx(sum(plain) / len(plain))
        assert (gain.num_gained, gain.num_lost, gain.n) == (plain.count(1), plain.count(-1), len(plain))
        assert gain.low < gain.value < gain.high
    assert "40 held-out questions (95% interval" in headline(run, results)


def test_timeouts_are_left_out_of_the_pairing(run: Run) -> None:
    given = read_results(run).answers
    unfinished = tuple(dataclasses.replace(a, is_right=None) if i < 4 else a for i, a in enumerate(given))
    assert gain_of(unfinished, STUDENTS[0]).n < gain_of(given, STUDENTS[0]).n  # type: ignore[union-attr]


def test_judges_on_their_planted_controls(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    findings = {"bad": ["drop"] * 9 + ["keep"] * 2 + ["unknown"], "good": ["keep"] * 11 + ["drop"]}
    with run.owned():
        run.ledger.add(
            JudgeVerdict(path_id=f"control/{sort}/{index}", judge="llm", decision=decision)
            for sort, decisions in findings.items()
            for index, decision in enumerate(decisions)
        )
    section = audit_section(run)
    assert find(section, "Each judge on planted controls")[0][:5] == ["llm", "12", "9", "2", "75.0%"]
    assert find(section, "Each judge on planted controls")[0][6:] == ["12", "1"]
    read = {row[0]: row[1:5] for row in find(section, "What each judge found")}
    kept = run.ledger.count(JudgeVerdict, "judge = 'step_checker' AND decision = 'keep'")
    dropped = run.ledger.count(JudgeVerdict, "judge = 'step_checker' AND decision = 'drop'")
    assert read == {"llm": ["0", "0", "0", "0"], "step_checker": [str(kept + dropped), str(kept), str(dropped), "0"]}


def test_runs_are_compared_question_by_question(tmp_path: Path) -> None:
    runs = [build_run(tmp_path / name) for name in ("a", "b")]
    with runs[1].owned():
        answers = runs[1].ledger.all(Prediction, "student = ? AND arm = 'trained'", [STUDENTS[0]])
        wrong = [dataclasses.replace(p, verdict="differ") for p in answers if p.verdict == "match"]
        runs[1].ledger.add(wrong)
    section = compare_section(runs, [read_results(run) for run in runs])
    rows = {row[1]: row for row in find(section, "toy, seed 0 (1) minus each other run")}
    assert rows[STUDENTS[0]][2] == f"+{100 * len(wrong) / 40:.1f}"
    assert rows[STUDENTS[0]][4:] == [str(len(wrong)), "0", "40"]
    assert rows[STUDENTS[1]][2:4] == ["+0.0", "+0.0 to +0.0"]


def test_team_matrix(run: Run) -> None:
    said = {(p.student, p.question_id): p for p in run.ledger.all(Prediction, "arm = 'trained'")}
    ids = sorted({q for _, q in said})
    both = sum(said[STUDENTS[0], q].verdict == said[STUDENTS[1], q].verdict == "match" for q in ids)
    assert find(team_section(run, read_results(run)), "Who is right, trained")[0][1] == f"{100 * both / len(ids):.1f}%"


def test_cut_answers_make_a_score_not_comparable(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    assert "not comparable" not in write_report([run]).read_text()
    with run.owned():
        run.ledger.add([score("trained", STUDENTS[0], "all", 10, 40, truncated_frac=0.021)])
        run.finish("evaluate", {"again": 1})
    page = write_report([run]).read_text()
    assert "not comparable" in page
    assert "Not comparable: more than 2% of the answers" in page
    assert "not comparable" in (run.folder / "report.md").read_text()


def test_same_ledger_same_bytes(tmp_path: Path) -> None:
    first, second = (build_run(tmp_path / name) for name in ("one", "another-name"))
    for name in ("report.html", "report.md"):
        write_report([first])
        write_report([second])
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_the_page_names_no_folder_and_no_time(tmp_path: Path) -> None:
    page = write_report([build_run(tmp_path / "some-folder")]).read_text()
    assert "some-folder" not in page
    assert str(tmp_path) not in page


def test_a_finished_report_is_skipped_until_something_changes(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    page = write_report([run])
    assert run.is_done("report")
    before = page.stat().st_mtime_ns
    write_report([run])
    assert page.stat().st_mtime_ns == before
    with run.owned():
        run.finish("evaluate", {"graded": "again"})
    assert "graded again" in write_report([run]).read_text()
    (run.folder / "report.md").unlink()
    write_report([run])
    assert (run.folder / "report.md").is_file()


@pytest.mark.parametrize(
    ("until", "missing"),
    [("generate", "filter, train, evaluate"), ("filter", "train, evaluate"), ("train", "evaluate")],
)
def test_an_unfinished_run_shows_what_there_is(tmp_path: Path, until: str, missing: str) -> None:
    run = build_run(tmp_path / "run", until=until)
    page = write_report([run]).read_text()
    assert f"This run is not finished: {missing} still to do" in page
    assert "leg_counting" in page
    assert not run.is_done("report")


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", config())
    page = write_report([run]).read_text()
    assert "generate, filter, train, evaluate still to do" in page
    assert "No questions yet" in page
    assert not run.is_done("report")


def test_no_run_and_a_run_in_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to report on"):
        write_report([])
    run = build_run(tmp_path / "run")
    with Run(run.folder).owned(), pytest.raises(RunInUseError):
        write_report([Run(run.folder)])


def test_several_runs_side_by_side(tmp_path: Path) -> None:
    runs = [build_run(tmp_path / "a"), build_run(tmp_path / "b", Size(seed=1)), build_run(tmp_path / "c", until="filter")]
    assert labels(runs) == ["toy, seed 0 (1)", "toy, seed 1", "toy, seed 0 (2)"]
    page = write_report(runs).read_text()
    assert "Runs side by side" in page
    assert "Not finished: toy, seed 0 (2) (train, evaluate)" in page
    assert "0 -&gt; 1" in page
    assert not (runs[1].folder / "report.html").exists()
    alone = write_report(runs[:1]).read_text()
    assert "Runs side by side" not in alone


def test_metrics_survive_a_crash_and_a_resume(run: Run, tmp_path: Path) -> None:
    other = build_run(tmp_path / "run", until="filter")
    other.metrics.write_text(
        '{"step": 1, "loss/router": 5}\n{"step": 2, "x": true}\n{"step": 1, "loss/router": 7}\n{"step": 3, "lo'
    )
    found = metrics(other)
    assert found.series("loss/router") == ((1.0,), (7.0,))
    assert found.num_unreadable == 1
    assert "1 lines of metrics.jsonl could not be read" in write_report([other]).read_text()


def test_large_runs_keep_every_outcome_and_say_which_texts_are_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qrdistill.report.browser.BLOCK_QUESTIONS", 4)
    whole = browser_data(run)
    assert whole.note == ""
    monkeypatch.setattr("qrdistill.report.browser.TEXT_BUDGET_BYTES", sum(map(len, whole.blocks)) // 3)
    monkeypatch.setattr("qrdistill.report.browser.MAX_TEXT", 100)
    small = browser_data(run)
    assert sum(map(len, small.blocks)) < sum(map(len, whole.blocks))
    assert small.meta == whole.meta
    assert "questions are left out" in small.note
    assert "cut after 100 characters" in small.note


def test_report_leaves_torch_unloaded() -> None:
    code = "import sys, qrdistill.report; print(sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_show_counts(run: Run) -> None:
    from qrdistill.report import show

    state = show(run)
    json.dumps(state, allow_nan=False)
    assert state["counts"]["paths"] == run.ledger.count(ReasoningPath)
    assert state["counts"]["kept"] + state["counts"]["dropped"] == state["counts"]["paths"]
    assert sum(state["counts"]["questions"].values()) == run.ledger.count(Question)
    assert len(state["scores"]) == run.ledger.count(Score)
    assert state["next"].startswith("qrdistill report ")


def test_calls_count_every_attempt(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run")
    request = run.ledger.all(PathRequest)[0]
    with run.owned():
        run.ledger.add(
            Attempt(id=f"again{index}", path_id=request.id, started_s=1, finished_s=2, outcome="timeout", cost_usd=0.5)
            for index in range(3)
        )
    section = funnel_section(run, read_cohorts(run))
    (row,) = find(section, "Calls to teachers and judges")
    paths = run.ledger.count(ReasoningPath)
    assert row[:4] == ["worked_solution", str(paths + 3), str(paths), "3"]
    assert row[-2] == "$1.53"
    facts = next(block for block in section.blocks if hasattr(block, "facts")).facts
    assert facts[-1].detail == "$1.53 in all, retries included"


def test_markdown_says_each_number_once(tmp_path: Path) -> None:
    other = build_run(tmp_path / "run")
    write_report([other])
    text = (other.folder / "report.md").read_text()
    assert text.count("**Accuracy") == 1
    assert "Accuracy on all tasks" in (other.folder / "report.html").read_text()
