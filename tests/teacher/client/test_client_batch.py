"""Batch mode: submitted once, harvested whole or in part, resumed after a crash, under the same caps and the same identity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.batch_server import BatchAPI
from harness.client import KEY, VARIABLE, limits
from harness.fault_server import FaultServer
from harness.killer import kill, start
from qrdistill.config import Config, dump, load_recipe
from qrdistill.errors import ConfigError, PausedError, ProviderError
from qrdistill.store import Run
from qrdistill.teacher.client import spent_before
from qrdistill.teacher.generate import generate_paths
from qrdistill.types import ReasoningPath

PRICE = {"prompt_usd_per_million": 1000, "completion_usd_per_million": 2000}
NUM_CELLS = 3 * 2 * 6


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def recipe(root: Path, url: str, *, mode: str = "batch", budget: float = 0.0, **teacher: Any) -> Config:
    tree = load_recipe(root / "recipes" / "smoke.yaml").model_dump(mode="json")
    base = {"kind": "openai_compatible", "name": "toy", "model": "toy", "base_url": url, "api_key_env": VARIABLE, "price": PRICE}
    quick = limits(poll_s=0.05, grace_s=0.1).model_dump()
    own = {"mode": mode, "limits": quick, "max_tokens": 64, "capabilities": {"batch": True}}
    tree["generate"]["teachers"] = [base | own | teacher]
    tree["questions"] |= {"num_train": 2, "num_validation": 1}
    tree["budget"]["generate_usd"] = budget
    return Config.model_validate(tree)


def num_paths(run: Run) -> int:
    return run.ledger.count(ReasoningPath)


def test_a_grid_goes_through_a_batch(tmp_path: Path, root: Path) -> None:
    with BatchAPI() as api:
        run = Run(tmp_path / "run", recipe(root, api.url))
        generate_paths(run)
        assert num_paths(run) == NUM_CELLS
        assert len(api.batches) == 1
        assert len(api.answered_ids) == len(set(api.answered_ids)) == NUM_CELLS
        spent = spent_before(run.ledger)
        assert (spent.num_attempts, spent.maybe_usd) == (NUM_CELLS, 0)
        assert spent.billed_usd == pytest.approx(NUM_CELLS * (10 * 1e-3 + 5 * 2e-3))
        run.close()


def test_batch_and_live_give_the_same_cells(tmp_path: Path, root: Path) -> None:
    with BatchAPI() as api, FaultServer() as server:
        first, second = Run(tmp_path / "a", recipe(root, api.url)), Run(tmp_path / "b", recipe(root, server.url, mode="live"))
        assert {path.id for path in generate_paths(first)} == {path.id for path in generate_paths(second)}
        first.close()
        second.close()


def test_an_expired_batch_keeps_what_it_has_and_the_rest_is_submitted_again(tmp_path: Path, root: Path) -> None:
    with BatchAPI() as api:
        api.ends_as, api.answered = "expired", 0.5
        run = Run(tmp_path / "run", recipe(root, api.url))
        with pytest.raises(PausedError, match="batch expired"):
            generate_paths(run)
        assert len(api.batches) == 3
        api.ends_as, api.answered = "completed", 1.0
        generate_paths(run)
        assert num_paths(run) == NUM_CELLS == len(set(api.answered_ids)) == len(api.answered_ids)
        run.close()


def test_lines_that_failed_become_holes_or_are_asked_again(tmp_path: Path, root: Path) -> None:
    with BatchAPI() as api:
        api.line_status = lambda number: 500 if number % 3 == 0 and len(api.batches) < 3 else 200
        run = Run(tmp_path / "run", recipe(root, api.url))
        generate_paths(run)
        assert num_paths(run) == NUM_CELLS
        assert len(api.batches) == 3
        run.close()


def test_a_created_batch_whose_reply_was_lost_is_found_again(tmp_path: Path, root: Path) -> None:
    with BatchAPI() as api:
        api.lose_created = 1
        run = Run(tmp_path / "run", recipe(root, api.url))
        generate_paths(run)
        assert len(api.batches) == 1
        assert num_paths(run) == NUM_CELLS
        run.close()


def test_a_killed_run_goes_on_with_the_batch_it_submitted(tmp_path: Path, root: Path) -> None:
    with BatchAPI() as api:
        api.is_paused = True
        path = tmp_path / "recipe.yaml"
        path.write_text(dump(recipe(root, api.url)))
        command = ["-m", "qrdistill", "generate", str(path), "-o", str(tmp_path / "run")]
        process = start(command, environment={VARIABLE: KEY})
        while not api.looks and process.poll() is None:
            pass
        kill(process)
        process.communicate()
        api.is_paused = False
        run = Run(tmp_path / "run")
        generate_paths(run)
        assert len(api.batches) == 1
        assert num_paths(run) == NUM_CELLS
        spent = spent_before(run.ledger)
        assert (spent.num_attempts, spent.maybe_usd) == (NUM_CELLS, 0)
        run.close()


def test_a_cap_limits_what_is_submitted(tmp_path: Path, root: Path) -> None:
    with BatchAPI() as api:
        run = Run(tmp_path / "run", recipe(root, api.url, budget=0.6))
        with pytest.raises(PausedError, match=r"budget\.generate_usd"):
            generate_paths(run)
        done = num_paths(run)
        assert 0 < done < NUM_CELLS
        assert spent_before(run.ledger).billed_usd <= 0.6
        run.close()
        run = Run(tmp_path / "run", recipe(root, api.url, budget=100.0))
        generate_paths(run)
        assert num_paths(run) == NUM_CELLS == len(api.answered_ids)
        run.close()


def test_a_refused_batch_and_a_server_without_batches(tmp_path: Path, root: Path) -> None:
    with BatchAPI() as api:
        api.ends_as, api.answered = "failed", 0.0
        with pytest.raises(ProviderError, match="refused a batch"):
            generate_paths(Run(tmp_path / "a", recipe(root, api.url)))
        with pytest.raises(ConfigError, match="no batch interface"):
            generate_paths(Run(tmp_path / "b", recipe(root, api.url, capabilities={})))


def test_files_are_left_to_a_program_of_the_users(tmp_path: Path, root: Path) -> None:
    run = Run(tmp_path / "run", recipe(root, "http://127.0.0.1:1/v1", mode="files", preset="vllm", api_key_env="NONE"))
    with pytest.raises(PausedError, match="vllm run-batch -i"):
        generate_paths(run)
    (asked,) = run.batches.glob("*.jsonl")
    api = BatchAPI()
    api.files["file-0"] = asked.read_bytes()
    batch = {"id": "batch_0", "input_file_id": "file-0"}
    api._end(batch)
    asked.with_suffix(".results.jsonl").write_bytes(api.files[batch["output_file_id"]])
    generate_paths(run)
    assert num_paths(run) == NUM_CELLS
    line = json.loads(asked.read_text().splitlines()[0])
    assert line["url"] == "/v1/chat/completions"
    assert line["body"]["model"] == "toy"
    run.close()
