"""The study on the recorded Date teacher: it parses, every arm is planned, seeds draw other splits, and it runs."""

from pathlib import Path

import pytest
from tests.tasks.test_date_recipe import DATE

from qrdistill.config import Config, load_recipe
from qrdistill.planning import plan, problems
from qrdistill.study.sweep import run_study
from qrdistill.study.variants import names_of, parts, variant_named
from qrdistill.tasks import load_tasks
from qrdistill.types import Split

RECIPE = Path(__file__).parents[2] / "recipes" / "study_date.yaml"
ARMS = "random,released,paper,qrdistill"
needs_data = pytest.mark.skipif(DATE is None, reason="the recorded Date questions are not beside this checkout")


def recipe(*overrides: str, seed: int = 0) -> Config:
    places = [f"questions.tasks.0.path={DATE}/train.jsonl", f"generate.teachers.0.path={DATE}/teacher_paths.jsonl"]
    return load_recipe(RECIPE, overrides=[*(places if DATE else []), *overrides], seed=seed)


def test_the_recipe_names_the_arms_it_is_meant_for():
    assert f"--variants {ARMS} " in RECIPE.read_text()
    assert load_recipe(RECIPE).questions.num_train + 20 + 50 == 200


@needs_data
@pytest.mark.parametrize("name", names_of(f"{ARMS},all,score,no_filter,single_path,zero_shot"))
def test_every_arm_is_planned_without_a_problem(name):
    for config in parts(variant_named(name), recipe()).values():
        assert problems(config, stages=["generate", "filter"]) == []
        assert plan(config).num_paths == 6 * 150


@needs_data
def test_each_seed_tests_on_other_questions_and_never_on_those_it_trains_on():
    sizes: tuple[tuple[Split, int], ...] = (("train", 130), ("validation", 20), ("test", 50))
    tests = []
    for seed in (0, 1, 2):
        task = load_tasks(recipe(seed=seed))["date"]
        split = {name: {question.id for question in task.questions(name, size)} for name, size in sizes}
        assert len(set.union(*split.values())) == 200
        tests.append(split["test"])
    assert all(len(a - b) > 10 for a in tests for b in tests if a is not b)


@needs_data
def test_the_study_runs_with_a_tiny_student(tmp_path):
    config = recipe(
        "students=[{name: a, source: {kind: tiny}, adapter: {kind: full}}]",
        "questions.num_train=6",
        "questions.num_validation=2",
        "questions.num_test=3",
        "training.epochs=1",
        "method.policy.encoder={kind: ngram}",
        "evaluation.max_new_tokens=8",
        "runtime.threads=1",
    )
    found = run_study(config, tmp_path / "study", variants=ARMS.split(","), seeds=[1])
    assert list(found["arms"]) == ARMS.split(",")
    assert all((arm["seeds"], arm["n"]) == (1, 3) for arm in found["arms"].values())
    used = [arm["train_tokens"] for arm in found["arms"].values()]
    assert min(used) >= found["max_label_tokens"] > 0
    assert max(used) < found["max_label_tokens"] + config.students[0].max_length
