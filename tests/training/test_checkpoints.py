"""What a checkpoint may hold and whose it is: nothing that is not finite (F3), nothing of another training (F8), and the best."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tests.training.test_resume import Cut, cut_after, outcome, whole_and_resumed

from qrdistill.cli.main import run_app
from qrdistill.errors import CorruptRunError, DataError, UnsafeConfigError
from qrdistill.store import Run
from qrdistill.students import Student
from qrdistill.training import loop, validation
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer

FIVE_STEPS = {"questions_per_step": 2, "checkpoint_steps": 1, "epochs": 2, "keep_checkpoints": 50}


def everything_is_finite(run: Run) -> bool:
    tensors = [value for file in run.checkpoints.rglob("students/*.safetensors") for value in load_file(file).values()]
    assert tensors
    return all(bool(value.isfinite().all()) for value in tensors)


# --- F3: numbers that are not finite -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nobody_and_the_run_goes_on_from_its_checkpoint(toy_run, monkeypatch, bad):
    whole, broken = toy_run(training=FIVE_STEPS), toy_run(training=FIVE_STEPS)
    loop.train(whole)
    real, calls = Student.hidden, 0

    def hidden(student, batch, **options):
        nonlocal calls
        states = real(student, batch, **options)
        if student.name == "gemma3" and torch.is_grad_enabled():
            calls += 1
            return states * bad if calls == 4 else states
        return states

    with monkeypatch.context() as patch:
        patch.setattr(Student, "hidden", hidden)
        with pytest.raises(DataError, match=r"step \d: the loss of student 'gemma3' is not finite .* last checkpoint is intact"):
            loop.train(broken)
    assert everything_is_finite(broken)
    loop.train(Run(broken.folder))
    assert outcome(whole)[0] == outcome(Run(broken.folder))[0]


@pytest.mark.parametrize("where", ["student", "optimizer", "router"])
def test_no_checkpoint_is_written_of_numbers_that_are_not_finite(toy_run, monkeypatch, where):
    """Planted after the step, where no loss shows it."""
    run = toy_run(training=FIVE_STEPS)
    real = loop.joint_step

    def step(team, optimizers, method, *rest):
        result = real(team, optimizers, method, *rest)
        if rest[-1].step == 2:
            weight = team.students[0].trainable()[0][1]
            target = {
                "student": weight,
                "optimizer": optimizers[0].state[weight]["exp_avg"],
                "router": next(method.policy.router.parameters()),
            }[where]
            target.data.view(-1)[0] = float("inf")
        return result

    monkeypatch.setattr(loop, "joint_step", step)
    with pytest.raises(DataError, match=r"step 3: .* is not finite, so no checkpoint is kept of it"):
        loop.train(run)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000001", "step-000002"]
    assert everything_is_finite(run)


# --- F8: another config, another run -----------------------------------------------------------------------------------------


def cut(run: Run, monkeypatch: pytest.MonkeyPatch, steps: int = 2) -> Run:
    with monkeypatch.context() as patch:
        cut_after(patch, steps)
        with pytest.raises(Cut):
            loop.train(run)
    run.close()
    return run


def test_a_changed_config_is_refused_at_resume_and_what_changed_is_listed(toy_run, monkeypatch, capsys, tmp_path):
    run = cut(toy_run(training=FIVE_STEPS), monkeypatch)
    before = {path: path.read_bytes() for path in run.checkpoints.rglob("*") if path.is_file()}
    changes = ["training.epochs=3", "students.0.learning_rate=0.01"]
    code = run_app(["train", str(run.folder), *(part for change in changes for part in ("--set", change))])
    said = " ".join(capsys.readouterr().err.split())
    assert code == UnsafeConfigError.exit_code == 78
    assert "students.0.learning_rate: 0.003 -> 0.01; training.epochs: 2 -> 3" in said
    assert {path: path.read_bytes() for path in run.checkpoints.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_another_run_is_refused_and_the_difference_named(toy_run, monkeypatch, capsys):
    other = cut(toy_run(training={**FIVE_STEPS, "epochs": 4}), monkeypatch)
    run = cut(toy_run(training=FIVE_STEPS), monkeypatch, steps=1)
    shutil.copytree(other.checkpoints / "step-000002", run.checkpoints / "step-000002")
    code = run_app(["train", str(run.folder)])
    said = " ".join(capsys.readouterr().err.split())
    assert code == 65
    assert "step-000002 is a checkpoint of another training (training.epochs: 4 -> 2); " in said
    assert f"move step-000002 in {run.checkpoints} away to go on from step-000001, or go on in the run it belongs to" in said
    assert "Traceback" not in said
    shutil.rmtree(run.checkpoints / "step-000002")
    assert run_app(["train", str(run.folder)]) == 0


def test_where_every_checkpoint_is_another_run_s_the_advice_names_all_of_them(toy_run, monkeypatch, capsys, tmp_path):
    other = cut(toy_run(training={**FIVE_STEPS, "epochs": 4}), monkeypatch)
    run = cut(toy_run(training=FIVE_STEPS), monkeypatch, steps=1)
    shutil.rmtree(run.checkpoints)
    shutil.copytree(other.checkpoints, run.checkpoints)
    assert len(list(run.checkpoints.iterdir())) > 1, "moving the newest away would only bring up the next"
    assert run_app(["train", str(run.folder)]) == 65
    said = " ".join(capsys.readouterr().err.split())
    assert f"move the folder {run.checkpoints} away to train from the start" in said
    shutil.move(run.checkpoints, tmp_path / "away")
    assert run_app(["train", str(run.folder)]) == 0


def test_a_damaged_manifest_is_named(toy_run, monkeypatch):
    run = cut(toy_run(training=FIVE_STEPS), monkeypatch)
    (run.checkpoints / "step-000002" / "manifest.json").write_text('{"fingerprint": 1')
    with pytest.raises(CorruptRunError, match=r"step-000002/manifest\.json is damaged; delete .* to go on"):
        loop.train(Run(run.folder))


LORA = [
    {"name": "a", "source": {"kind": "tiny"}, "adapter": {"kind": "lora", "rank": 4}, "learning_rate": 3e-3},
    {"name": "b", "source": {"kind": "tiny"}, "adapter": {"kind": "lora", "rank": 2}, "learning_rate": 3e-3},
    {"name": "c", "source": {"kind": "tiny", "architecture": "qwen2"}, "adapter": {"kind": "frozen"}},
]


@pytest.mark.parametrize("steps", [1, 3])
def test_lora_students_resume_to_the_same_hashes(toy_run, monkeypatch, steps):
    """F9, with two adapters on one base and a frozen peer."""
    left, right = whole_and_resumed(toy_run, monkeypatch, steps=steps, training=FIVE_STEPS, students=LORA)
    assert {name for name in left[0] if name.endswith("adapter_model.safetensors")}
    assert left[0] == right[0]
    assert left[2] == right[2]


# --- the newest and the best -------------------------------------------------------------------------------------------------


def test_the_newest_n_are_kept(toy_run, monkeypatch):
    run = cut(toy_run(training={**FIVE_STEPS, "keep_checkpoints": 2}), monkeypatch, steps=4)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000003", "step-000004"]


PLANTED = [0.25, 0.5, 0.5, 0.0, 0.25]


def validated(toy_run, keep: str, **training):
    return toy_run(training={**FIVE_STEPS, "validation": {"every_steps": 1, "keep": keep}, **training})


def plant(patch: pytest.MonkeyPatch) -> list[dict]:
    """Accuracies as planned, and the students' weights at each of them."""
    seen: list[dict] = []

    def validate(trainer):
        del seen[trainer.step - 1 :]
        seen.append({student.name: student.state_dict() for student in trainer.team.students})
        return {"validation/accuracy": PLANTED[(trainer.step - 1) % len(PLANTED)]}

    patch.setattr(loop, "validate", validate)
    return seen


