"""Training by several processes is the training of one, and a process that dies takes the others with it, in order."""

import json
import random
import signal

import pytest
import torch
from safetensors.torch import load_file
from tests.recipes import toy_recipe
from tests.training.test_resume import outcome

from harness.clock import slowdown
from harness.many_ranks import Ended, train_with
from qrdistill.store import Run
from qrdistill.training import loop
from qrdistill.training.pool import load_pool, step_work
from qrdistill.training.ranks import share_out
from qrdistill.training.team import load_team
from qrdistill.types import Route

TRAINING = {"questions_per_step": 2, "checkpoint_steps": 2, "epochs": 2}
QRDISTILL = {"kind": "qrdistill", "budget": 2, "encoder": {"kind": "ngram", "dim": 32}, "hidden": 8, "probe_steps": 2}


def trained(run: Run, size: int, **options) -> Run:
    """The run, trained by `size` ranks."""
    with run.owned():
        pass  # its config is on disk now
    if size == 1:
        loop.train(run)
    else:
        ended = train_with(size, run.folder, **options)
        assert [rank.exit_code for rank in ended] == [0] * size, ended
    run.close()
    return Run(run.folder)


def differences(one: Run, other: Run) -> dict[str, float]:
    """How far two trainings are from each other."""
    left, right = one.ledger.all(Route), other.ledger.all(Route)
    lines = [[json.loads(line) for line in run.metrics.read_text().splitlines()] for run in (one, other)]
    assert len(left) == len(right) > 0
    assert len(lines[0]) == len(lines[1]) > 0
    assert all(a.keys() == b.keys() for a, b in zip(*lines, strict=True))
    weights = [weights_of(run) for run in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    gates = [[(r.step, r.path_id, r.student, r.is_routed) for r in routes] for routes in (left, right)]
    return {
        "routes": sum(a != b for a, b in zip(*gates, strict=True)),
        "prob": max(abs(a.prob - b.prob) for a, b in zip(left, right, strict=True)),
        "loss": max(abs(a[key] - b[key]) for a, b in zip(*lines, strict=True) for key in a if key.startswith("loss/")),
        "weights": max(float((value - weights[1][name]).abs().max()) for name, value in weights[0].items()),
    }


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    """Every saved weight of every student."""
    files = sorted(run.folder.glob("students/*/*.safetensors"))
    return {f"{file.parent.name}/{name}": value for file in files for name, value in load_file(file).items()}


def learned(**changes: object) -> dict:
    """Settings of the trained router with some changed."""
    return {"method": {"policy": {**QRDISTILL, **changes}}}


def plain(policy: str, peers: dict, **settings: object) -> dict:
    """Settings of a policy that learns nothing, with peers."""
    return {"method": {"policy": {"kind": policy, **settings}, "peers": {"warmup_frac": 0.0, **peers}}}


INDEX = {"kind": "feature", "positions": "index", "projection": "trainable", "weight": 0.3}
TRUST = learned(warmup_frac=0.1, reliability={"is_on": True, "bins": 3, "questions": 4})
VALIDATION = {"every_steps": 1, "num_questions": 2, "max_new_tokens": 8, "keep": "best"}
NOBODY = plain("by_style", {"weight": 0.0}, table={"cot": ["llama"]})
ONE_QUESTION = {"questions_per_step": 1, "checkpoint_steps": 50}
SHARDED = {"runtime": {"threads": 1, "sharding": "fsdp"}}
ADAPTERS = [
    {**student.model_dump(), "adapter": {"kind": "lora", "rank": 4}, "learning_rate": 3e-3} for student in toy_recipe().students
]
DRAWN = [{"kind": "own_samples", "max_new_tokens": 8}, {"kind": "pass_rate", "samples": 1, "max_new_tokens": 8}]
CASES = {
    "default": {"size": 2},
    "three ranks for one question": {"size": 3, "training": ONE_QUESTION},
    "text peers, every gate": {"size": 2, **plain("all", {"weight": 0.5, "support": 16})},
    "the paper": {"size": 2, **plain("paper", {"kind": "feature", "weight": 0.3}, encoder={"kind": "ngram", "dim": 16})},
    "token index, trained projections": {"size": 2, **plain("all", INDEX)},
    "sketches": {"size": 2, **learned(utility={"kind": "sketch", "dim": 8})},
    "reference losses": {"size": 2, **learned(utility={"kind": "rho"})},
    "answers in a style": {"size": 2, **learned(utility={"kind": "success", "max_new_tokens": 8})},
    "trust": {"size": 2, **TRUST},
    "a student nobody teaches": {"size": 2, **NOBODY},
    "sharded": {"size": 2, **SHARDED},
    "sharded, one question, adapters": {"size": 3, "training": ONE_QUESTION, "students": ADAPTERS, **SHARDED},
    "sharded, answers in a style": {"size": 2, **learned(utility={"kind": "success", "max_new_tokens": 8}), **SHARDED},
    "sharded, reference losses": {"size": 2, **learned(utility={"kind": "rho"}), **SHARDED},
    "sharded, activations computed again": {"size": 2, "runtime": {**SHARDED["runtime"], "activations": "recompute"}},
    "sharded, trust": {"size": 2, **TRUST, **SHARDED},
    "sharded, a student nobody teaches": {"size": 2, **NOBODY, **SHARDED},
    "drawn answers": {"size": 2, "method": {"policy": QRDISTILL, "extras": DRAWN}},
    "a final phase": {"size": 2, "method": {"policy": QRDISTILL, "extras": [{"kind": "dpo", "learning_rate_frac": 1.0}]}},
    "sharded, drawn answers": {"size": 2, "method": {"policy": QRDISTILL, "extras": DRAWN}, **SHARDED},
    "sharded, a final phase": {"size": 2, "method": {"policy": QRDISTILL, "extras": [{"kind": "orpo"}]}, **SHARDED},
    "the best by accuracy": {"size": 2, "training": {**TRAINING, "validation": VALIDATION}},
    "sharded, the best by accuracy": {"size": 2, "training": {**TRAINING, "validation": VALIDATION}, **SHARDED},
    "a budget of tokens": {"size": 2, "training": {**TRAINING, "max_label_tokens": 900}, **plain("random", {}, budget=2)},
}


BY_DAY = ("default", "three ranks for one question", "the paper", "sharded")


@pytest.mark.parametrize("name", [name if name in BY_DAY else pytest.param(name, marks=pytest.mark.nightly) for name in CASES])
def test_many_ranks_train_as_one_does(toy_run, name):
    settings = {"training": TRAINING, **CASES[name]}
    size = settings.pop("size")
    found = differences(trained(toy_run(**settings), 1), trained(toy_run(**settings), size))
    print(name, found)
    assert found["routes"] == 0
    assert found["prob"] < 1e-5
    assert found["loss"] < 1e-5
    assert found["weights"] < 1e-4


def test_ranks_that_do_not_add_their_gradients_are_found_out(toy_run):
    one, other = toy_run(training=TRAINING), toy_run(training=TRAINING)
    found = differences(trained(one, 1), trained(other, 2, plant="forget_to_add_gradients"))
    assert found["loss"] > 1e-3
    assert found["weights"] > 1e-3


def complaints(rank: Ended) -> list[str]:
    """The sentences a rank ended with."""
    return [line for line in rank.said.splitlines() if line.startswith("qrdistill: ")]


@pytest.mark.parametrize("plant", ["kill_at_step 2 3", "kill_at_step 0 2", "kill_while_others_cannot_hear 1"])
def test_a_dead_rank_ends_the_others_with_one_sentence(toy_run, plant):
    """F6, without torchrun, which would end them itself (and could not on another machine)."""
    run = toy_run(training=TRAINING)
    with run.owned():
        pass
    ended = train_with(3, run.folder, plant=plant)
    victim = int(plant.split()[1])
    assert ended[victim].exit_code == -signal.SIGKILL
    for rank in range(3):
        if rank != victim:
            assert ended[rank].exit_code == 75, ended[rank]
            (sentence,) = complaints(ended[rank])
            assert f"rank {victim} of 3 has died" in sentence
            assert f"rank {rank} stops too" in sentence
            assert ended[rank].at_s - ended[victim].at_s < 15 * slowdown()


def test_a_rank_that_stops_for_a_reason_of_its_own_names_it_and_the_others_stop(toy_run):
    run = toy_run(training=TRAINING)
    with run.owned():
        pass
    first, second = train_with(2, run.folder, plant="fail_on_one 1")
    assert second.exit_code == 74
    assert "No space left on device" in complaints(second)[0]
    assert first.exit_code == 75
    (sentence,) = complaints(first)
    assert "rank 1 of 2 has stopped for a reason of its own, so rank 0 stops too" in sentence


BREAKS = ("kill_at_step {last} 2", "kill_in_save 0 1", "kill_at_step 0 4", "kill_in_save 0 1")
SIZES = {"one": (1, {}), "two": (2, {}), "two, sharded": (2, SHARDED)}


@pytest.mark.parametrize("ranks", ["one", "two", pytest.param("two, sharded", marks=pytest.mark.nightly)])
def test_what_killed_ranks_leave_is_gone_on_with_to_the_bit(toy_run, ranks):
    """F1 and F2: at a step, on either rank, and inside a save."""
    size, settings = SIZES[ranks]
    whole, broken = toy_run(training=TRAINING, **settings), toy_run(training=TRAINING, **settings)
    expected = outcome(trained(whole, size))
    with broken.owned():
        pass
    for plant in BREAKS:
        ended = train_with(size, broken.folder, plant=plant.format(last=size - 1))
        assert sorted(rank.exit_code for rank in ended) == [-signal.SIGKILL, 75][:size], (plant, ended)
    assert len(list(broken.checkpoints.glob("step-*"))) == 1, "one save came through"
    found = outcome(trained(broken, size))
    assert found[0] == expected[0]
    assert repr(found[1]) == repr(expected[1])
    assert found[2] == expected[2]


def test_a_rank_without_memory_works_in_pieces_and_changes_nothing_but_rounding(toy_run):
    """F7 on two ranks. After a save all work in pieces as small, so what is cut later goes on to the same bits."""
    one, whole, broken = (toy_run(training=TRAINING) for _ in range(3))
    plant = "memory_runs_out 1"
    found = differences(trained(one, 1), trained(whole, 2, plant=plant))
    assert found["routes"] == 0
    assert found["loss"] < 1e-5
    assert found["weights"] < 1e-4
    with broken.owned():
        pass
    train_with(2, broken.folder, plant=f"{plant}; kill_at_step 1 4")
    (position,) = broken.checkpoints.glob("step-*/position.json")
    assert any(json.loads(position.read_text())["graph_tokens"])
    assert outcome(trained(broken, 2))[0] == outcome(whole)[0]


@pytest.mark.parametrize("way", [("fsdp", "none"), pytest.param(("none", "fsdp"), marks=pytest.mark.nightly)], ids="->".join)
def test_a_run_goes_on_with_other_pieces_and_another_number_of_ranks(toy_run, way):
    """Two ranks, killed after a save, then one (or two in pieces): equal to one process up to rounding."""
    one, broken = toy_run(training=TRAINING), toy_run(training=TRAINING, runtime={"threads": 1, "sharding": way[0]})
    with broken.owned():
        pass
    train_with(2, broken.folder, plant="kill_at_step 0 4")
    (step,) = broken.checkpoints.glob("step-*")
    is_cut = way[0] == "fsdp"
    assert len(list((step / "students").rglob("*.safetensors"))) == (4 if is_cut else 2), "two students, of two ranks or of one"
    config = broken.config.model_copy(update={"runtime": broken.config.runtime.model_copy(update={"sharding": way[1]})})
    broken.close()
    found = differences(trained(one, 1), trained(Run(broken.folder, config, is_update=True), 1 if is_cut else 2))
    assert found["routes"] == 0
    assert found["loss"] < 1e-5
    assert found["weights"] < 1e-4


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", [1, 2])
def test_ranks_killed_at_random_go_on_to_the_bit(toy_run, size):
    dice = random.Random(4)
    settings = {"training": {**TRAINING, "epochs": 4, "checkpoint_steps": 1}}
    whole, broken = toy_run(**settings), toy_run(**settings)
    expected = outcome(trained(whole, size))
    with broken.owned():
        pass
    kills = 0
    while not broken.is_done("train"):
        at_step, in_save = (
            f"kill_at_step {dice.randint(0, size - 1)} {dice.randint(1, 3)}",
            f"kill_in_save 0 {dice.randint(1, 2)}",
        )
        plant = at_step if dice.random() < 0.7 else in_save
        kills += any(rank.exit_code == -signal.SIGKILL for rank in train_with(size, broken.folder, plant=plant))
        broken.close()
    assert kills >= 5
    found = outcome(Run(broken.folder))
    assert (found[0], repr(found[1]), found[2]) == (expected[0], repr(expected[1]), expected[2])


def test_each_path_has_one_reader_and_paths_of_a_question_stay_together(toy_run):
    run = toy_run()
    students = load_team(run.config)
    work = step_work(load_pool(run, students)[0])
    dice = torch.Generator().manual_seed(3)
    read_PS = torch.rand(len(work.paths), 2, generator=dice) < 0.6
    for size in (1, 2, 3, 20):
        owner_PS = share_out(work, read_PS, size)
        parts = [read_PS & (owner_PS == rank) for rank in range(size)]
        assert torch.equal(sum(part.long() for part in parts), read_PS.long())
        for student in (0, 1):
            for question in range(len(work.questions)):
                assert len(set(owner_PS[work.question_of_P == question, student].tolist())) == 1
    lengths_PS = torch.tensor([[len(tokens.response_ids) for tokens in path.tokens] for path in work.paths])
    loads = [int((lengths_PS * (read_PS & (share_out(work, read_PS, 2) == rank))).sum()) for rank in (0, 1)]
    assert max(loads) < 0.6 * sum(loads), "two ranks have about the same to read"
