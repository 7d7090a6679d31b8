"""A study that is killed with kill -9 goes on with the same command: nothing is lost, nothing is done twice."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from tests.recipes import toy_recipe

from harness.killer import start
from qrdistill.cli.main import run_app
from qrdistill.config import dump
from qrdistill.errors import RunInUseError
from qrdistill.store import Run
from qrdistill.store.ledger import Ledger
from qrdistill.store.lock import locked

ARM, SEEDS = "random", "0,1"
LONG_S = 240.0


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(dump(toy_recipe(evaluation={"max_new_tokens": 8}, training={"questions_per_step": 1, "checkpoint_steps": 1})))
    return path


def command(recipe_file: Path, folder: Path) -> list[str]:
    return ["-m", "qrdistill", "study", str(recipe_file), "--variants", ARM, "--seeds", SEEDS, "-o", str(folder)]


def comparison(folder: Path) -> dict:
    """What the study says, without how long it took."""
    study = json.loads((folder / "study.json").read_text())
    for arm in study["arms"].values():
        arm.pop("seconds")
    return study


def kill_when(recipe_file: Path, folder: Path, is_time) -> bool:
    """Start the study and kill it, and only it, as soon as `is_time`; whether it was alive by then."""
    process = start(command(recipe_file, folder))
    deadline_s = time.monotonic() + LONG_S
    while process.poll() is None and not is_time() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    was_alive = process.poll() is None
    if was_alive:
        os.kill(process.pid, signal.SIGKILL)  # its workers are left behind, as they are when memory runs out
    process.communicate()
    return was_alive


def wait_for_orphans(folder: Path) -> None:
    """Until no worker of a killed study owns a run folder any more."""
    for place in folder.glob("arms/*/*"):
        deadline_s = time.monotonic() + LONG_S
        while True:
            try:
                with locked(place):
                    break
            except RunInUseError:
                assert time.monotonic() < deadline_s
                time.sleep(0.1)


@pytest.mark.timeout(900)
def test_a_study_killed_among_its_paths_inside_an_arm_and_between_arms_is_the_study_nobody_killed(recipe_file, tmp_path, capsys):
    whole, folder = tmp_path / "whole", tmp_path / "study"
    assert run_app(command(recipe_file, whole)[2:]) == 0
    moments = [
        lambda: any(folder.glob("pools/*/config.yaml")),
        lambda: any(folder.glob("arms/*/*/checkpoints/step-*/manifest.json")),
        lambda: any(folder.glob("results/random--seed-0.json")),
    ]
    is_hit = [kill_when(recipe_file, folder, moment) for moment in moments]
    assert is_hit[0]  # a test that hardly gets to run may miss a later moment; then there is less to go on from
    wait_for_orphans(folder)
    first = {path: path.read_bytes() for path in folder.glob("results/*--seed-*.json")}
    assert 1 <= len(first) <= 2
    capsys.readouterr()
    assert run_app([*command(recipe_file, folder)[2:], "--so-far", "--json"]) == 0
    partial = json.loads(capsys.readouterr().out)
    assert list(partial["arms"]) == ["random"]
    assert (partial["arms"]["random"]["seeds"], partial["arms"]["random"]["n"]) == (len(first), 4 * len(first))
    assert partial.get("missing", []) == ["random, seed 1"][: 2 - len(first)]
    assert not all(is_hit) or not (folder / "study.json").exists()

    assert run_app(command(recipe_file, folder)[2:]) == 0
    assert comparison(folder) == comparison(whole)
    assert {path: path.read_bytes() for path in first} == first, "an arm that was done is not done again"
    for place in [*folder.glob("pools/generate-*"), *folder.glob("arms/*/*")]:
        run = Run(place)
        run.verify()
        run.close()


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_a_study_killed_at_random_moments_is_the_study_nobody_killed(recipe_file, tmp_path):
    dice = random.Random(6)
    whole, folder = tmp_path / "whole", tmp_path / "study"
    assert run_app(command(recipe_file, whole)[2:]) == 0
    hits = 0
    while hits < 20:
        until_s = time.monotonic() + dice.uniform(1.0, 12.0)
        if not kill_when(recipe_file, folder, lambda until_s=until_s: time.monotonic() > until_s):
            assert comparison(folder) == comparison(whole)
            folder = tmp_path / f"study{hits}"
        else:
            hits += 1
    assert run_app(command(recipe_file, folder)[2:]) == 0
    assert comparison(folder) == comparison(whole)


def test_a_ledger_is_read_while_its_study_writes_it(recipe_file, tmp_path):
    """--so-far beside a study that is under way opens run folders of other processes for reading only."""
    folder = tmp_path / "run"
    run = Run(folder, toy_recipe())
    with run.owned():
        run.ledger.note("x", 1)
        assert Ledger(folder / "ledger.sqlite", is_read_only=True).noted("x") == 1
