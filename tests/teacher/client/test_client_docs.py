"""The user story in docs/teachers.md is true: its recipes are read and planned, and the first one runs to filtered paths."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from harness.client import KEY
from harness.fault_server import FaultServer
from harness.judges import honest
from qrdistill.cli.main import run_app
from qrdistill.config import load_recipe
from qrdistill.planning import plan
from qrdistill.store import Ledger
from qrdistill.teacher.client.capabilities import PRESETS
from qrdistill.types import FilterDecision


@pytest.fixture
def blocks(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The page's recipes as files, in a folder with questions and with every key set."""
    monkeypatch.chdir(tmp_path)
    for preset in PRESETS.values():
        if preset.api_key_env not in {"", "NONE"}:
            monkeypatch.setenv(preset.api_key_env, KEY)
    rows = [{"id": f"q{n}", "question": f"What is {n} + {n + 1}?", "answer": str(2 * n + 1)} for n in range(300)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = re.findall(r"```yaml\n(.*?)```", (root / "docs" / "teachers.md").read_text(), re.DOTALL)
    paths = [tmp_path / f"recipe-{number}.yaml" for number in range(len(found))]
    for path, text in zip(paths, found, strict=True):
        path.write_text(text)
    return paths


def test_every_recipe_is_read_and_planned(blocks: list[Path]) -> None:
    assert len(blocks) >= 5
    for path in blocks:
        planned = plan(load_recipe(path))
        assert [problem for problem in planned.problems if "not installed" not in problem] == []
        assert planned.forecasts


def test_the_stories_are_ten_lines(blocks: list[Path]) -> None:
    for path in blocks[:3]:
        assert len(path.read_text().splitlines()) <= 10


def answer(prompt: str) -> str:
    left, right = re.findall(r"What is (\d+) \+ (\d+)", prompt)[0]
    return f"We add {left} + {right} = {int(left) + int(right)}. The answer is {int(left) + int(right)}."


SMALL = ["questions.num_train=5", "questions.num_validation=1", "questions.num_test=2"]


def flags(*changes: str) -> list[str]:
    return [part for change in [*SMALL, *changes] for part in ("--set", change)]


def num_kept(run: Path) -> int:
    ledger = Ledger(run / "ledger.sqlite", is_read_only=True)
    try:
        return ledger.count(FilterDecision, "is_kept = 1")
    finally:
        ledger.close()


def test_the_commands_of_the_first_story_end_with_filtered_paths(blocks: list[Path], tmp_path: Path, root: Path) -> None:
    """Word for word, but for the addresses and the number of questions."""
    (tmp_path / "paths.yaml").write_text(blocks[0].read_text())
    (shell,) = re.findall(r"```bash\n(.*?)```", (root / "docs" / "teachers.md").read_text(), re.DOTALL)
    commands = [shlex.split(line, comments=True)[1:] for line in shell.splitlines() if line.startswith("qrdistill ")]
    assert [words[0] for words in commands] == ["check", "run", "export"]
    with FaultServer(answer=answer, model="gpt-4o-mini") as teacher, FaultServer(answer=honest, model="gpt-4o") as judge:
        own = flags(f"generate.teachers.0.base_url={teacher.url}", f"filter.judge.judges.0.base_url={judge.url}")
        for words in commands:
            assert run_app([*words, *(own if words[0] != "export" else [])]) == 0
    kept = num_kept(tmp_path / "runs" / "paths")
    assert kept >= 6
    exported = [file for file in (tmp_path / "runs" / "paths").rglob("*.jsonl") if '"messages"' in file.read_text()[:2000]]
    assert sum(len(file.read_text().splitlines()) for file in exported) >= 5


@pytest.mark.parametrize(
    ("number", "answers_as"), [(1, "Qwen/Qwen2.5-7B-Instruct"), (2, "llama3.2:latest")], ids=["vllm", "ollama"]
)
def test_the_stories_of_local_servers_end_with_filtered_paths(
    blocks: list[Path], tmp_path: Path, number: int, answers_as: str
) -> None:
    with FaultServer(answer=answer, model=answers_as) as server:
        own = flags(f"generate.teachers.0.base_url={server.url}")
        assert run_app(["run", str(blocks[number]), "-o", str(tmp_path / "run"), "--until", "filter", *own]) == 0
        assert not any(call.authorization for call in server.accepted)
        assert len(server.accepted) == 6 * 6 * (2 if number == 1 else 1)
    assert num_kept(tmp_path / "run") >= 6
