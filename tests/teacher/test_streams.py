"""Streams: replies that bring their own prompt are read, checked and trained on as what they are."""

import dataclasses
import re
from difflib import SequenceMatcher

import pytest
from tests.recipes import toy_recipe

from qrdistill.config import STYLES, WorkedSolutionTeacherConfig
from qrdistill.config.tree import STREAM_STYLES
from qrdistill.quality.correctness import check_answer
from qrdistill.quality.filter import filter_paths
from qrdistill.quality.rules import Pool, drop_leaks
from qrdistill.store import Run
from qrdistill.tasks import load_tasks
from qrdistill.tasks.prompts import plain_prompt
from qrdistill.teacher.generate import generate_paths
from qrdistill.teacher.layout import make_request
from qrdistill.teacher.streams import STREAMS, asked
from qrdistill.teacher.styles import render, style_named
from qrdistill.teacher.worked_solution import WorkedSolutionTeacher
from qrdistill.teacher.worked_solution.streams import STREAM_WRITERS
from qrdistill.types import FilterDecision, PlantedFlaw, Question, ReasoningPath

TASKS = ("leg_counting", "chain_sum", "simple_equations", "gcd", "leap_year", "calendar_arithmetic")
QUESTION = Question(id="q", task="t", split="train", text="What is 7 + 12?", kind="number", gold="19")


def path(style: str, text: str) -> ReasoningPath:
    return ReasoningPath(id="p", question_id="q", teacher="x", style=style, sample=0, text=text)


def run_of(tmp_path, **rates: float) -> Run:
    tasks = [{"kind": "reasoning", "name": name} for name in TASKS]
    questions = {"tasks": tasks, "num_train": 20, "num_validation": 2, "num_test": 4}
    teacher = {"kind": "worked_solution", **{"wrong_rate": 0.0, "spurious_rate": 0.0, **rates}}
    run = Run(
        tmp_path / "run", toy_recipe(questions=questions, generate={"teachers": [teacher], "styles": ["cot", *STREAM_STYLES]})
    )
    generate_paths(run)
    filter_paths(run)
    return run


class _Task:
    """Grades like any task."""

    def grade(self, question, response):
        from qrdistill.tasks.verify import grade_response

        return grade_response(question.kind, question.gold, question.choices or None, response)


@pytest.mark.parametrize(
    ("style", "text", "verdict"),
    [
        ("label", "The answer is 19.", "match"),
        ("label", "The answer is 20.", "differ"),
        ("rephrase", "Question: Add 7 and 12.\nSolution: 7 + 12 = 19. The answer is 19.", "match"),
        ("rephrase", "Question: Add 7 and 13.\nSolution: 7 + 13 = 20. The answer is 20.", "differ"),
        ("rephrase", "7 + 12 = 19. The answer is 19.", "unparsed"),
        ("new_question", "Question: What is 3 + 4?\nSolution: It is 7. The answer is 7.", "match"),
        ("new_question", "**Question:** What is 3 + 4?\n\n**Solution:** The answer is 7.", "match"),
        ("new_question", "Question: What is 3 + 4?\nSolution: I do not know.", "unparsed"),
        ("backward_question", "What number plus 12 is 19?", "match"),
        ("backward_reasoning", "Question: X plus 12 is 19. What is X?\nSolution: 19 - 12 = 7. The answer is 7.", "match"),
        ("backward_reasoning", "Question: X plus 12 is 19. What is X?\nSolution: 19 - 12 = 8. The answer is 8.", "unparsed"),
    ],
)
def test_replies_are_checked_for_the_question_they_answer(style, text, verdict):
    reply = path(style, text)
    found = check_answer(_Task(), QUESTION, reply)
    assert found.verdict == verdict
    if found.start >= 0 and found.extracted:
        assert found.extracted in text[found.start : found.end]  # the span is one of the raw reply


def test_the_student_is_asked_what_the_reply_asks_and_answers_its_solution():
    what = asked(QUESTION, path("rephrase", "Question: Add 7 and 12.\nSolution: 7 + 12 = 19. The answer is 19."), "plain")
    assert what.prompt.startswith("Add 7 and 12.\n")
    assert what.prompt.removeprefix("Add 7 and 12.") == plain_prompt(QUESTION).removeprefix(QUESTION.text)
    assert what.path.text == "7 + 12 = 19. The answer is 19."
    same = asked(QUESTION, path("cot", "x"), "plain")
    assert (same.prompt, same.path.text, same.question) == ("plain", "x", QUESTION)


