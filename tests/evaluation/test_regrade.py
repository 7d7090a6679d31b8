"""A planted change of the extractor: `regrade` shows exactly what it reads differently, and nothing is generated."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.recipes import toy_recipe

from qrdistill.evaluation import evaluate as stage
from qrdistill.evaluation.answers import graded
from qrdistill.pipeline import run_pipeline
from qrdistill.quality.filter import filter_again
from qrdistill.quality.regrade import regrade_paths
from qrdistill.store import Run
from qrdistill.tasks import load_tasks, verify
from qrdistill.tasks.extract.records import Reading
from qrdistill.types import AnswerVerdict, FilterDecision, Prediction, Question, ReasoningPath, Score

LATER = " Wait, that is wrong. The answer is 1000001."
"""The last stated answer wins: with this behind it, a right reply differs; to a reader of first answers it matches."""


def read_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted change: of several stated answers the first is read, not the last."""
    real = verify.extract

    def first(kind: object, choices: object, response: str) -> object:
        found = real(kind, choices, response.removesuffix(LATER))  # type: ignore[arg-type]
        return found if isinstance(found, Reading) else real(kind, choices, response)  # type: ignore[arg-type]

    monkeypatch.setattr(verify, "extract", first)
    for module in ("qrdistill.tasks.verify", "qrdistill.evaluation.evaluate", "qrdistill.evaluation.answers"):
        monkeypatch.setattr(f"{module}.GRADER_VERSION", "planted")
    for module in ("qrdistill.quality.correctness", "qrdistill.quality.regrade"):
        monkeypatch.setattr(f"{module}.GRADER_VERSION", "planted")


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Run, set[str], set[str]]:
    """An evaluated run in which two answers and two paths state a right answer and then another one, with their ids."""
    run = run_pipeline(toy_recipe(), tmp_path / "run", until="filter")
    with run.owned():
        matches = {verdict.path_id for verdict in run.ledger.all(AnswerVerdict) if verdict.verdict == "match"}
        paths = [path for path in run.ledger.all(ReasoningPath, order="id") if path.id in matches][:2]
        run.ledger.add(dataclasses.replace(path, text=path.text + LATER) for path in paths)
        filter_again(run)
    run = run_pipeline(run.config, run.folder)
    tasks = load_tasks(run.config)
    with run.owned():
        questions = {question.id: question for question in run.ledger.all(Question)}
        answers = run.ledger.all(Prediction, order="id")[::5][:2]
        for answer in answers:
            question = questions[answer.question_id]
            text = f"The answer is {question.gold}.{LATER}"
            run.ledger.add([graded(dataclasses.replace(answer, text=text), question, tasks[question.task])])
    return run, {answer.id for answer in answers}, {path.id for path in paths}


def no_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("regrading generates nothing")

    monkeypatch.setattr("qrdistill.students.decode", refuse)
    monkeypatch.setattr("qrdistill.students.load_student", refuse)
    monkeypatch.setattr("qrdistill.teacher.generate.generate_paths", refuse)


def num_right(run: Run) -> dict[tuple[str, str], int]:
    """Right answers by student and arm."""
    students = {student.name for student in run.config.students}
    scores = [score for score in run.ledger.all(Score) if score.task == "all" and score.student in students]
    return {(score.student, score.arm): score.num_correct for score in scores}


def test_a_planted_change_flips_exactly_what_it_reads_differently(
    planted: tuple[Run, set[str], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, answers, paths = planted
    assert (stage.regrade(run), regrade_paths(run)) == ([], []), "the same grader: nothing to do"
    before = {answer.id: answer for answer in run.ledger.all(Prediction)}
    right_before = num_right(run)
    decided = run.ledger.all(FilterDecision)
    read_the_first(monkeypatch)
    no_generation(monkeypatch)
    of_paths = regrade_paths(run)
    assert {flip.path_id for flip in of_paths} == paths
    assert {(flip.before, flip.after, flip.read_before) for flip in of_paths} == {("differ", "match", "1000001")}
    flips = stage.regrade(run)
    flipped = {(before[id].student, before[id].arm, before[id].question_id) for id in answers}
    assert {(flip.student, flip.arm, flip.question_id) for flip in flips} == flipped
    assert {(flip.before, flip.after, flip.read_before) for flip in flips} == {("differ", "match", "1000001")}
    after = {answer.id: answer for answer in run.ledger.all(Prediction)}
    assert {id for id in after if after[id].verdict != before[id].verdict} == answers
    assert {id: answer.text for id, answer in after.items()} == {id: answer.text for id, answer in before.items()}
    assert {answer.grader_version for answer in after.values()} == {"planted"}
    gained = Counter({key: count - right_before[key] for key, count in num_right(run).items()})
    assert +gained == Counter((student, arm) for student, arm, _ in flipped)
    exported = [json.loads(line) for line in (run.exports / "predictions.jsonl").read_text().splitlines()]
    assert {row["id"] for row in exported if row["verdict"] == "match"} == {id for id in after if after[id].verdict == "match"}
    run.verify()
    assert stage.regrade(run) == [], "done once"
    assert run.ledger.all(FilterDecision) == decided, "what was trained on stays as it was"
    assert run.is_done("evaluate")
    monkeypatch.undo()
    back = stage.regrade(run)
    assert [(flip.before, flip.after) for flip in back] == [("match", "differ")] * 2


def test_taking_the_new_verdicts_decides_again_and_undoes_the_training(
    planted: tuple[Run, set[str], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, paths = planted
    dropped = {decision.path_id for decision in run.ledger.all(FilterDecision) if decision.reason == "differ"}
    read_the_first(monkeypatch)
    no_generation(monkeypatch)
    filter_again(run)
    decisions = {decision.path_id: decision.reason for decision in run.ledger.all(FilterDecision)}
    assert {path for path in dropped if decisions[path] != "differ"} == paths <= dropped
    assert regrade_paths(run) == []
    assert run.is_done("filter")
    assert not run.is_done("train"), "other paths are kept, so the students are to be trained again"


def test_a_regrade_that_is_cut_leaves_no_old_scores(
    planted: tuple[Run, set[str], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, *_ = planted

    class Cut(Exception):
        pass

    def cut(*_: object) -> None:
        raise Cut

    real: Callable[..., object] = stage.export_records
    right_before = sum(num_right(run).values())
    read_the_first(monkeypatch)
    monkeypatch.setattr(stage, "export_records", cut)
    with pytest.raises(Cut):
        stage.regrade(run)
    monkeypatch.setattr(stage, "export_records", real)
    assert not run.is_done("evaluate"), "the evaluation is to be finished, which decodes nothing"
    stage.evaluate(run)
    assert sum(num_right(run).values()) == right_before + 2
