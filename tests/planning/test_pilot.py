"""A pilot prices the run before it is paid, and is a part of it: its replies are kept, counted, and never paid for twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.client import KEY, VARIABLE, limits
from harness.clock import slowdown
from harness.fault_server import Accepted, FaultServer
from harness.judges import honest, lenient
from qrdistill.cli.main import run_app
from qrdistill.config import Config, dump, load_recipe
from qrdistill.errors import PausedError, UnsafeConfigError, UsageError
from qrdistill.planning import run_pilot
from qrdistill.planning.forecast import Forecast
from qrdistill.planning.pilot import choose
from qrdistill.planning.projection import Sample, forecasts_of, shares_of
from qrdistill.quality.filter import filter_paths
from qrdistill.store import Run
from qrdistill.tasks.registry import load_tasks
from qrdistill.teacher.client import spent_before
from qrdistill.teacher.generate import generate_paths
from qrdistill.types import Attempt, PathRequest, Question

PRICE = {"prompt_usd_per_million": 1000, "completion_usd_per_million": 2000}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def endpoint(url: str, model: str, **changes: Any) -> dict[str, Any]:
    quick = limits(deadline_s=30.0).model_dump()
    return {"model": model, "base_url": url, "api_key_env": VARIABLE, "price": PRICE, "limits": quick, **changes}


def recipe(root: Path, url: str, judge_url: str = "", *, num_train: int = 40, **sections: Any) -> Config:
    """One paid teacher and, with an address, one paid judge."""
    tree = load_recipe(root / "recipes" / "smoke.yaml").model_dump(mode="json")
    tree["generate"]["teachers"] = [{"kind": "openai_compatible", "name": "toy", **endpoint(url, "toy")}]
    tree["seed"] = 2
    tree["questions"] |= {"num_train": num_train, "num_validation": 2, "num_test": 2}
    if judge_url:
        judge = endpoint(judge_url, "judge", capabilities={"model_check": False})
        tree["filter"]["judge"] = {"kind": "llm", "judges": [judge]}
    for name, changes in sections.items():
        tree[name] |= changes
    return Config.model_validate(tree)


def golds(config: Config) -> dict[str, str]:
    sizes = config.questions
    return {
        question.text.split("\n")[0]: question.gold
        for task in load_tasks(config).values()
        for split, number in (("train", sizes.num_train), ("validation", sizes.num_validation))
        for question in task.questions(split, number)  # type: ignore[arg-type]
    }


class Author:
    """A teacher that is right four times in five, at lengths that vary by question, style and chance of the prompt."""

    def __init__(self) -> None:
        self.golds: dict[str, str] = {}

    def __call__(self, prompt: str) -> str:
        dice = hashlib.sha256(prompt.encode()).digest()
        gold = self.golds[prompt.split("\n")[0]]
        steps = "\n".join(f"First {n} + {n} = {2 * n}, which is a step." for n in range(2 + dice[0] % 6))
        return f"{steps}\nThe answer is {gold if dice[1] % 5 else -1}. ({dice.hex()[:6]})"


def bill(accepted: list[Accepted]) -> tuple[int, int, float]:
    """Prompt tokens, completion tokens and dollars on a server's books."""
    prompt, completion = sum(call.prompt_tokens for call in accepted), sum(call.completion_tokens for call in accepted)
    return prompt, completion, prompt * 1e-3 + completion * 2e-3


def covers(found: Forecast, calls: int, prompt: int, completion: int, usd: float) -> None:
    assert found.usd
    for part, true in (
        (found.calls, calls),
        (found.prompt_tokens, prompt),
        (found.completion_tokens, completion),
        (found.usd, usd),
    ):
        assert part.low - 1e-9 <= true <= part.high + 1e-9, (found.who, part, true)
        assert part.high - part.low < 0.8 * part.value, "an interval that says something"


def test_a_pilot_covers_what_the_run_costs_and_is_a_part_of_it(tmp_path: Path, root: Path) -> None:
    author = Author()
    with FaultServer(answer=author, latency_s=0.03) as teacher, FaultServer(answer=honest, latency_s=0.03) as judge:
        config = recipe(root, teacher.url, judge.url, generate={"resample_rounds": 1})
        author.golds = golds(config)
        run = Run(tmp_path / "run", config)
        pilot = run_pilot(run, 12)
        by_teacher, by_judge, total = pilot.forecasts
        in_pilot = len(teacher.accepted) + len(judge.accepted)
        assert (pilot.num_questions, pilot.num_of) == (12, 2 * 42)
        assert pilot.num_calls == in_pilot >= 12 * 6 + 20
        assert pilot.paid_usd == pytest.approx(bill([*teacher.accepted, *judge.accepted])[2])

        started_s = time.monotonic()
        generate_paths(run)
        filter_paths(run)
        run_s = time.monotonic() - started_s
        covers(by_teacher, len(teacher.accepted), *bill(teacher.accepted))
        covers(by_judge, len(judge.accepted), *bill(judge.accepted))
        covers(total, len(teacher.accepted) + len(judge.accepted), *bill([*teacher.accepted, *judge.accepted]))
        assert total.seconds
        assert total.seconds.low / 3 < run_s < total.seconds.high * 3 * slowdown()

        asked = Counter(call.key for call in [*teacher.accepted, *judge.accepted])
        assert set(asked.values()) == {1}, "nothing is asked for or paid twice"
        spent = spent_before(run.ledger).billed_usd + spent_before(run.ledger, owner="*").billed_usd
        assert spent == pytest.approx(bill([*teacher.accepted, *judge.accepted])[2])
        assert covered_by(run, num_questions=8, draws=200) >= 0.9, "other draws do as well"
        run.close()