def test_a_made_up_question_that_is_a_test_question_is_dropped():
    test = dataclasses.replace(QUESTION, id="t", split="test", text="What is 3 + 4?", gold="7")
    paths = [path("new_question", "Question: what is 3 +  4?\nSolution: It is 7. The answer is 7.")]
    pool = Pool({"q": QUESTION, "t": test}, paths, {})
    drop_leaks(pool)
    assert pool.dropped["p"][0] == "leak"
    pool = Pool({"q": QUESTION, "t": test}, [path("new_question", "Question: What is 3 + 5?\nSolution: The answer is 8.")], {})
    drop_leaks(pool)
    assert not pool.dropped


def test_only_backward_streams_tell_the_teacher_the_answer():
    secret = dataclasses.replace(QUESTION, text="How many? {gold}", gold="987654")
    for name in (*STYLES, *STREAM_STYLES):
        prompt = render(style_named(name), secret)
        assert ("987654" in prompt) == (name in ("backward_question", "backward_reasoning"))
        assert "How many? {gold}" in prompt
        assert not re.search(r"\{(question|answer_form|what)\}", prompt)
    assert set(STREAMS) == set(STREAM_WRITERS) == set(STREAM_STYLES)


def test_the_embedded_teacher_without_flaws_writes_only_what_passes(tmp_path):
    run = run_of(tmp_path)
    paths = {path.id: path for path in run.ledger.all(ReasoningPath)}
    tests = [question for task in load_tasks(run.config).values() for question in task.questions("test", 4)]
    counts: dict[str, int] = {}
    for decision in run.ledger.all(FilterDecision):
        written = paths[decision.path_id]
        if decision.reason == "leak":  # a question made up by chance as one of the test's, which no teacher knows
            asked = next(question for question in tests if question.id in decision.detail)
            assert written.style == "new_question"
            assert SequenceMatcher(None, asked.text.split(), written.text.split("Solution:")[0].split()).ratio() > 0.6
        else:
            assert decision.reason in ("kept", "refused", "duplicate"), (decision, written.text)
        counts[written.style] = counts.get(written.style, 0) + decision.is_kept
    asked_for = 22 * len(TASKS)
    assert all(counts[style] > 0.8 * asked_for for style in ("cot", "label", "rephrase", "new_question"))
    assert all(counts[style] > 0.25 * asked_for for style in ("backward_question", "backward_reasoning"))


def test_planted_wrong_answers_of_streams_are_found(tmp_path):
    run = run_of(tmp_path, wrong_rate=0.5)
    kept = {decision.path_id: decision.is_kept for decision in run.ledger.all(FilterDecision)}
    styles = {path.id: path.style for path in run.ledger.all(ReasoningPath)}
    wrong: dict[str, list[bool]] = {}
    for flaw in run.ledger.all(PlantedFlaw, "flaw = 'wrong_answer'"):
        wrong.setdefault(styles[flaw.path_id], []).append(kept[flaw.path_id])
    assert all(len(wrong[style]) > 10 for style in ("label", "rephrase", "new_question", "backward_reasoning"))
    assert not any(wrong["label"] + wrong["rephrase"])
    # nobody knows the answer of a new question, so only steps that are seen to be false give it away;
    # a backward answer may by chance be another number of the question
    assert sum(wrong["new_question"]) < len(wrong["new_question"])
    assert sum(wrong["backward_reasoning"]) < 0.3 * len(wrong["backward_reasoning"])


def test_new_questions_are_new_and_never_test_questions():
    config = toy_recipe(questions__num_train=10)
    tasks = load_tasks(config)
    teacher = WorkedSolutionTeacher(WorkedSolutionTeacherConfig(), tasks=tasks, seed=1, num_spare=10)
    task = tasks["leg_counting"]
    known = {question.text for split in ("train", "validation", "test") for question in task.questions(split, 10)}
    for question in task.questions("train", 10):
        request = make_request(question, teacher, style_named("new_question"), 0, teacher.sampling("new_question"))
        text = teacher.reply(request, question).path.text
        assert text.split("\n")[0].removeprefix("Question: ") not in known
