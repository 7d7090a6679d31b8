"""A run is priced before it is paid: bounds without a call, an estimate with an interval from a pilot; own styles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.client import KEY, VARIABLE, limits
from harness.fault_server import FaultServer
from qrdistill.config import Config, load_recipe
from qrdistill.errors import ConfigError
from qrdistill.planning import plan
from qrdistill.store import Run
from qrdistill.tasks.registry import load_tasks
from qrdistill.teacher.client import spent_before
from qrdistill.teacher.generate import generate_paths
from qrdistill.types import ReasoningPath

PRICE = {"prompt_usd_per_million": 1000, "completion_usd_per_million": 2000}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


def recipe(root: Path, url: str, *, num_train: int = 100, generate: dict[str, Any] | None = None, **teacher: Any) -> Config:
    tree = load_recipe(root / "recipes" / "smoke.yaml").model_dump(mode="json")
    base = {"kind": "openai_compatible", "name": "toy", "model": "toy", "base_url": url, "api_key_env": VARIABLE, "price": PRICE}
    tree["generate"] |= {"teachers": [base | {"limits": limits().model_dump()} | teacher]} | (generate or {})
    tree["questions"]["num_train"] = num_train
    return Config.model_validate(tree)


def test_a_bound_costs_no_call_and_holds(tmp_path: Path, root: Path) -> None:
    with FaultServer() as server:
        config = recipe(root, server.url, num_train=10)
        bound, total = plan(config).forecasts
        assert total.calls == bound.calls
        assert not server.accepted
        run = Run(tmp_path / "run", config)
        generate_paths(run)
        spent = spent_before(run.ledger)
        assert bound.calls.high == spent.num_attempts == 12 * 2 * 6
        assert bound.usd
        assert spent.billed_usd < bound.usd.high
        assert spent.completion_tokens < bound.completion_tokens.high
        assert spent.prompt_tokens == pytest.approx(bound.prompt_tokens.value, rel=0.25)
        run.close()


def test_own_styles_reach_the_teacher(tmp_path: Path, root: Path) -> None:
    own = {"name": "rhyme", "template": "In verse, please: {question}\n{answer_form}", "why": "for fun"}
    with FaultServer() as server:
        run = Run(tmp_path / "run", recipe(root, server.url, num_train=2, generate={"styles": ["rhyme"], "custom_styles": [own]}))
        generate_paths(run)
        assert {path.style for path in run.ledger.all(ReasoningPath)} == {"rhyme"}
        assert all(call.prompt.startswith("In verse, please: ") for call in server.accepted)
        run.close()


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{question} {answer_form} {author}", "author"),
        ("{question}", "answer_form"),
        ("{question}{question}{answer_form}", "question"),
        ("{answer_form}{question}", "before"),
    ],
)
def test_a_template_with_a_wrong_field_is_refused(root: Path, template: str, says: str, tmp_path: Path) -> None:
    text = (root / "recipes" / "smoke.yaml").read_text()
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    style = f'[{{name: mine, template: "{template}"}}]'
    with pytest.raises(ConfigError, match=says):
        load_recipe(path, overrides=[f"generate.custom_styles={style}"])


def test_two_samples_a_cell_differ_in_seed_and_share_nothing(tmp_path: Path, root: Path) -> None:
    with FaultServer() as server:
        config = recipe(root, server.url, num_train=2, generate={"samples": 3}, capabilities={"seed": True})
        run = Run(tmp_path / "run", config)
        generate_paths(run)
        seeds = [call.body["seed"] for call in server.accepted]
        assert len(seeds) == len(set(seeds)) == 4 * 2 * 6 * 3
        run.close()


def test_one_call_may_bring_n_samples(tmp_path: Path, root: Path) -> None:
    with FaultServer() as server:
        config = recipe(root, server.url, num_train=2, generate={"samples": 3}, capabilities={"n": 4})
        run = Run(tmp_path / "run", config)
        generate_paths(run)
        assert len(server.accepted) == 4 * 2 * 6
        paths = run.ledger.all(ReasoningPath)
        assert len(paths) == 4 * 2 * 6 * 3
        billed = sum(call.prompt_tokens * 1e-3 + call.completion_tokens * 2e-3 for call in server.accepted)
        assert sum(path.cost_usd for path in paths) == pytest.approx(billed)
        run.close()


def test_questions_without_a_right_answer_are_asked_again_up_to_a_cap(tmp_path: Path, root: Path) -> None:
    asked: dict[str, int] = {}

    def stubborn(prompt: str) -> str:
        """Right at once for some questions, at the second round for some, never for others."""
        question = prompt.split("\n")[0]
        asked[question] = asked.get(question, 0) + 1
        is_hard, is_hopeless = len(question) % 3 == 0, len(question) % 3 == 1
        if is_hopeless or (is_hard and asked[question] <= 6):
            return "The answer is -1."
        return f"The answer is {golds[question]}."

    with FaultServer(answer=stubborn) as server:
        config = recipe(root, server.url, num_train=6, generate={"resample_rounds": 2})
        golds = {
            question.text.split("\n")[0]: question.gold
            for task in load_tasks(config).values()
            for split in ("train", "validation")
            for question in task.questions(split, 6 if split == "train" else 2)  # type: ignore[arg-type]
        }
        run = Run(tmp_path / "run", config)
        generate_paths(run)
        sorts = [len(text) % 3 for text in golds]
        assert {0, 1, 2} == set(sorts)
        expected = 6 * (len(sorts) + sorts.count(0) + 2 * sorts.count(1))
        assert len(server.accepted) == run.ledger.count(ReasoningPath) == expected
        run.ledger.close()
        run.close()
        again = Run(tmp_path / "run", config.model_copy(update={"name": "other"}), is_update=True)
        with again.owned():
            again.ledger.forget("stage/generate")
            generate_paths(again)
        assert len(server.accepted) == expected
        again.close()
