"""A whole study with tiny students: shared pools, equal tokens, resuming, and what it refuses."""

import json
from pathlib import Path

import pytest
from tests.recipes import toy_recipe

from qrdistill.cli.main import run_app
from qrdistill.config import dump
from qrdistill.errors import DataError, RunInUseError, UnsafeConfigError, UsageError
from qrdistill.store import Run
from qrdistill.store.lock import locked
from qrdistill.study import sweep
from qrdistill.study.results import insist_on_equal_tokens
from qrdistill.study.sweep import run_study, study_so_far
from qrdistill.study.variants import VARIANTS, Variant, changed
from qrdistill.training.compute import compute_factor
from qrdistill.types import ReasoningPath

ARMS = ["qrdistill", "random", "no_filter", "solo", "zero_shot"]
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def recipe():
    return toy_recipe(evaluation={"max_new_tokens": 8})


@pytest.fixture(scope="module")
def study(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "study"
    return folder, run_study(recipe, folder, variants=ARMS, seeds=SEEDS, jobs=2)


def results(folder: Path) -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in folder.glob("results/*--seed-*.json")}


def test_every_arm_has_answers_of_every_student_and_the_same_tokens(study, recipe):
    folder, found = study
    names = {student.name for student in recipe.students}
    assert list(found["arms"]) == ARMS
    for name, arm in found["arms"].items():
        assert set(arm["students"]) == names
        assert (arm["n"], arm["seeds"]) == (2 * 2 * len(SEEDS), len(SEEDS))
        assert arm["low"] <= arm["mean"] <= arm["high"]
        assert (arm["train_tokens"] == 0) == (name == "zero_shot")
    trained = [s["train_tokens"] for r in results(folder).values() if r["arm"] != "zero_shot" for s in r["students"].values()]
    assert len(trained) == 4 * 2 * len(SEEDS)
    assert min(trained) >= found["max_label_tokens"] > 0
    assert json.loads((folder / "study.json").read_text()) == json.loads(json.dumps(found))


def test_means_are_those_of_the_answers(study):
    folder, found = study
    for arm in ARMS:
        marks = [
            answer["verdict"] == "match"
            for result in results(folder).values()
            if result["arm"] == arm
            for student in result["students"].values()
            for answer in student["answers"].values()
        ]
        assert found["arms"][arm]["mean"] == pytest.approx(sum(marks) / len(marks), abs=1e-6)


def test_paths_are_generated_once_a_seed_and_filtered_once_a_filter(study):
    folder, _ = study
    pools = sorted(path.name.partition("-")[0] for path in (folder / "pools").iterdir())
    assert pools == ["filter"] * 2 * len(SEEDS) + ["generate"] * len(SEEDS)
    made = set()
    for place in [*folder.glob("pools/*"), *folder.glob("arms/*/*")]:
        rows = Run(place).ledger.execute("SELECT id, started_s FROM attempts ORDER BY id")
        assert len(rows) == Run(place).ledger.count(ReasoningPath)
        made |= set(rows)
    ids = [id for id, _ in made]
    assert len(ids) == len(set(ids))  # a path that was made twice would have two attempts at two times


def test_a_second_call_does_nothing_and_more_arms_join_later(study, recipe):
    folder, before = study
    times = {path: path.stat().st_mtime_ns for path in folder.glob("results/*")}
    more = run_study(recipe, folder, variants=[*ARMS, "all"], seeds=SEEDS, jobs=1)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert {name: more["arms"][name] for name in ARMS} == before["arms"]
    assert more["arms"]["all"]["train_tokens"] >= before["max_label_tokens"]


def test_single_questions_and_teams_are_those_of_the_answers(study):
    folder, found = study
    marks: dict[str, dict[str, list[bool]]] = {}
    for result in results(folder).values():
        for student in result["students"].values():
            for question, answer in student["answers"].items():
                marks.setdefault(question, {}).setdefault(result["arm"], []).append(answer["verdict"] == "match")
    assert found["questions"].keys() == marks.keys()
    for question, arms in marks.items():
        shares = found["questions"][question]["arms"]
        assert shares == {arm: pytest.approx(sum(each) / len(each), abs=1e-4) for arm, each in arms.items() if arm in ARMS}
    assert all(0 <= found["arms"][arm]["team"]["oracle"] <= 1 for arm in ARMS)


def test_what_is_done_so_far_is_compared_over_the_seeds_it_has(study, recipe):
    folder, found = study
    so_far = study_so_far(recipe, folder, variants=[*ARMS, "paper"], seeds=[*SEEDS, 9])
    assert list(so_far["arms"]) == ARMS
    for name in ARMS:
        assert so_far["arms"][name] == found["arms"][name], "a seed that is not there changes nothing"
    assert so_far["paired"] == found["paired"]
    assert {"paper, seed 3", "random, seed 9", "solo/llama, seed 9"} <= set(so_far["missing"])
    with pytest.raises(UsageError, match="no arm has a result yet"):
        study_so_far(recipe, folder, variants=["paper"], seeds=SEEDS)
    with pytest.raises(UsageError, match="holds no study"):
        study_so_far(recipe, folder / "nowhere", variants=ARMS, seeds=SEEDS)


