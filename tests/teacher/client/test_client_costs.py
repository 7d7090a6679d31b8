"""What a report says about money is what the servers have on their bills; coverage and kept paths per dollar."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml

from harness.books import gold_answers, write_recipe
from harness.client import KEY, VARIABLE
from harness.fault_server import MIXED, Accepted, FaultServer
from qrdistill.cli.main import run_app
from qrdistill.report.sections.calls import call_tables
from qrdistill.report.sections.funnel import funnel_section, read_cohorts
from qrdistill.report.tables import dollars
from qrdistill.store import Run
from qrdistill.types import Attempt, FilterDecision, PathRequest, ReasoningPath


def usd(calls: list[Accepted]) -> float:
    return sum(call.prompt_tokens * 1e-3 + call.completion_tokens * 2e-3 for call in calls)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, dict[str, FaultServer]]:
    """A filtered run of two teachers: one behind a bad connection, one that refuses a prompt for good; both sometimes wrong."""
    monkeypatch.setenv(VARIABLE, KEY)
    golds: dict[str, str] = {}

    def answer(prompt: str) -> str:
        is_right = hashlib.sha256(prompt.encode()).digest()[0] % 3
        return f"Let us see. The answer is {golds[prompt.splitlines()[0]] if is_right else -1}."

    with (
        FaultServer(answer=answer, faults=MIXED, seed=5) as bad,
        FaultServer(answer=answer, script=["ok", "bad_request"]) as other,
    ):
        recipe = write_recipe(tmp_path, bad.url, num_train=19)
        tree = yaml.safe_load(recipe.read_text())
        teacher = tree["generate"]["teachers"][0]
        teacher["limits"] |= {"deadline_s": 1.0}
        tree["generate"]["teachers"] = [teacher, teacher | {"name": "other", "base_url": other.url}]
        recipe.write_text(yaml.safe_dump(tree))
        golds |= gold_answers(recipe)
        folder = tmp_path / "run"
        assert run_app(["run", str(recipe), "-o", str(folder), "--until", "filter"]) == 0
    return Run(folder), {"toy": bad, "other": other}


def test_the_report_bills_what_the_servers_bill(served: tuple[Run, dict[str, FaultServer]]) -> None:
    run, servers = served
    requests = {request.id: request for request in run.ledger.all(PathRequest)}
    attempts = {attempt.id: attempt for attempt in run.ledger.all(Attempt)}
    sure: dict[tuple[str, str], list[Accepted]] = defaultdict(list)
    maybe: dict[str, list[Accepted]] = defaultdict(list)
    for teacher, server in servers.items():
        for call in server.billed():
            if attempts[call.request_id].outcome == "lost":
                maybe[teacher].append(call)
            else:
                sure[teacher, requests[call.key].style].append(call)
    assert maybe["toy"], "some replies were lost"

    cohorts = {(cohort.teacher, cohort.style): cohort for cohort in read_cohorts(run)}
    assert len(cohorts) == 2 * 6
    for key, cohort in cohorts.items():
        assert cohort.cost_usd == pytest.approx(usd(sure[key]), rel=1e-9)

    rows = {row[0].text: [cell.text for cell in row] for row in call_tables(run)[0].rows}
    for teacher in servers:
        whole = [call for (name, _), calls in sure.items() if name == teacher for call in calls]
        assert rows[teacher][-2] == dollars(usd(whole))
        if maybe[teacher]:  # listed apart, and at least what the server billed for them
            listed = sum(a.cost_usd for a in attempts.values() if a.outcome == "lost" and requests[a.path_id].teacher == teacher)
            assert rows[teacher][-1] == dollars(listed)
            assert listed >= usd(maybe[teacher])


def test_coverage_and_kept_paths_per_dollar_by_style_and_teacher(served: tuple[Run, dict[str, FaultServer]]) -> None:
    run, servers = served
    requests = {request.id: request for request in run.ledger.all(PathRequest)}
    attempts = {attempt.id: attempt for attempt in run.ledger.all(Attempt)}
    paths = Counter((path.teacher, path.style) for path in run.ledger.iterate(ReasoningPath))
    kept = Counter(
        (requests[decision.path_id].teacher, decision.style)
        for decision in run.ledger.iterate(FilterDecision)
        if decision.is_kept
    )
    section = funnel_section(run, read_cohorts(run))
    (funnel,) = [
        table
        for block in section.blocks
        if hasattr(block, "tables")
        for table in block.tables
        if table.caption.startswith("Filter funnel")
    ]
    heads = [column.title for column in funnel.columns]
    rows = {(row[0].text, row[1].text): dict(zip(heads, [cell.text for cell in row], strict=True)) for row in funnel.rows}
    for teacher, server in servers.items():
        for style in run.config.generate.styles:
            row = rows[teacher, style]
            billed = [
                call
                for call in server.billed()
                if requests[call.key].style == style and attempts[call.request_id].outcome != "lost"
            ]
            assert row["Asked"] == "20"
            assert row["Generated"] == str(paths[teacher, style])
            assert row["Kept"] == str(kept[teacher, style])
            assert float(row["Kept per dollar"]) == pytest.approx(kept[teacher, style] / usd(billed), rel=0.01)
    assert sum(int(row["Generated"]) for key, row in rows.items() if key[0] in servers) == 2 * 6 * 20 - 1, "one cell is a hole"
    assert sum(run.summary("generate")["holes_by_style"].values()) == 1
