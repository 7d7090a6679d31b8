"""Every verb speaks JSON, names what comes next, and what it names can be typed: the way through the program needs no manual."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from qrdistill.cli.main import app, run_app

ROOT = Path(__file__).parents[1]
STUDY = "--variants zero_shot,random --seeds 0 -o study"
GIVEN = {
    "run": "recipes/smoke.yaml -o runs/one",
    "generate": "runs/one",
    "filter": "runs/one",
    "train": "runs/one",
    "evaluate": "runs/one",
    "report": "runs/one",
    "regrade": "runs/one",
    "check": "recipes/smoke.yaml",
    "show": "runs/one",
    "explain": "runs/one chain_sum-062bd60cb7",
    "ls": "recipes",
    "export": "runs/one messages -o rows.jsonl",
    "import": "rows.jsonl -o imported",
    "chat": "runs/one 'What is 6 times 7?'",
    "study": f"recipes/smoke.yaml {STUDY}",
    "schema": "-o recipe.schema.json",
    "doctor": "recipes/smoke.yaml",
}
"""What each verb is given; in this order each finds what it needs."""
Speak = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a fresh clone."""
    place = tmp_path_factory.mktemp("clone")
    (place / "recipes").symlink_to(ROOT / "recipes")
    return place


@pytest.fixture
def speak(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Speak:
    """Types one command with --json in that folder; it must succeed and print one object on one line."""
    monkeypatch.chdir(home)

    def one(command: str) -> dict[str, Any]:
        capsys.readouterr()
        code = run_app([*shlex.split(command), "--json"])
        printed = capsys.readouterr()
        assert code == 0, f"{command}: {printed.out}{printed.err}"
        assert printed.out.count("\n") == 1, command
        return dict(json.loads(printed.out))

    return one


def test_every_verb_prints_one_object_and_what_comes_next(speak: Speak) -> None:
    assert set(GIVEN) == set(typer.main.get_command(app).commands), "a verb is missing here"  # type: ignore[attr-defined]
    for verb, given in GIVEN.items():
        said = speak(f"{verb} {given}")
        assert said["verb"] == verb
        assert said["next"], verb


@pytest.mark.parametrize("verb", GIVEN)
def test_every_verb_s_error_is_one_object_with_its_exit_code(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run_app([verb, "--no-such-option", "--json"])
    printed = capsys.readouterr()
    assert code == 2
    assert json.loads(printed.out)["exit_code"] == 2
    assert "--no-such-option" in printed.err
    assert os.listdir() == []


NOT_THERE = {
    **dict.fromkeys(("run", "generate", "study"), "gone.yaml -o runs/gone"),
    **dict.fromkeys(("filter", "train", "evaluate", "report", "regrade", "check", "show"), "gone"),
    "explain": "gone q1",
    "ls": "gone",
    "export": "gone messages",
    "import": "gone.jsonl -o imported",
    "chat": "gone 'What is 6 times 7?'",
    "schema": "--gone",
    "doctor": "gone.yaml",
}
"""What each verb is given that does not exist: a recipe, a run folder, a file, a list, an option."""


@pytest.mark.parametrize("command", [*(f"{verb} {given}" for verb, given in NOT_THERE.items()), "gone", "shw gone"])
def test_what_is_not_there_is_named_in_one_sentence_and_nothing_is_written(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(NOT_THERE) == set(typer.main.get_command(app).commands), "a verb is missing here"  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    code = run_app(shlex.split(command))
    printed = capsys.readouterr()
    assert code == (65 if command.startswith("import") else 2)
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "gone" in printed.err or "'shw'" in printed.err
    assert "Value error" not in printed.err
    assert os.listdir() == []


def commands_in(sentence: str) -> list[str]:
    """The commands a next step names that can be typed as they are."""
    found = [part.strip().removeprefix("qrdistill ") for part in re.findall(r"qrdistill [^;:]+", sentence)]
    return [command.partition(", ")[0] for command in found if not re.search(r"\b[A-Z]{3,}", command)]


@pytest.mark.parametrize(
    ("first", "verbs"),
    [
        ("check recipes/smoke.yaml", ["check", "run", "explain", "show"]),
        ("generate recipes/smoke.yaml -o runs/steps", ["generate", "filter", "train", "evaluate", "report", "explain", "show"]),
        ("doctor recipes/smoke.yaml", ["doctor", "check", "run", "explain", "show"]),
    ],
)
def test_who_types_what_is_named_next_arrives_at_the_report(first: str, verbs: list[str], speak: Speak) -> None:
    command, gone = first, []
    while command.split()[0] not in gone:
        gone.append(command.split()[0])
        said = speak(command)
        following = commands_in(str(said["next"]))
        assert following, said["next"]
        command = following[0]
    assert gone == verbs
    (page,) = re.findall(r"open (\S+report\.html)", str(said["next"]))
    assert Path(page).is_file()
