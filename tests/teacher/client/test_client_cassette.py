"""Any run's ledger can be replayed as a teacher, and gives the same filtered paths at no cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.fault_server import FaultServer
from qrdistill.config import Config, load_recipe
from qrdistill.errors import ConfigError, DataError
from qrdistill.quality.filter import filter_paths
from qrdistill.store import Run
from qrdistill.teacher.client import spent_before
from qrdistill.teacher.generate import generate_paths
from qrdistill.types import ReasoningPath


def recipe(root: Path, **teacher: object) -> Config:
    tree = load_recipe(root / "recipes" / "smoke.yaml").model_dump(mode="json")
    tree["generate"]["teachers"] = [teacher]
    return Config.model_validate(tree)


def texts(paths: list[ReasoningPath]) -> dict[tuple[str, str, int], tuple[str, str]]:
    return {(path.question_id, path.style, path.sample): (path.state, path.text) for path in paths}


def test_a_cassette_replays_another_run(tmp_path: Path, root: Path) -> None:
    first = Run(tmp_path / "first", recipe(root, kind="worked_solution"))
    generate_paths(first)
    kept = filter_paths(first)
    again = Run(tmp_path / "again", recipe(root, kind="cassette", run=str(tmp_path / "first")))
    generate_paths(again)
    assert texts(filter_paths(again)) == texts(kept)
    assert texts(again.ledger.all(ReasoningPath)) == texts(first.ledger.all(ReasoningPath))
    assert spent_before(again.ledger).most_usd == 0
    again.close()
    first.close()


def test_a_paid_run_is_replayed_without_a_call(tmp_path: Path, root: Path) -> None:
    with FaultServer(script=["ok", "length", "filter"]) as server:
        paid = {"kind": "openai_compatible", "name": "toy", "model": "toy", "base_url": server.url, "api_key_env": "NONE"}
        first = Run(tmp_path / "first", recipe(root, **paid))
        generate_paths(first)
        calls = len(server.accepted)
        again = Run(tmp_path / "again", recipe(root, kind="cassette", run=str(tmp_path / "first"), teacher="toy"))
        generate_paths(again)
        assert len(server.accepted) == calls
        assert texts(again.ledger.all(ReasoningPath)) == texts(first.ledger.all(ReasoningPath))
        assert again.summary("generate")["paths_by_state"]["truncated"] == 1
        again.close()
        first.close()


def test_a_missing_or_ambiguous_recording_is_named(tmp_path: Path, root: Path) -> None:
    with pytest.raises(DataError, match="no ledger"):
        generate_paths(Run(tmp_path / "a", recipe(root, kind="cassette", run=str(tmp_path / "nothing"))))
    first = Run(tmp_path / "first", recipe(root, kind="worked_solution"))
    generate_paths(first)
    first.close()
    with pytest.raises(ConfigError, match="worked_solution"):
        generate_paths(Run(tmp_path / "b", recipe(root, kind="cassette", run=str(tmp_path / "first"), teacher="worked")))
