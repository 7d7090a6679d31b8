"""The evaluation stage resumes without decoding twice, keeps zero-shot answers, and can be graded again."""

import dataclasses
import shutil

import pytest
from tests.recipes import toy_recipe

from qrdistill.config import LoraConfig
from qrdistill.errors import UsageError
from qrdistill.evaluation import answers
from qrdistill.evaluation import evaluate as stage
from qrdistill.pipeline import run_pipeline
from qrdistill.store import Run
from qrdistill.types import Prediction, Question, Score


@pytest.fixture
def trained(tmp_path) -> Run:
    return run_pipeline(toy_recipe(), tmp_path / "run", until="train")


def test_evaluate_needs_training(tmp_path):
    run = run_pipeline(toy_recipe(), tmp_path / "run", until="filter")
    with pytest.raises(UsageError, match="the train stage is not finished"):
        stage.evaluate(run)


def test_a_cut_evaluation_goes_on_decodes_nothing_twice_and_ends_the_same(trained, tmp_path, monkeypatch):
    whole = shutil.copytree(trained.folder, tmp_path / "whole")
    stage.evaluate(Run(whole))
    saved: list[str] = []
    real = answers._Writer.save

    class Cut(Exception):
        pass

    def save(self, predictions):
        if len(saved) == 6:
            raise Cut
        saved.extend(prediction.id for prediction in predictions)
        real(self, predictions)

    monkeypatch.setattr(answers, "UNIT_BATCHES", 1 / 16)  # units of two questions
    monkeypatch.setattr(answers._Writer, "save", save)
    with pytest.raises(Cut):
        stage.evaluate(trained)
    assert len(saved) == 6
    monkeypatch.setattr(answers._Writer, "save", lambda self, ps: (saved.extend(p.id for p in ps), real(self, ps)))
    again = Run(trained.folder)
    scores = stage.evaluate(again)
    assert len(saved) == len(set(saved)) == again.ledger.count(Prediction) == 2 * 2 * 4
    assert scores == Run(whole).ledger.all(Score)
    for name in ("predictions.jsonl", "scores.jsonl"):
        assert (again.exports / name).read_bytes() == (whole / "exports" / name).read_bytes()


def test_an_error_in_one_student_ends_the_others(trained, monkeypatch):
    """Without the cancellation the second student would go on to the end."""
    reached: list[str] = []
    real = answers._StudentAnswers._decode

    def decode(self, student, arm, unit):
        if self.index == 0:
            raise RuntimeError("broken")
        while not self.writer.cancelled.wait(10):
            pass
        reached.append(student.name)
        real(self, student, arm, unit)

    monkeypatch.setattr(answers._StudentAnswers, "_decode", decode)
    with pytest.raises(RuntimeError, match="broken"):
        stage.evaluate(trained)
    assert len(reached) == 1
    assert trained.ledger.count(Prediction) == 0


def test_zero_shot_answers_survive_another_adapter(trained):
    stage.evaluate(trained)
    before = {p.id for p in trained.ledger.all(Prediction) if p.arm == "zero_shot"}
    students = [s.model_copy(update={"adapter": LoraConfig(rank=2)}) for s in trained.config.students]
    run = run_pipeline(
        trained.config.model_copy(update={"students": tuple(students)}), trained.folder, until="train", is_update=True
    )
    arm = {p.id for p in stage.answer_zero_shot(run)}
    assert arm == before
    assert {p.arm for p in stage.answer_trained(run)} == {"trained"}


def test_regrade_flips_what_a_changed_grader_sees_differently(trained):
    stage.evaluate(trained)
    with trained.owned():
        first = trained.ledger.all(Prediction)[0]
        question = {q.id: q for q in trained.ledger.all(Question)}[first.question_id]
        changed = dataclasses.replace(first, text=f"The answer is {question.gold}.", grader_version="older", verdict="differ")
        trained.ledger.add([changed])
    flips = stage.regrade(trained)
    assert [(flip.question_id, flip.before, flip.after) for flip in flips] == [(first.question_id, "differ", "match")]
    assert any(score.num_correct == 1 for score in trained.ledger.all(Score))
    assert stage.regrade(trained) == []
