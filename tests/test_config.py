"""Recipes: every one parses, comes back equal, and what does not fit is named."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.config import Config, content_hash, differences, dump, json_schema, load_recipe, parse_yaml, validate
from qrdistill.errors import ConfigError

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"quickstart", "smoke", "date_replay", "own_data"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_parses_and_comes_back_equal(path: Path, tmp_path: Path) -> None:
    config = load_recipe(path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump(config), encoding="utf-8")
    assert load_recipe(copy) == config
    assert content_hash(load_recipe(copy)) == content_hash(config)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_begins_with_purpose_hardware_and_time(path: Path) -> None:
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert first.count(";") >= 1, "the first line is: purpose; hardware; measured time"


def test_every_setting_of_the_schema_is_described() -> None:
    for name, definition in json_schema()["$defs"].items():
        assert definition.get("description"), f"{name} has no sentence"


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("4E+2", 400.0), ("-1.5e-3", -0.0015), (".5", 0.5), ("1.", 1.0)])
def test_floats_are_those_of_yaml_1_2(text: str, value: float) -> None:
    assert parse_yaml(f"x: {text}") == {"x": value}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_python_writes_is_read_back(value: float) -> None:
    assert parse_yaml(f"x: {value!r}")["x"] == value


def test_infinity_and_nan_are_floats() -> None:
    read = parse_yaml("{a: .inf, b: .nan}")
    assert read["a"] == math.inf
    assert math.isnan(read["b"])


@pytest.mark.parametrize("word", ["12e", "e5", "1.2.3", "v1e4", "0x1e", "2019-11-12e"])
def test_words_stay_words(word: str) -> None:
    assert isinstance(parse_yaml(f"x: {word}")["x"], str | int)


def test_a_key_that_stands_twice_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match="line 3: the key 'seed' stands twice"):
        parse_yaml("name: a\nseed: 1\nseed: 2\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line"),
        ("a: b: c", "line 1"),
        ("? [1, 2]\n: x", "a key must be plain text"),
        ("[" * 5000, "nested too deeply|line"),
    ],
)
def test_what_is_not_yaml_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("assignment", "read", "expected"),
    [
        ("students.0.learning_rate=1e-4", lambda c: c.students[0].learning_rate, 1e-4),
        ("questions.num_train=12", lambda c: c.questions.num_train, 12),
        ("evaluation.is_zero_shot=false", lambda c: c.evaluation.is_zero_shot, False),
        ("generate.styles=[cot, fact]", lambda c: c.generate.styles, ("cot", "fact")),
        ("name=other", lambda c: c.name, "other"),
        ("method.policy={kind: random, budget: 2}", lambda c: c.method.policy.kind, "random"),
        ("training.epochs=3", lambda c: c.training.epochs, 3),
    ],
)
def test_overrides_are_typed(smoke_recipe: Path, assignment: str, read, expected) -> None:
    value = read(load_recipe(smoke_recipe, overrides=[assignment]))
    assert value == expected
    assert type(value) is type(expected)


def test_later_overrides_win_and_the_seed_replaces(smoke_recipe: Path) -> None:
    config = load_recipe(smoke_recipe, overrides=["training.epochs=2", "training.epochs=5"], seed=7)
    assert (config.training.epochs, config.seed) == (5, 7)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("questions.num_trian=4", r"unknown key 'questions.num_trian' \(did you mean 'num_train'\?\)"),
        ("questoins.num_train=4", r"unknown key 'questoins' \(did you mean 'questions'\?\)"),
        ("method.policy.budgett=3", r"unknown key 'method.policy.budgett' \(did you mean 'budget'\?\)"),
        ("method.policy.kind=qrdistil", r"method.policy: unknown kind 'qrdistil' \(did you mean 'qrdistill'\?\)"),
        ("students.0.source.kind=tinny", r"students.0.source: unknown kind 'tinny' \(did you mean 'tiny'\?\)"),
        ("questions.tasks.0={name: x}", "questions.tasks.0: the key 'kind' is missing"),
        ("questions.num_train=many", r"questions.num_train: .*found 'many'"),
        ("students.0.adapter={kind: lora, alpha: .inf}", "students.0.adapter.alpha: .*finite number"),
        ("training.max_grad_norm=.nan", "training.max_grad_norm: "),
        ("questions.num_train=0", "questions.num_train: .*greater than or equal to 1"),
        ("generate.teachers.0.wrong_rate=1.5", "generate.teachers.0.wrong_rate: .*less than or equal to 1"),
        ("students=[]", "yaml: students: found 0 entries, expected at least 1; add what is missing$"),
        ("questions.tasks=[{kind: jsonl, path: x}]", "yaml: the key 'questions.tasks.0.name' is missing$"),
        ("generate.teachers.0.wrong_rate=1", "generate.teachers.0: wrong_rate .* add up to more than 1; lower one of them$"),
        ("students.1.name=llama", "student names must differ"),
        ("name=a/b", "name: "),
        ("name=../x", "name: "),
        ("students.9.name=q", "'9' does not exist in the recipe"),
        ("no-equals", "is not of the form a.b=value"),
        ("=3", "is not of the form a.b=value"),
        ("name=[", "--set 'name=\\['.*not valid YAML"),
    ],
)
def test_what_does_not_fit_is_named(smoke_recipe: Path, assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(smoke_recipe, overrides=[assignment])


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("{modell: m}", r"unknown key 'generate.teachers.0.modell' \(did you mean 'model'\?\)"),
        ("{mode: batches}", r"generate.teachers.0.mode: Input should be 'live', 'batch' or 'files' \(found 'batches'\)"),
        ("{price: fre}", r"generate.teachers.0.price: Input should be 'free' or 'unknown' \(found 'fre'\)"),
        (
            "{price: {prompt_usd_per_million: -1, completion_usd_per_million: 2}}",
            r"generate.teachers.0.price.prompt_usd_per_million: .*greater than or equal to 0 \(found -1\)",
        ),
    ],
)
def test_one_wrong_value_is_one_complaint(smoke_recipe: Path, teacher: str, message: str) -> None:
    known = "{kind: openai_compatible, name: t, preset: vllm, model: m, "
    with pytest.raises(ConfigError) as found:
        load_recipe(smoke_recipe, overrides=[f"generate.teachers=[{known}{teacher[1:]}]"])
    assert re.fullmatch(rf"[^;:]*: {message}", str(found.value))
    with pytest.raises(ConfigError, match=r"questions.num_train.*; .*modell"):
        load_recipe(smoke_recipe, overrides=[f"generate.teachers=[{known}modell: m}}]", "questions.num_train=0"])


def test_the_best_checkpoint_does_not_undo_a_final_phase(smoke_recipe: Path) -> None:
    extras = "method.extras=[{kind: orpo}]"
    load_recipe(smoke_recipe, overrides=[extras])
    with pytest.raises(ConfigError, match="would undo the final orpo phase"):
        load_recipe(smoke_recipe, overrides=[extras, "training.validation={every_steps: 2, keep: best}"])


def test_a_missing_recipe_and_one_that_is_not_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no recipe"):
        load_recipe(tmp_path / "none.yaml")
    listed = tmp_path / "list.yaml"
    listed.write_text("- 1\n")
    with pytest.raises(ConfigError, match="holds list, expected a mapping"):
        load_recipe(listed)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_recipe(binary)


def test_a_config_cannot_be_changed(smoke_config: Config) -> None:
    with pytest.raises(ValueError, match="frozen"):
        smoke_config.seed = 3  # type: ignore[misc]


def test_differences_name_every_leaf(smoke_config: Config) -> None:
    tree = smoke_config.model_dump(mode="json")
    tree["training"]["epochs"] = 9
    tree["students"][0]["learning_rate"] = 0.5
    changed = differences(smoke_config, validate(tree))
    assert changed == ["students.0.learning_rate: 0.003 -> 0.5", "training.epochs: 1 -> 9"]
    assert differences(smoke_config, smoke_config) == []


def test_the_content_hash_sees_values_and_not_their_order() -> None:
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": [1, 2], "a": 1})
    assert content_hash({"a": [1, 2]}) != content_hash({"a": [2, 1]})
