"""B1: the whole command killed 200 times, in every stage; the exports are those of a run that nobody killed."""

import random
import time
from pathlib import Path

import pytest

from harness.killer import kill, start
from harness.runs import exports, has_begun
from qrdistill.cli.main import run_app
from qrdistill.store import STAGES, Run
from qrdistill.types import Attempt, PathRequest


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_200_kills_over_all_stages_change_nothing(tmp_path: Path, smoke_recipe: Path) -> None:
    dice = random.Random(8)
    whole = tmp_path / "whole"
    assert run_app(["run", str(smoke_recipe), "-o", str(whole)]) == 0
    expected = exports(whole)
    kills = number = 0
    hit = dict.fromkeys(STAGES, 0)
    while kills < 200:
        folder = tmp_path / f"run{number}"
        number += 1
        command = ["-m", "qrdistill", "run", str(smoke_recipe), "-o", str(folder)]
        for stage in STAGES:
            process = start(command)
            while process.poll() is None and not has_begun(folder, stage):
                time.sleep(0.005)
            time.sleep(dice.uniform(0, 0.4 if stage == "train" else 0.1))
            if process.poll() is None:
                kills, hit[stage] = kills + 1, hit[stage] + 1
                kill(process)
            process.communicate()
        assert run_app(["run", str(smoke_recipe), "-o", str(folder)]) == 0
        assert exports(folder) == expected
        run = Run(folder)
        assert run.ledger.count(Attempt) == run.ledger.count(PathRequest), "nothing was asked for twice"
        run.verify()
        run.close()
    assert min(hit.values()) >= 10, hit
    print(kills, "kills:", hit)
