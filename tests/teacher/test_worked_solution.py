"""The embedded teacher: six ways to write, the same text for the same request, flaws at the rates asked for."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from qrdistill.config import ReasoningTaskConfig, WorkedSolutionTeacherConfig
from qrdistill.config.tree import STYLES as CONFIG_STYLES
from qrdistill.errors import ConfigError
from qrdistill.tasks.reasoning import FAMILIES, ReasoningTask
from qrdistill.teacher import STYLES, Style
from qrdistill.teacher.base import Reply
from qrdistill.teacher.layout import make_request
from qrdistill.teacher.styles import render, style_named
from qrdistill.teacher.worked_solution import WRITERS, WorkedSolutionTeacher
from qrdistill.types import Question

TASKS = {name: ReasoningTask.from_config(ReasoningTaskConfig(name=name), 0, FAMILIES) for name in FAMILIES}


def make_teacher(*, seed: int = 0, wrong_rate: float = 0.0, spurious_rate: float = 0.0) -> WorkedSolutionTeacher:
    config = WorkedSolutionTeacherConfig(wrong_rate=wrong_rate, spurious_rate=spurious_rate)
    return WorkedSolutionTeacher(config, tasks=TASKS, seed=seed)


def ask(teacher: WorkedSolutionTeacher, question: Question, style: str, sample: int = 0) -> Reply:
    request = make_request(question, teacher, STYLES[style], sample, teacher.sampling(style))
    return teacher.reply(request, question)


def text_of(reply: Reply) -> str:
    assert reply.path is not None
    return reply.path.text


def test_every_style_has_a_template_and_a_writer() -> None:
    assert set(STYLES) == set(WRITERS) == set(CONFIG_STYLES)


@pytest.mark.parametrize("name", FAMILIES)
def test_styles_say_what_they_mean(name: str) -> None:
    teacher = make_teacher()
    for question in TASKS[name].questions("train", 30):
        texts = {style: text_of(ask(teacher, question, style)) for style in STYLES}
        solution = TASKS[name].solve(question)
        assert len(set(texts.values())) == 6
        assert all(text.endswith(f"The answer is {question.gold}.") for text in texts.values())
        assert len(texts["vanilla"]) <= min(len(text) for style, text in texts.items() if style != "cot")
        assert all(step.statement[1:] in texts["cot"] for step in solution.steps)
        assert all(fact.statement in texts["fact"] for fact in solution.facts)
        assert texts["fact"].index(solution.facts[0].statement) < texts["fact"].index(solution.steps[0].brief)
        assert solution.program in texts["program"]
        assert all(candidate.objection in texts["tot"] for candidate in solution.candidates)
        back = re.search(r"(?:Check|Now) back", texts["backward"])
        assert back is not None
        assert all(step.statement in texts["backward"][back.end() :] for step in solution.check)
        assert solution.steps[-1].brief in texts["backward"][: back.start()]


def test_texts_are_compact() -> None:
    teacher = make_teacher()
    lengths: dict[str, list[int]] = {style: [] for style in STYLES}
    for task in TASKS.values():
        for question in task.questions("train", 40):
            for style in STYLES:
                lengths[style].append(len(text_of(ask(teacher, question, style))))
    means = {style: sum(found) / len(found) for style, found in lengths.items()}
    assert means["vanilla"] < 70
    assert all(70 < mean < 260 for style, mean in means.items() if style != "vanilla"), means
    assert max(max(found) for found in lengths.values()) < 500


def test_wording_varies_a_little() -> None:
    teacher = make_teacher()
    question = TASKS["chain_sum"].questions("train", 1)[0]
    for style in STYLES:
        found = {text_of(ask(teacher, question, style, sample)) for sample in range(30)}
        assert 2 <= len(found) <= 12


def test_the_same_request_gives_the_same_text() -> None:
    first, second = (make_teacher(wrong_rate=0.3, spurious_rate=0.3) for _ in range(2))
    for task in TASKS.values():
        for question in task.questions("train", 10):
            for style in STYLES:
                one, two = ask(first, question, style), ask(second, question, style)
                assert one.path == two.path
                assert one.planted == two.planted
    question = TASKS["gcd"].questions("train", 1)[0]
    other = make_teacher(seed=1, wrong_rate=0.3)
    assert ask(other, question, "cot").request.id != ask(first, question, "cot").request.id


def test_flaws_come_at_the_rates_asked_for() -> None:
    teacher = make_teacher(wrong_rate=0.2, spurious_rate=0.1)
    planted: Counter[str] = Counter()
    for task in TASKS.values():
        for question in task.questions("train", 60):
            for style in STYLES:
                reply = ask(teacher, question, style)
                assert reply.planted is not None
                planted[reply.planted.flaw] += 1
    total = sum(planted.values())
    assert abs(planted["wrong_answer"] / total - 0.2) < 0.03
    assert abs(planted["spurious_step"] / total - 0.1) < 0.03


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("style", STYLES)
def test_planted_flaws_are_what_they_claim(name: str, style: str) -> None:
    wrong, spurious, clean = make_teacher(wrong_rate=1.0), make_teacher(spurious_rate=1.0), make_teacher()
    task, flawed = TASKS[name], 0
    for question in task.questions("train", 25):
        bad, sly, good = (ask(teacher, question, style) for teacher in (wrong, spurious, clean))
        assert bad.planted is not None
        assert sly.planted is not None
        assert bad.planted.flaw == "wrong_answer"
        assert task.grade(question, text_of(bad)).verdict == "differ"
        assert task.grade(question, text_of(sly)).verdict == "match"
        if sly.planted.flaw == "spurious_step":
            flawed += 1
            assert sly.planted.step in text_of(sly)
            assert text_of(sly) != text_of(good)
    assert flawed >= 15, "most questions have room for a false step"


def test_tasks_without_solutions_are_refused() -> None:
    class Mute:
        name, version = "mute", "1"

    with pytest.raises(ConfigError, match=r"cannot answer task 'mute'"):
        WorkedSolutionTeacher(WorkedSolutionTeacherConfig(), tasks={"mute": Mute()}, seed=0)  # type: ignore[dict-item]


def test_templates_hold_the_question_and_the_form_of_the_answer() -> None:
    question = TASKS["calendar_arithmetic"].questions("train", 1)[0]
    braces = Question(id="b", task="t", split="train", text="What is {answer_form} in {x}?", kind="number", gold="1")
    for style in STYLES.values():
        assert style.template.count("{question}") == style.template.count("{answer_form}") == 1
        prompt = render(style, question)
        assert question.text in prompt
        assert all(f"{label}. {text}" in prompt for label, text in question.choices)
        assert "The answer is <letter>." in prompt
        assert braces.text in render(style, braces)
    assert len({style.template_version for style in STYLES.values()}) == 6


def test_unknown_style_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"unknown style 'facts' \(did you mean 'fact'\?\)"):
        style_named("facts")


def test_a_style_of_ones_own_needs_another_teacher() -> None:
    with pytest.raises(ConfigError, match=r"has no way to write the style 'socratic', only vanilla, cot"):
        make_teacher().sampling("socratic")


def test_places_of_a_template_may_stand_in_any_order() -> None:
    question = Question(id="b", task="t", split="train", text="What is {answer_form}?", kind="number", gold="1")
    prompt = render(Style(name="own", template="{answer_form} {braces} {question}", why=""), question)
    assert prompt == "End with: The answer is <number>. {braces} What is {answer_form}?"
