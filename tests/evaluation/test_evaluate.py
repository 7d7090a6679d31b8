"""The evaluation stage resumes without decoding twice, keeps zero-shot answers, and can be graded again."""

import pytest
from tests.recipes import toy_recipe

from qrdistill.errors import UsageError
from qrdistill.evaluation import evaluate as stage
from qrdistill.pipeline import run_pipeline
from qrdistill.store import Run
from qrdistill.types import Prediction, Score


@pytest.fixture
def trained(tmp_path) -> Run:
    return run_pipeline(toy_recipe(), tmp_path / "run", until="train")


def test_evaluate_needs_training(tmp_path):
    run = run_pipeline(toy_recipe(), tmp_path / "run", until="filter")
    with pytest.raises(UsageError, match="the train stage is not finished"):
        stage.evaluate(run)


def test_a_cut_evaluation_goes_on_and_decodes_nothing_twice(trained, monkeypatch):
    decoded: list[str] = []
    real = stage._Decoding._save

    class Cut(Exception):
        pass

    def save(self, unsaved):
        decoded.extend(prediction.id for prediction in unsaved)
        real(self, unsaved)
        if len(decoded) >= 3 and not hasattr(save, "was_cut"):
            save.was_cut = True
            raise Cut

    monkeypatch.setattr(stage, "BATCH", 1)
    monkeypatch.setattr(stage._Decoding, "_save", save)
    with pytest.raises(Cut):
        stage.evaluate(trained)
    stage.evaluate(Run(trained.folder))
    assert len(decoded) == len(set(decoded)) == trained.ledger.count(Prediction) == 2 * 2 * 4


def test_regrade_flips_what_a_changed_grader_sees_differently(trained):
    stage.evaluate(trained)
    with trained.owned():
        first = trained.ledger.all(Prediction)[0]
        question = {q.id: q for q in trained.ledger.all(stage.Question)}[first.question_id]
        changed = stage.dataclasses.replace(
            first, text=f"The answer is {question.gold}.", grader_version="older", verdict="differ"
        )
        trained.ledger.add([changed])
    flips = stage.regrade(trained)
    assert [(flip["question_id"], flip["before"], flip["after"]) for flip in flips] == [(first.question_id, "differ", "match")]
    assert any(score.num_correct == 1 for score in trained.ledger.all(Score))
    assert stage.regrade(trained) == []