def test_a_control_of_equal_compute_has_its_own_budget_and_says_so(recipe, tmp_path):
    found = run_study(recipe, tmp_path / "study", variants=["equal_compute"], seeds=[3])
    tokens = round(compute_factor(recipe) * found["max_label_tokens"])
    assert found["budgets"] == {"equal_compute": tokens}
    assert 1.1 * found["max_label_tokens"] < tokens <= found["arms"]["equal_compute"]["train_tokens"]


def test_an_earlier_study_is_reproduced_or_not(study, recipe):
    folder, found = study
    again = run_study(recipe, folder, variants=ARMS, seeds=SEEDS, expected=found)
    assert again["reproduced"] == dict.fromkeys(ARMS, True)
    tolerance = found["expected"]["random"]["tolerance"]
    moved = json.loads(json.dumps(found))
    moved["expected"]["random"]["mean"] += 2 * tolerance
    again = run_study(recipe, folder, variants=ARMS, seeds=SEEDS, expected=moved)
    assert again["reproduced"] == dict.fromkeys(ARMS, True) | {"random": False}
    with pytest.raises(DataError, match="no expected numbers"):
        run_study(recipe, folder, variants=ARMS, seeds=SEEDS, expected={})


def test_a_study_of_another_recipe_or_one_that_runs_is_refused(study, recipe):
    folder, _ = study
    other = changed(recipe, training={"epochs": 2})
    with pytest.raises(UnsafeConfigError, match=r"another recipe \(training.epochs: 1 -> 2\)"):
        run_study(other, folder, variants=ARMS, seeds=SEEDS)
    with locked(folder), pytest.raises(RunInUseError, match="in use"):
        run_study(recipe, folder, variants=ARMS, seeds=SEEDS)


def test_arms_that_differ_in_tokens_are_refused(study, recipe, monkeypatch):
    folder, found = study
    arms = list(results(folder).values())
    slack = {"llama": 400, "gemma3": 400}
    budgets = dict.fromkeys([result["arm"] for result in arms], found["max_label_tokens"])
    insist_on_equal_tokens(arms, budgets, slack=slack)
    for wrong in (0, found["max_label_tokens"] // 2, found["max_label_tokens"] + 400):
        broken = json.loads(json.dumps(arms))
        hit = next(result for result in broken if result["arm"] == "random")
        hit["students"]["llama"]["train_tokens"] = wrong
        with pytest.raises(DataError, match=f"differ in training tokens: random, seed {hit['seed']}, trained llama on {wrong:,}"):
            insist_on_equal_tokens(broken, budgets, slack=slack)
    greedy = Variant(name="greedy", why="", apply=lambda config: changed(config, training={"max_label_tokens": 10**6}))
    monkeypatch.setitem(VARIANTS, "greedy", greedy)
    with pytest.raises(UnsafeConfigError, match="variant greedy trains on 1000000 label tokens"):
        run_study(recipe, folder, variants=["random", "greedy"], seeds=SEEDS)


def test_a_killed_worker_is_a_sentence_and_the_study_goes_on(recipe, tmp_path, monkeypatch):
    real = sweep.Workers.do
    started = []

    def kill_first(self, units, on_done):
        if units[0].kind == "arm" and not started:
            started.append(True)
            self._start()
            self._processes[0].kill()
        real(self, units, on_done)

    monkeypatch.setattr(sweep.Workers, "do", kill_first)
    with pytest.raises(Exception, match="its worker process died") as caught:
        run_study(recipe, tmp_path / "study", variants=["random"], seeds=[0])
    assert caught.value.exit_code == 75
    assert run_study(recipe, tmp_path / "study", variants=["random"], seeds=[0])["arms"]["random"]["n"] == 4


def test_the_command_line_says_what_is_wrong_and_shows_a_table(study, recipe, tmp_path, capsys):
    folder, _ = study
    path = tmp_path / "toy.yaml"
    path.write_text(dump(recipe))
    assert run_app(["study", str(path), "--variants", "qrdistil", "-o", str(tmp_path / "new")]) == 2
    assert "there is no variant 'qrdistil' (did you mean 'qrdistill'?)" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert run_app(["study", str(path), "--variants", "wrong_20,students_3", "-o", str(tmp_path / "new")]) == 2
    assert "variant students_3: students_3 needs 3 students" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert run_app(["study", str(path), "--variants", ",".join(ARMS), "--seeds", "3,4", "-o", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "qrdistill-random" in shown
    assert "label tokens, 2 seeds" in shown
    assert run_app(["ls", "variants", "--json"]) == 0
    assert {row["variant"] for row in json.loads(capsys.readouterr().out)["items"]} == set(VARIANTS)