@pytest.mark.parametrize(("keep", "step"), [("best", 2), ("last", -1)])
def test_a_training_ends_with_the_last_or_the_first_best_students(toy_run, monkeypatch, keep, step):
    seen = plant(monkeypatch)
    run = validated(toy_run, keep)
    trained = loop.train(run)
    expected = seen[step - 1 if step > 0 else step]
    for student in trained:
        for name, weight in student.state_dict().items():
            assert torch.equal(weight, expected[student.name][name])
    fresh = load_team(run.config)
    for student in fresh:
        student.restore(run.student_folder(student.name))
        assert all(torch.equal(value, expected[student.name][name]) for name, value in student.state_dict().items())
    assert run.summary("train")["best_step"] == 2
    assert run.summary("train")["best_accuracy"] == 0.5
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["validation/accuracy"] for line in lines[:5]] == PLANTED


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_best_is_remembered_over_a_cut(toy_run, monkeypatch, steps):
    plant(monkeypatch)
    training = {**FIVE_STEPS, "validation": {"every_steps": 1, "keep": "best"}, "checkpoint_steps": 3}
    left, right = whole_and_resumed(toy_run, monkeypatch, steps=steps, training=training)
    assert left[0] == right[0]


def test_accuracy_is_the_share_of_validation_questions_answered_right(toy_run, monkeypatch):
    """Planted answers: one student knows every gold answer, the other none; questions are those that are never trained on."""
    run = toy_run(training={**FIVE_STEPS, "validation": {"every_steps": 1, "num_questions": 3}})
    trainer = build_trainer(run, load_team(run.config), None)
    gold = {pooled.prompt: pooled.question.gold for pooled in trainer.probe_pool}
    asked: list[tuple[str, ...]] = []

    class Reply:
        def __init__(self, text: str) -> None:
            self.text = text

    def answer(student, prompts, **options):
        asked.append(tuple(prompts))
        return [Reply(f"The answer is {gold[prompt] if student.name == 'llama' else 'unknown'}.") for prompt in prompts]

    monkeypatch.setattr(validation, "decode", answer)
    found = validation.validate(trainer)
    trainer.team.close()
    assert found == {"validation/accuracy/llama": 1.0, "validation/accuracy/gemma3": 0.0, "validation/accuracy": 0.5}
    assert asked[0] == asked[1]
    assert len(asked[0]) == 3
    assert not {pooled.prompt for pooled in trainer.train_pool} & set(asked[0])


def test_students_really_answer(toy_run):
    run = toy_run(training={**FIVE_STEPS, "epochs": 1, "validation": {"every_steps": 2, "max_new_tokens": 8}})
    loop.train(run)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    names = {"validation/accuracy", "validation/accuracy/llama", "validation/accuracy/gemma3"}
    for line in lines:
        is_measured = line["step"] % 2 == 0 or line is lines[-1]
        assert (names <= line.keys()) == is_measured
        assert all(0 <= line[name] <= 1 for name in names & line.keys())
