"""Variants are pure, valid, and what they say."""

import pytest
from tests.recipes import toy_recipe

from qrdistill.config import Config, validate
from qrdistill.errors import ConfigError, UsageError
from qrdistill.planning import problems
from qrdistill.study.variants import VARIANTS, names_of, parts, seeds_of, variant_named


def team(size: int = 3) -> Config:
    sources = [{"name": f"s{n}", "source": {"kind": "tiny", "seed": n}} for n in range(size)]
    return toy_recipe(students=sources)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_variant_gives_a_valid_recipe_and_leaves_the_study_alone(name):
    base = team()
    before = base.model_dump(mode="json")
    for recipe in parts(variant_named(name), base).values():
        assert validate(recipe.model_dump(mode="json")) == recipe
        assert recipe.questions == base.questions
        assert not problems(recipe, stages=["generate", "filter"])
    assert base.model_dump(mode="json") == before


def test_variants_differ_from_one_another():
    dumps = {name: str({k: v.model_dump(mode="json") for k, v in parts(VARIANTS[name], team()).items()}) for name in VARIANTS}
    dumps["equal_compute"] += "on more label tokens"
    same = {"zero_shot", "qrdistill", "fraction_100", "students_3", "budget_2"}  # the toy recipe's budget is 2
    twins = [{a, b} for a in dumps for b in dumps if a < b and dumps[a] == dumps[b] and not {a, b} <= same]
    assert twins == []


def test_ablations_take_away_what_their_name_says_and_nothing_else():
    base = team()
    full = VARIANTS["qrdistill"].apply(base)
    no_peers, no_router, no_filter = (VARIANTS[name].apply(base) for name in ("no_peers", "no_router", "no_filter"))
    assert (no_peers.method.peers.weight, no_peers.method.policy) == (0, full.method.policy)
    assert (no_router.method.policy.kind, no_router.method.policy.budget) == ("random", full.method.policy.budget)
    assert no_router.method.peers == full.method.peers
    assert (no_filter.filter.check_answers, no_filter.filter.judge.kind) == (False, "none")
    assert no_filter.method == full.method


def test_joined_variants_apply_from_left_to_right():
    recipe = variant_named("all+fraction_30+wrong_40").apply(team())
    assert (recipe.method.policy.kind, recipe.training.question_frac) == ("all", 0.3)
    assert recipe.generate.teachers[0].wrong_rate == 0.4


def test_solo_and_frozen_peers_teach_each_student_once():
    solo, frozen = (parts(VARIANTS[name], team()) for name in ("solo", "frozen_peers"))
    assert list(solo) == list(frozen) == ["s0", "s1", "s2"]
    assert all([student.name for student in recipe.students] == [name] for name, recipe in solo.items())
    for name, recipe in frozen.items():
        assert {s.name: s.adapter.kind for s in recipe.students if s.name != name} == dict.fromkeys({*frozen} - {name}, "frozen")


def test_what_does_not_go_together_is_a_sentence():
    with pytest.raises(UsageError, match=r"no variant 'randon' \(did you mean 'random'\?\)"):
        names_of("all,randon")
    with pytest.raises(UsageError, match="stands twice"):
        names_of("all,all")
    with pytest.raises(UsageError, match="do not go together"):
        variant_named("solo+frozen_peers")
    with pytest.raises(UsageError, match="zero_shot trains nothing, so nothing can be joined to it"):
        variant_named("zero_shot+random")
    with pytest.raises(ConfigError, match="students_3 needs 3 students, but the recipe has 2"):
        VARIANTS["students_3"].apply(team(2))
    replay = team().model_copy(update={"generate": toy_recipe(generate={"teachers": [{"kind": "replay", "path": "x"}]}).generate})
    with pytest.raises(ConfigError, match="only a worked_solution teacher obeys"):
        VARIANTS["wrong_20"].apply(replay)
    for bad in ("", "a", "3-1", "0,0", "1-"):
        with pytest.raises(UsageError, match="--seeds"):
            seeds_of(bad)


@pytest.mark.parametrize("name", ["step_by_step", "question_rephrasing", "question_augmentation", "revthink"])
def test_a_baseline_that_needs_a_teacher_says_so_without_one(name, tmp_path):
    recording = tmp_path / "paths.jsonl"
    recording.write_text('{"id": "q1", "style": "cot", "response": "The answer is 4."}\n')
    replay = toy_recipe(generate={"teachers": [{"kind": "replay", "path": str(recording)}]}).generate
    recipe = VARIANTS[name].apply(team().model_copy(update={"generate": replay}))
    found = [str(problem) for problem in problems(recipe, stages=["generate"]) if isinstance(problem, ConfigError)]
    assert any(
        "needs texts that a teacher writes for it, and the recording of 'replay' holds none (it has cot)" in f for f in found
    )
    written = "".join(f'{{"id": "q1", "style": "{s}", "response": "The answer is 4."}}\n' for s in recipe.generate.styles)
    recording.write_text(written)
    assert not any("needs texts" in str(problem) for problem in problems(recipe, stages=["generate"]))


def test_more_answers_than_a_recording_holds_are_refused(tmp_path):
    """Answer Augmentation on a recording with one answer a question would silently be plain SFT on one style."""
    recording = tmp_path / "paths.jsonl"
    rows = [f'{{"id": "q1", "style": "cot", "sample": {n}, "response": "The answer is {n}."}}\n' for n in range(6)]
    recording.write_text(rows[0])
    replay = toy_recipe(generate={"teachers": [{"kind": "replay", "path": str(recording)}]}).generate
    recipe = VARIANTS["answer_augmentation"].apply(team().model_copy(update={"generate": replay}))
    assert recipe.generate.samples == 6
    found = [str(problem) for problem in problems(recipe, stages=["generate"])]
    assert any(
        "6 paths a question are asked for, and the recording of 'replay' holds at most 1 in the style 'cot'" in f for f in found
    )
    recording.write_text("".join(rows))
    assert not any("asked for" in str(problem) for problem in problems(recipe, stages=["generate"]))
