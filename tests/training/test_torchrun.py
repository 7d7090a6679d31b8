"""The command as users start it, with torchrun: killed in any place it leaves no process, and goes on to the same bits."""

import os
import signal
import time
from pathlib import Path

import pytest

from harness.clock import slowdown
from harness.killer import start
from harness.runs import exports

BAR_S = 15.0
SETTINGS = ("--until", "train", "--set", "training.epochs=40", "--set", "training.checkpoint_steps=3")


def torchrun(recipe: Path, folder: Path, *options: str):
    """Two ranks of the command, in the background."""
    arguments = ("--nproc-per-node", "2", *options, "-m", "qrdistill", "run", str(recipe), "-o", str(folder), *SETTINGS)
    return start(["-m", "torch.distributed.run", *arguments])


def ranks_of(folder: Path) -> dict[int, int]:
    """Process ids of the living ranks that work on a folder, by rank."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = (place / "cmdline").read_bytes().split(b"\0"), (place / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(folder).encode() in words and b"torch.distributed.run" not in words:
            found[next(int(pair[5:]) for pair in environment if pair.startswith(b"RANK="))] = int(place.name)
    return found


def wait_for_checkpoint(folder: Path, number: int = 1) -> None:
    """Until so many steps have been saved."""
    deadline = time.monotonic() + 200
    while len(list((folder / "checkpoints").glob("step-*"))) < number and not (folder / "students").is_dir():
        assert time.monotonic() < deadline, "no checkpoint in 200 s"
        time.sleep(0.05)


def all_end(folder: Path) -> float:
    """Seconds until no rank is left."""
    began = time.monotonic()
    while ranks_of(folder):
        assert time.monotonic() - began < 120, ranks_of(folder)
        time.sleep(0.05)
    return time.monotonic() - began


def left(folder: Path) -> dict[str, bytes]:
    """Routes and weights of a run."""
    weights = {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("students/*/*.safetensors")}
    assert len(weights) == 2
    return weights | {"routes": exports(folder)["routes.jsonl"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, root: Path) -> dict[str, bytes]:
    """What a run that nobody kills leaves."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = torchrun(root / "recipes" / "smoke.yaml", folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("train: done") == 1, "one rank speaks"
    return left(folder)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", ["rank 0", "rank 1", "torchrun"])
def test_a_kill_leaves_nobody_and_the_same_command_ends_in_the_same_bits(tmp_path, root, whole, victim):
    """F6 as users see it."""
    recipe, folder = root / "recipes" / "smoke.yaml", tmp_path / "run"
    process = torchrun(recipe, folder)
    wait_for_checkpoint(folder)
    ranks = ranks_of(folder)
    assert sorted(ranks) == [0, 1]
    number = process.pid if victim == "torchrun" else ranks[int(victim[-1])]
    signal.pidfd_send_signal(os.pidfd_open(number), signal.SIGKILL)
    seconds = all_end(folder)
    assert seconds < BAR_S * slowdown()
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    sentences = [line for line in err.splitlines() if line.startswith("qrdistill: ")]
    if victim == "torchrun":
        assert len(sentences) == 2
        assert all("torchrun has ended" in line for line in sentences)
    else:
        assert [f"{victim} of 2 has died" in line for line in sentences] == [True], err
    again = torchrun(recipe, folder)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert "going on from step" in err
    assert left(folder) == whole


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_torchrun_can_type_the_command_again_by_itself(tmp_path, root, whole):
    folder = tmp_path / "run"
    process = torchrun(root / "recipes" / "smoke.yaml", folder, "--max-restarts", "1")
    wait_for_checkpoint(folder)
    signal.pidfd_send_signal(os.pidfd_open(ranks_of(folder)[1]), signal.SIGKILL)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "rank 1 of 2 has died" in err
    assert "going on from step" in err
    assert left(folder) == whole


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_in_order(tmp_path, root, whole, number):
    folder = tmp_path / "run"
    process = torchrun(root / "recipes" / "smoke.yaml", folder)
    wait_for_checkpoint(folder)
    process.send_signal(number)
    assert all_end(folder) < BAR_S
    _, err = process.communicate(timeout=60)
    assert "the same command resumes" in err
    again = torchrun(root / "recipes" / "smoke.yaml", folder)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert left(folder) == whole


def test_other_verbs_are_refused(tmp_path, root):
    process = start(
        ["-m", "qrdistill", "report", str(tmp_path)],
        environment={"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.strip() == "qrdistill: report runs in one process; start it without torchrun (or whatever sets WORLD_SIZE)"
