"""A run that replays another's routes or router routes as it did, and trains the same students."""

import pytest
import torch

from qrdistill.errors import DataError
from qrdistill.training.loop import train
from qrdistill.types import Route

TRAINING = {"questions_per_step": 2, "checkpoint_steps": 1, "epochs": 2}


def gates(run) -> dict:
    return {(r.epoch, r.path_id, r.student): (r.prob, r.is_routed) for r in run.ledger.all(Route)}


def test_replayed_routes_train_the_same_students(toy_run):
    """Without the router only the gates are left of it: same gates, same students."""
    first = toy_run(training=TRAINING)
    trained = train(first)
    again = toy_run(training=TRAINING, method__policy={"kind": "frozen", "run": str(first.folder)})
    replayed = train(again)
    assert gates(again) == gates(first)
    assert 0 < sum(is_routed for _, is_routed in gates(first).values()) < len(gates(first))
    for one, other in zip(trained, replayed, strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_frozen_router_gives_the_other_runs_probabilities_and_learns_nothing(toy_run):
    first = toy_run(training=TRAINING)
    train(first)
    router = first.config.method.policy.model_dump() | {"kind": "frozen_router", "run": str(first.folder)}
    again = toy_run(training=TRAINING, method__policy=router)
    train(again)
    assert set(gates(again)) == set(gates(first))
    assert gates(again) != gates(first), "fresh gates"
    assert 0 < sum(is_routed for _, is_routed in gates(again).values()) < len(gates(again))


def test_replay_names_what_does_not_fit(toy_run):
    first = toy_run(method__policy={"kind": "random", "budget": 2})
    with pytest.raises(DataError, match=r"training of .* is not done"):
        train(toy_run(method__policy={"kind": "frozen", "run": str(first.folder)}))
    train(first)
    router = {"kind": "frozen_router", "run": str(first.folder), "encoder": {"kind": "ngram", "dim": 32}}
    with pytest.raises(DataError, match="has no trained router"):
        train(toy_run(method__policy=router))
