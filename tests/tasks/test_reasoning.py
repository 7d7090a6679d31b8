"""Procedural questions: right answers, stable and disjoint splits, difficulty that is checked."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta

import pytest

from qrdistill.config import ReasoningTaskConfig, validate
from qrdistill.errors import ConfigError, DataError
from qrdistill.tasks import SolvableTask, load_tasks
from qrdistill.tasks.base import Slip
from qrdistill.tasks.facts import LEGS, WEEKDAYS
from qrdistill.tasks.programs import run_program
from qrdistill.tasks.reasoning import FAMILIES, ReasoningTask
from qrdistill.types import Question, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def make_task(name: str, *, seed: int = 0, **difficulty: object) -> ReasoningTask:
    config = ReasoningTaskConfig.model_validate({"name": name, "difficulty": difficulty})
    return ReasoningTask.from_config(config, seed, FAMILIES)


def right_answer(question: Question) -> str:
    """The answer worked out from the question's text alone, by other means than the family's."""
    words = question.text.replace("?", " ").replace(",", " ").split()
    numbers = [int(word) for word in words if word.lstrip("-").isdigit()]
    if question.task == "leg_counting":
        animals = question.text.removesuffix(" have in total?").split(" ", 4)[4]
        total = 0
        for part in animals.replace(" and ", ", ").split(", "):
            count, _, name = part.partition(" ")
            names = {"woodlice": "woodlouse", "fireflies": "firefly", "butterflies": "butterfly", "leeches": "leech"}
            singular = names.get(name, name if name in LEGS else name.removesuffix("s").removesuffix("e"))
            singular = (
                singular if singular in LEGS else name.removesuffix("s") if name.removesuffix("s") in LEGS else "praying mantis"
            )
            total += int(count) * LEGS[singular]
        return str(total)
    if question.task == "chain_sum":
        total, sign = numbers[0], 1
        for word in question.text.removeprefix("What is ").removesuffix("?").split()[1:]:
            if word in "+-":
                sign = 1 if word == "+" else -1
            else:
                total += sign * int(word)
        return str(total)
    if question.task == "simple_equations":
        unknown, _, equation = question.text.removeprefix("Solve for ").partition(": ")
        left, right = equation.split(" = ")
        for value in range(-50, 51):
            if eval(left.replace(unknown, f"({value})"), {"__builtins__": {}}) == int(right):
                return str(value)
    if question.task == "gcd":
        return str(max(d for d in range(1, 1000) if all(number % d == 0 for number in numbers)))
    if question.task == "calendar_arithmetic":
        monday = date(2024, 1, 1)
        start = next(i for i, day in enumerate(WEEKDAYS) if day in question.text)
        shift = -numbers[0] if "ago" in question.text else numbers[0]
        target = (monday + timedelta(days=start + shift)).strftime("%A")
        return next(label for label, text in question.choices if text == target)
    year = numbers[0]
    return "yes" if (date(year, 3, 1) - date(year, 2, 28)).days == 2 else "no"


@pytest.mark.parametrize("name", FAMILIES)
def test_gold_and_solution_are_right(name: str) -> None:
    task = make_task(name)
    assert isinstance(task, SolvableTask)
    for question in task.questions("train", 150):
        assert question.gold == right_answer(question), question
        solution = task.solve(question)
        assert solution.answer == question.gold
        assert run_program(solution.program) == [solution.printed]
        assert task.grade(question, f"So. The answer is {question.gold}.").verdict == "match"
        assert solution.steps
        assert solution.facts
        assert solution.check
        assert solution.candidates


@pytest.mark.parametrize("name", FAMILIES)
def test_splits_are_disjoint_and_do_not_depend_on_each_other(name: str) -> None:
    task, again = make_task(name), make_task(name)
    drawn = {split: task.questions(split, 40) for split in SPLITS}
    texts = [question.text for questions in drawn.values() for question in questions]
    ids = [question.id for questions in drawn.values() for question in questions]
    assert len(set(texts)) == len(texts)
    assert len(set(ids)) == len(ids)
    assert all(question.split == split for split, questions in drawn.items() for question in questions)
    assert again.questions("test", 40) == drawn["test"], "asking for one split first must not change it"
    assert again.questions("test", 15) == drawn["test"][:15]


def test_another_seed_draws_other_questions() -> None:
    first, second = make_task("chain_sum").questions("test", 30), make_task("chain_sum", seed=1).questions("test", 30)
    assert len({q.text for q in first} & {q.text for q in second}) < 10


def test_questions_are_the_same_in_another_process() -> None:
    code = (
        "from qrdistill.config import ReasoningTaskConfig as C\n"
        "from qrdistill.tasks.reasoning import FAMILIES, ReasoningTask as T\n"
        "print([q.id for n in FAMILIES for q in T.from_config(C(name=n), 3, FAMILIES).questions('train', 5)])"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "TZ": zone}, capture_output=True, text=True, check=True
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Tokyo"))
    ]
    assert found[0] == found[1]


def test_ids_name_what_is_asked() -> None:
    question = make_task("gcd").questions("train", 1)[0]
    other_seed = make_task("gcd", seed=5)
    twin = [q for split in SPLITS for q in other_seed.questions(split, 60) if q.text == question.text]
    assert all(q.id == question.id for q in twin)


def test_yes_and_no_are_balanced() -> None:
    answers = [question.gold for question in make_task("leap_year").questions("train", 150)]
    assert 0.4 < answers.count("yes") / len(answers) < 0.6


def test_difficulty_reaches_the_questions() -> None:
    questions = make_task("chain_sum", min_terms=5, max_terms=5, min_digits=3, max_digits=3).questions("train", 10)
    assert all(question.text.count(" + ") + question.text.count(" - ") == 4 for question in questions)
    hard = make_task("leg_counting", min_animals=8, max_animals=10).questions("train", 3)
    assert all(len(question.metadata["animals"]) >= 8 for question in hard)


def test_negative_terms_and_many_numbers_are_solved() -> None:
    for task in (make_task("chain_sum", allow_negation=True, max_terms=5), make_task("gcd", max_numbers=4, max_value=300)):
        for question in task.questions("train", 60):
            assert task.solve(question).answer == question.gold


def test_difficulty_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown difficulty parameter 'min_term' \(did you mean 'min_terms'\?\).*max_digits"):
        make_task("chain_sum", min_term=2)
    with pytest.raises(ConfigError, match=r"min_terms is 'two', expected int"):
        make_task("chain_sum", min_terms="two")
    with pytest.raises(ConfigError, match=r"does not fit together.*max_terms"):
        make_task("chain_sum", min_terms=9, max_terms=3).questions("train", 1)


def test_unknown_family_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"unknown reasoning task 'leg_countin' .did you mean 'leg_counting'"):
        make_task("leg_countin")


def test_exhausted_difficulty_says_so() -> None:
    with pytest.raises(DataError, match=r"has only \d+ different train .*lower questions.num_train"):
        make_task("chain_sum", max_terms=2, max_digits=1).questions("train", 5000)


def test_prompts_are_short_and_state_the_form_of_the_answer() -> None:
    for name in FAMILIES:
        task = make_task(name)
        for question in task.questions("train", 20):
            prompt = task.prompt(question)
            assert "The answer is" in prompt
            assert len(prompt) < 200
            assert all(f"{label}. {text}" in prompt for label, text in question.choices)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_slip_is_written_where_it_was_asked_for(name: str) -> None:
    """Every slot of every solution takes each kind of slip; a carried one leads to the answer it makes, others keep the gold."""
    task = make_task(name)
    changed = 0
    for question in task.questions("train", 12):
        for slot, section in enumerate(task.solve(question).slots):
            for choice in range(3):
                carried = task.solve(question, Slip(slot=slot, kind="carried", choice=choice))
                isolated = task.solve(question, Slip(slot=slot, kind="isolated", choice=choice))
                changed += carried.answer != question.gold
                if section != "omission":
                    assert isolated.answer == question.gold
                if section in ("check", "candidate", "program"):
                    assert carried.answer == question.gold
    assert changed > 20


def test_our_facts_are_the_generators() -> None:
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    assert LEGS == ANIMALS


def test_tasks_of_a_recipe() -> None:
    tree = {
        "name": "x",
        "questions": {"tasks": [{"kind": "reasoning", "name": name} for name in FAMILIES]},
        "students": [{"name": "s", "source": {"kind": "tiny"}}],
    }
    assert list(load_tasks(validate(tree))) == list(FAMILIES)


def test_reasoning_gym_is_imported_only_to_draw() -> None:
    code = (
        "import sys, qrdistill.tasks, qrdistill.teacher, qrdistill.quality;"
        "print([name for name in ('torch', 'reasoning_gym', 'openai', 'sympy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
