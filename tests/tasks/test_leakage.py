"""Test questions are recognised in training questions and in paths, however they are dressed up; other questions are not."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from harness.clock import took_s
from qrdistill.config import DatasetTaskConfig, QuestionsConfig, validate
from qrdistill.tasks import load_tasks
from qrdistill.tasks.datasets import DatasetTask
from qrdistill.tasks.leakage import LeakIndex
from qrdistill.tasks.reasoning import FAMILIES
from qrdistill.types import Question

DATE = next(
    (parent / "shared" / "data" / "date" for parent in Path(__file__).parents if (parent / "shared" / "data" / "date").is_dir()),
    None,
)

NAMES = ["Ana", "Boris", "Chen", "Dora", "Emre", "Farid", "Gita", "Hugo", "Ines", "Jamal"]
THINGS = ["apples", "tickets", "marbles", "stamps", "candles", "buttons", "shells", "coins", "ribbons", "pencils"]
PLACES = ["market", "harbour", "library", "garden", "station", "bakery", "museum", "stadium", "orchard", "school"]
DEEDS = ["gives away", "loses", "finds", "buys", "sells", "hides", "trades", "paints", "counts", "breaks"]


def story(number: int) -> Question:
    """A word problem with words and numbers of its own, twenty-odd words long."""
    draw = random.Random(number)
    name, other = draw.sample(NAMES, 2)
    thing, place, deed, again = draw.choice(THINGS), draw.choice(PLACES), *draw.sample(DEEDS, 2)
    first, second, third = draw.sample(range(2, 90), 3)
    text = (
        f"On the way to the {place} {name} has {first} {thing} and {deed} {second} of them before lunch. "
        f"Later {other} {again} {third} more {thing} near the {draw.choice(PLACES)}. How many {thing} are there in the end?"
    )
    return Question(
        id=f"s{number}", task="t", split="test", text=text, kind="number", gold=str(first + second + third), family="t"
    )


def again(question: Question, text: str, **changes: object) -> Question:
    fields = {name: getattr(question, name) for name in question.__dataclass_fields__}
    return Question(**{**fields, "id": f"train-{question.id}", "split": "train", "text": text, **changes})


TESTS = [story(number) for number in range(200)]


def reworded(text: str, draw: random.Random) -> str:
    """One word is another one."""
    parts = text.split()
    places = [index for index, word in enumerate(parts) if word.isalpha()]
    parts[draw.choice(places)] = "certain"
    return " ".join(parts)


@pytest.mark.parametrize(
    ("dress", "bar"),
    [
        (lambda text, draw: text, 1.0),
        (lambda text, draw: text.upper().replace(" ", "  \n"), 1.0),
        (lambda text, draw: text.replace(".", " !").replace("?", ""), 1.0),
        (lambda text, draw: text.replace("a", "ａ"), 1.0),
        (lambda text, draw: f"Solve this carefully. {text} Show 1 line of work for each step.", 0.95),
        (reworded, 0.95),
        (lambda text, draw: text.replace("On the way to", "Walking over to"), 0.95),
        (lambda text, draw: text.rpartition("How many")[0] + "Find the number that is left.", 0.95),
    ],
    ids=["exact", "case and spaces", "punctuation", "unicode", "wrapped", "one word", "new beginning", "new end"],
)
def test_a_test_question_is_recognised_in_training(dress: object, bar: float) -> None:
    index, draw = LeakIndex(TESTS), random.Random(0)
    found = [index.question(again(test, dress(test.text, draw))) for test in TESTS]  # type: ignore[operator]
    right = sum(leak is not None and leak.question_id == test.id for leak, test in zip(found, TESTS, strict=True))
    assert right >= bar * len(TESTS), right


def test_a_test_question_is_recognised_inside_a_path() -> None:
    index, draw = LeakIndex(TESTS), random.Random(1)
    asked = [again(story(number), story(number).text) for number in range(1000, 1200)]
    for dress in (lambda text: text, lambda text: reworded(text, draw)):
        found = [
            index.path(question, f"A similar one: {dress(test.text)} There it is {test.gold}. So here the answer is 7.")
            for question, test in zip(asked, TESTS, strict=True)
        ]
        right = sum(leak is not None and leak.question_id == test.id for leak, test in zip(found, TESTS, strict=True))
        assert right >= 0.95 * len(TESTS), right


def test_other_questions_and_paths_that_restate_their_own_are_no_leaks() -> None:
    index = LeakIndex(TESTS)
    for number in range(1000, 1400):
        question = again(story(number), story(number).text)
        assert index.question(question) is None, question.text
        assert index.path(question, f"{question.text} We add: the answer is {question.gold}.") is None


def test_the_same_text_with_other_numbers_or_another_answer_is_another_question() -> None:
    test = TESTS[0]
    index = LeakIndex(TESTS)
    digits = "".join("7" if letter.isdigit() else letter for letter in test.text)
    assert index.question(again(test, digits, gold="21")) is None
    assert index.question(again(test, test.text.replace("How many", "At most how many"), gold="999")) is None
    assert index.question(again(test, test.text.replace("How many", "At most how many"))) is not None


def test_shuffled_options_are_the_same_question_and_other_options_are_not() -> None:
    choices = (("A", "red light"), ("B", "blue light"), ("C", "no light"))
    test = Question(id="t", task="t", split="test", text="Which?", kind="choice", gold="A", choices=choices)
    index = LeakIndex([test])
    shuffled = (("A", "No light"), ("B", "red light."), ("C", "blue light"))
    assert index.question(again(test, "which", choices=shuffled, gold="B")) is not None
    assert index.question(again(test, "Which?", choices=(("A", "red light"), ("B", "green light")))) is None


def test_operators_and_scripts_count() -> None:
    def ask(text: str, gold: str = "4") -> Question:
        return Question(id=text, task="t", split="test", text=text, kind="number", gold=gold)

    index = LeakIndex([ask("What is 8 - 4?"), ask("八减四是多少"), ask("؟؟؟")])
    assert index.question(again(ask("x"), "What is 8 / 4?")) is None
    assert index.question(again(ask("x"), "what is 8  - 4")) is not None
    assert index.question(again(ask("x"), "八减四是多少")) is not None
    assert index.question(again(ask("x"), "八加四是多少", gold="12")) is None
    assert index.question(again(ask("x"), "!!!")) is None


@pytest.mark.parametrize("seed", [1, 2])
def test_question_families_are_templates_and_not_leaks(seed: int) -> None:
    tasks = [{"kind": "reasoning", "name": name} for name in FAMILIES]
    config = validate(
        {"name": "x", "seed": seed, "questions": {"tasks": tasks}, "students": [{"name": "s", "source": {"kind": "tiny"}}]}
    )
    made = load_tasks(config).values()
    index = LeakIndex([question for task in made for question in task.questions("test", 50)])
    train = [question for task in made for question in task.questions("train", 100)]
    assert sum(index.question(question) is not None for question in train) <= 0.01 * len(train)


@pytest.mark.skipif(DATE is None, reason="the recorded Date questions are not beside this checkout")
def test_date_questions_with_a_common_stem_are_not_leaks() -> None:
    config = DatasetTaskConfig(name="date_understanding", path=str(DATE))
    task = DatasetTask(config, QuestionsConfig(tasks=(config,), num_train=140, num_validation=10, num_test=50))
    index = LeakIndex(task.questions("test", 50))
    leaks = [leak for question in task.questions("train", 140) if (leak := index.question(question))]
    assert len(leaks) <= 0.05 * 140, leaks  # "24 hours later" for "tomorrow", and the like


def test_long_and_hostile_texts_are_quick() -> None:
    long = again(TESTS[0], "a b " * 50_000 + TESTS[3].text)
    started_s = time.monotonic()
    index = LeakIndex([*TESTS, again(TESTS[0], "a " * 50_000)])
    assert index.path(story(5000), long.text) is not None
    assert took_s(started_s) < 10
