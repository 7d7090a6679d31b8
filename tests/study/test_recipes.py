"""Recipes of the paper and of today: whole, true to what they claim, and run with small parts in the big ones' places."""

import re
from pathlib import Path

import pytest

from qrdistill.config import METHODS, load_recipe, validate
from qrdistill.errors import ProviderError
from qrdistill.pipeline import run_pipeline
from qrdistill.planning import plan, problems
from qrdistill.tasks.datasets import DATASETS

FOLDER = Path(__file__).parents[2] / "recipes"
PAPER, MODERN = (sorted((FOLDER / name).glob("*.yaml")) for name in ("paper", "modern"))
SIZE = re.compile(r"(\d+) (train|validation|test)")


def test_the_papers_five_tasks_are_all_there():
    assert [path.stem for path in PAPER] == ["anli", "arc_challenge", "date_understanding", "math", "strategy_qa"]
    assert {path.stem for path in PAPER} <= {path.stem for path in MODERN}


@pytest.mark.parametrize("path", [*PAPER, *MODERN], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_has_a_head_and_lacks_only_data_and_keys(path, monkeypatch):
    first = path.read_text().partition("\n")[0]
    assert re.match(r"# .+; .*GPU.*; (not measured yet|.*\d.*)$", first)
    monkeypatch.setenv("GEMINI_API_KEY", "not-a-key")
    config = load_recipe(path)
    found = problems(config)
    assert all(isinstance(problem, ProviderError) and "hub" in str(problem) for problem in found), found
    planned = plan(config)
    assert planned.num_paths == 6 * (config.questions.num_train + config.questions.num_validation)


@pytest.mark.parametrize("path", [*PAPER, *MODERN], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_data_set_is_large_enough(path):
    config = load_recipe(path)
    (task,) = config.questions.tasks
    sizes = DATASETS[task.name].sizes
    held_out = 0 if "validation" in sizes else config.questions.num_validation
    assert config.questions.num_train + held_out <= sizes["train"]
    assert config.questions.num_validation <= sizes.get("validation", sizes["train"])
    assert config.questions.num_test == sizes["test"]


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_paper_recipes_are_the_papers(path):
    config = load_recipe(path)
    assert {s.source.id: s.learning_rate for s in config.students} == {
        "mistralai/Mistral-7B-Instruct-v0.3": 5e-6,
        "google/gemma-7b-it": 2e-4,
    }
    assert all(student.adapter.rank == 32 for student in config.students)
    (teacher,) = config.generate.teachers
    assert (teacher.model, teacher.temperature) == ("gemini-1.5-pro-001", 0.8)
    assert config.training.epochs == (3 if path.stem == "math" else 10)
    ours = METHODS["paper"]
    assert config.method.peers == ours.peers
    assert config.method.policy.model_copy(update={"encoder": ours.policy.encoder}) == ours.policy
    assert config.method.policy.encoder.id == "FacebookAI/roberta-base"


@pytest.mark.parametrize("path", [FOLDER / "paper/date_understanding.yaml", FOLDER / "modern/date_understanding.yaml"])
def test_the_method_and_training_of_a_recipe_run_with_small_parts(path, tmp_path):
    tree = load_recipe(path).model_dump(mode="json")
    tree["questions"] = {
        "tasks": [{"kind": "reasoning", "name": "leg_counting"}],
        "num_train": 6,
        "num_validation": 2,
        "num_test": 2,
    }
    tree["generate"]["teachers"] = [{"kind": "worked_solution"}]
    tree["filter"]["judge"] = {"kind": "step_checker"}
    for student, architecture in zip(tree["students"], ("llama", "gemma3"), strict=True):
        student["source"] = {"kind": "tiny", "architecture": architecture}
    tree["method"]["policy"]["encoder"] = {"kind": "ngram"}
    tree["training"]["epochs"] = 1
    tree["evaluation"]["max_new_tokens"] = 4
    run = run_pipeline(validate(tree), tmp_path / "run", until="evaluate")
    assert run.is_done("evaluate")
    assert all(tokens > 0 for tokens in run.summary("train")["label_tokens"].values())