def covered_by(run: Run, *, num_questions: int, draws: int) -> float:
    """How often a pilot's interval covers calls, tokens and money of a run that is in the ledger whole."""
    asked = run.ledger.all(Question, "split != 'test'")
    sql = "SELECT p.question_id FROM paths p JOIN judgements j ON j.path_id = p.id WHERE j.judge GLOB '*=*'"
    judged = Counter(question for (question,) in run.ledger.execute(sql))
    shares = shares_of(run, run.ledger.all(PathRequest))
    (*_, true) = forecasts_of(shares, Sample(questions=tuple(q.id for q in asked), num_of=len(asked), judged=judged), run.config)
    hits = []
    for seed in range(draws):
        drawn = tuple(question.id for question in choose(asked, num_questions, seed=seed))
        (*_, found) = forecasts_of(shares, Sample(questions=drawn, num_of=len(asked), judged=judged), run.config)
        for name in ("calls", "prompt_tokens", "completion_tokens", "usd"):
            part, whole = getattr(found, name), getattr(true, name)
            assert whole.low == whole.high, "all of it was seen"
            hits.append(part.low <= whole.value <= part.high)
    return sum(hits) / len(hits)


def test_seconds_follow_from_latency_slots_and_rates(tmp_path: Path, root: Path) -> None:
    """Attempts of known length in the ledger: the arithmetic of the time, without a clock."""
    author = Author()
    with FaultServer(answer=author) as server:
        config = recipe(root, server.url, num_train=40)
        author.golds = golds(config)
        run = Run(tmp_path / "run", config)
        run_pilot(run, 4)
        with run.owned():
            attempts = run.ledger.all(Attempt)
            run.ledger.add([dataclasses.replace(a, started_s=1000.0, finished_s=1002.0) for a in attempts])
        calls = 84 * 6

        def seconds(**changes: Any) -> float:
            config = recipe(root, server.url, num_train=40)
            tree = config.model_dump(mode="json")
            tree["generate"]["teachers"][0]["limits"] |= changes
            (*_, total) = run_pilot(Run(run.folder, Config.model_validate(tree)), 4).forecasts
            assert total.seconds
            return total.seconds.value

        run.close()
        assert seconds(max_concurrency=8) == pytest.approx(calls * 2.0 / 8 + 2 * 2.0)
        assert seconds(max_concurrency=16) == pytest.approx(calls * 2.0 / 16 + 2 * 2.0)
        assert seconds(requests_per_minute=30) == pytest.approx(calls * 60 / 30 + 2 * 2.0)
        assert len(server.accepted) == len(attempts), "all that was told from the ledger"


def test_a_call_that_waits_for_its_place_has_not_begun(tmp_path: Path, root: Path) -> None:
    """The latency is the server's, however long a call stands in the queue for one of 4 slots."""
    author = Author()
    with FaultServer(answer=author, latency_s=0.05) as server:
        config = recipe(root, server.url)
        author.golds = golds(config)
        tree = config.model_dump(mode="json")
        tree["generate"]["teachers"][0]["limits"]["max_concurrency"] = 4
        run = Run(tmp_path / "run", Config.model_validate(tree))
        run_pilot(run, 8)
        attempts = run.ledger.all(Attempt)
        under_way = [sum(one.started_s <= at.started_s < one.finished_s for one in attempts) for at in attempts]
        assert max(under_way) == 4
        run.close()


def test_a_pilot_counts_under_the_caps(tmp_path: Path, root: Path) -> None:
    author = Author()
    with FaultServer(answer=author) as server:
        config = recipe(root, server.url, budget={"generate_usd": 20.0})
        author.golds = golds(config)
        run = Run(tmp_path / "run", config)
        pilot = run_pilot(run, 4)
        assert any("budget.generate_usd is 20.0000 USD" in warning for warning in pilot.warnings)
        with pytest.raises(PausedError, match=r"budget\.generate_usd"):
            generate_paths(run)
        assert bill(server.accepted)[2] <= 20.0
        run.close()


