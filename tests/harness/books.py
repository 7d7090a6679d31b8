"""A run's books against the server's, and a recipe with one paid teacher."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.client import VARIABLE
from harness.fault_server import FaultServer
from qrdistill.config import load_recipe
from qrdistill.store import Ledger
from qrdistill.tasks.registry import load_tasks
from qrdistill.teacher.client import spent_before
from qrdistill.types import Attempt, ReasoningPath, Split

PRICE = {"prompt_usd_per_million": 1000, "completion_usd_per_million": 2000}
QUICK = {"max_concurrency": 4, "backoff_s": 0.02, "backoff_cap_s": 0.1, "retry_after_cap_s": 0.3, "deadline_s": 60, "grace_s": 5}


def write_recipe(folder: Path, url: str, *, num_train: int, **changes: Any) -> Path:
    """A recipe with one paid teacher, plus `changes` to the teacher (a key with a dot goes to the top level)."""
    teacher = {
        "kind": "openai_compatible",
        "name": "toy",
        "model": "toy",
        "base_url": url,
        "api_key_env": VARIABLE,
        "price": PRICE,
        "limits": QUICK,
        "max_tokens": 8,
    }
    recipe = {
        "name": "paid",
        "questions": {
            "tasks": [{"kind": "reasoning", "name": "chain_sum"}],
            "num_train": num_train,
            "num_validation": 1,
            "num_test": 1,
        },
        "generate": {"teachers": [teacher | {key: value for key, value in changes.items() if "." not in key}]},
        "students": [{"name": "one", "source": {"kind": "tiny"}, "adapter": {"kind": "full"}}],
    }
    for dotted, value in changes.items():
        if "." in dotted:
            section, name = dotted.split(".")
            recipe.setdefault(section, {})[name] = value
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def gold_answers(recipe: Path) -> dict[str, str]:
    """First line of a prompt -> the right answer, for the questions that teachers are asked."""
    config = load_recipe(recipe)
    sizes: dict[Split, int] = {"train": config.questions.num_train, "validation": config.questions.num_validation}
    return {
        question.text.splitlines()[0]: question.gold
        for task in load_tasks(config).values()
        for split, number in sizes.items()
        for question in task.questions(split, number)
    }


def books(folder: Path, server: FaultServer, num_paths: int) -> None:
    """0 lost, 0 duplicated, 0 paid twice, and a bill that equals the server's."""
    ledger = Ledger(folder / "ledger.sqlite", is_read_only=True)
    paths, attempts = ledger.all(ReasoningPath), {attempt.id: attempt for attempt in ledger.all(Attempt)}
    assert len({(path.question_id, path.teacher, path.style, path.sample) for path in paths}) == len(paths) == num_paths
    maybe = {id_ for id_, attempt in attempts.items() if attempt.outcome in {"sent", "lost"}}
    assert {call.request_id for call in server.accepted} <= attempts.keys()
    paid = Counter(call.key for call in server.billed() if call.request_id not in maybe)
    assert paid.keys() == {path.id for path in paths}
    assert set(paid.values()) == {1}
    sure = sum(
        call.prompt_tokens * 1e-3 + call.completion_tokens * 2e-3 for call in server.billed() if call.request_id not in maybe
    )
    assert spent_before(ledger).billed_usd == pytest.approx(sure, rel=1e-9)
    ledger.close()
