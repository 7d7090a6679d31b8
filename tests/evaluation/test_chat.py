"""Asking trained students through the command line."""

import json
from pathlib import Path

import pytest

from qrdistill.cli.main import run_app
from qrdistill.evaluation.chat import Said, _voted
from qrdistill.pipeline import run_pipeline
from qrdistill.students import decode
from qrdistill.training.loop import train
from recipes import toy_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained toy run."""
    place = tmp_path_factory.mktemp("chat") / "run"
    run_pipeline(toy_recipe(evaluation={"max_new_tokens": 8}), place, until="train").close()
    return place


def test_every_student_and_the_vote_answer_as_the_trained_students_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from qrdistill.store import Run

    assert run_app(["chat", str(folder), "What is 6 times 7?", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert [one["student"] for one in answer["said"]] == ["llama", "gemma3", "vote"]
    prompt = "What is 6 times 7?\nEnd with: The answer is <number>."
    for student, one in zip(train(Run(folder)), answer["said"], strict=False):
        assert decode(student, [prompt], max_new_tokens=8)[0].text == one["text"]


def test_one_student_reads_lines(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("One?\n\nTwo?\n"))
    assert run_app(["chat", str(folder), "--student", "llama", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert [(answer["question"], len(answer["said"])) for answer in answers] == [("One?", 1), ("Two?", 1)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--student", "lama", "x"], "did you mean 'llama'"),
        (["--kind", "essay", "x"], "expected one of choice"),
    ],
)
def test_what_cannot_be_asked_is_said(
    folder: Path, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["chat", str(folder), *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_the_vote_is_the_commonest_answer() -> None:
    said = [Said(student=name, text=f"The answer is {answer}.", answer=answer) for name, answer in zip("abc", "575", strict=True)]
    assert _voted(said).answer == "5"
    assert _voted([said[1], Said(student="x", text="?", answer="")]).answer == "7"