def test_a_fooled_judge_is_found_by_the_pilot_and_the_teacher_is_priced_all_the_same(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    author = Author()
    with FaultServer(answer=author) as teacher, FaultServer(answer=lenient) as judge:
        config = recipe(root, teacher.url, judge.url)
        author.golds = golds(config)
        pilot = run_pilot(Run(tmp_path / "run", config), 4)
        assert "planted bad" in pilot.problem
        (priced,) = pilot.forecasts
        assert priced.who == "teacher toy"
        assert priced.usd is not None
        assert pilot.paid_usd == pytest.approx(bill([*teacher.accepted, *judge.accepted])[2])
        (tmp_path / "recipe.yaml").write_text(dump(config))
        assert run_app(["check", str(tmp_path / "recipe.yaml"), "--pilot", "4", "-o", str(tmp_path / "run")]) == 78
        told = " ".join(capsys.readouterr().out.split())
        assert "problem: the judge" in told
        assert "planted bad" in told
        assert "teacher toy" in told


def test_after_a_pilot_the_recipe_may_change_until_a_stage_begins(tmp_path: Path, root: Path) -> None:
    author = Author()
    with FaultServer(answer=author) as server:
        config = recipe(root, server.url, num_train=6)
        author.golds = golds(config)
        run = Run(tmp_path / "run", config)
        run_pilot(run, 3)
        run.close()
        other = Run(tmp_path / "run", recipe(root, server.url, num_train=5))
        generate_paths(other)
        other.close()
        assert set(Counter(call.key for call in server.accepted).values()) == {1}
        with pytest.raises(UnsafeConfigError, match="num_train"):
            Run(tmp_path / "run", config)


def test_a_larger_pilot_holds_a_smaller_one_and_tasks_take_turns() -> None:
    questions = [
        Question(id=f"{task}-{i}", task=task, split="train", text="?", kind="number", gold="1")
        for task in "ab"
        for i in range(50)
    ]
    few, many = choose(questions, 6, seed=3), choose(questions, 20, seed=3)
    assert many[:6] == few
    assert [question.task for question in few] == ["a", "b"] * 3 or [question.task for question in few] == ["b", "a"] * 3
    assert few != choose(questions, 6, seed=4)


@pytest.mark.parametrize(
    ("number", "changes", "says"),
    [(1, {}, "at least 2 questions"), (4, {"mode": "batch"}, "no pilot can time"), (4, None, "nothing to pilot")],
)
def test_pilots_that_make_no_sense_are_refused(
    tmp_path: Path, root: Path, number: int, changes: dict[str, Any] | None, says: str
) -> None:
    config = recipe(root, "http://127.0.0.1:1/v1")
    tree = config.model_dump(mode="json")
    if changes is None:
        tree["generate"]["teachers"] = load_recipe(root / "recipes" / "smoke.yaml").model_dump(mode="json")["generate"][
            "teachers"
        ]
    else:
        tree["generate"]["teachers"][0] |= changes
    with pytest.raises(UsageError, match=says):
        run_pilot(Run(tmp_path / "run", Config.model_validate(tree)), number)
    assert not (tmp_path / "run").exists()


def test_check_prints_and_returns_the_pilot(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    author = Author()
    with FaultServer(answer=author) as teacher, FaultServer(answer=honest) as judge:
        config = recipe(root, teacher.url, judge.url, num_train=8)
        author.golds = golds(config)
        path, folder = tmp_path / "recipe.yaml", tmp_path / "run"
        path.write_text(dump(config))
        assert run_app(["check", str(path)]) == 0
        assert not folder.exists()
        bounds = capsys.readouterr().out
        assert "at most" in bounds
        assert not teacher.accepted
        assert run_app(["check", str(path), "--pilot", "4", "-o", str(folder), "--json"]) == 0
        tree = json.loads(capsys.readouterr().out)
        assert [part["who"] for part in tree["forecasts"]] == ["teacher toy", "judge judge", "total"]
        for part in tree["forecasts"]:
            for name in ("calls", "prompt_tokens", "completion_tokens", "usd", "seconds"):
                assert 0 < part[name]["low"] <= part[name]["value"] <= part[name]["high"], (part["who"], name)
        assert tree["pilot"]["num_calls"] == len(teacher.accepted) + len(judge.accepted)
        assert tree["next"] == f"qrdistill run {path} -o {folder}"
        assert run_app(["check", str(path), "--pilot", "4", "-o", str(folder)]) == 0
        shown = capsys.readouterr().out
        assert re.search(r"pilot: 4 of 20 questions, 0 calls, 0\.0000 USD; paid and kept in", shown)
        assert re.search(r"teacher toy +120 +[\d,]+ \([\d,]+ to [\d,]+\)", shown)
