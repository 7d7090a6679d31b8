"""Everything of a student is where the student is: on a GPU that is not there, on a real one, and in bfloat16."""

import pytest
import torch
from tests.harness.fake_gpu import CUDA, FakeCuda, MixedDevices, fake_gpu
from tests.students.conftest import tiny_student
from tests.students.test_batch import tokens

from qrdistill.evaluation.evaluate import answer_trained
from qrdistill.progress import SILENT
from qrdistill.students import pack
from qrdistill.training import loop
from qrdistill.types import Route

STUDENTS = [
    {"name": "lora", "source": {"kind": "tiny", "architecture": "llama"}, "adapter": {"kind": "lora", "rank": 4}},
    {"name": "full", "source": {"kind": "tiny", "architecture": "gemma3"}, "adapter": {"kind": "full"}},
    {"name": "frozen", "source": {"kind": "tiny", "architecture": "qwen2"}, "adapter": {"kind": "frozen"}},
]


def with_dtype(dtype: str) -> list[dict]:
    return [{**student, "dtype": dtype, "learning_rate": 3e-3} for student in STUDENTS]


def recipe(utility: str, device: str, dtype: str) -> dict:
    policy = {
        "kind": "qrdistill",
        "budget": 2,
        "encoder": {"kind": "ngram", "dim": 32},
        "hidden": 8,
        "probe_steps": 2,
        "utility": {"kind": utility},
    }
    return {
        "students": with_dtype(dtype),
        "method__policy": policy,
        "runtime": {"threads": 1, "device": device},
    }


@pytest.mark.parametrize("utility", ["value", "sketch"])
def test_training_keeps_to_the_student_s_device(toy_run, monkeypatch, utility):
    """On a stand-in GPU that refuses to mix devices as a real one does; routes and losses are those of the CPU."""
    plain = toy_run(**recipe(utility, "cpu", "float32"))
    steps(plain)
    run = toy_run(**recipe(utility, "cuda", "float32"))
    with monkeypatch.context() as patch, fake_gpu(patch):
        students = steps(run)
        assert all(isinstance(weight, FakeCuda) for student in students for weight in student.model.parameters())
    assert [(r.step, r.path_id, r.is_routed) for r in run.ledger.all(Route)] == [
        (r.step, r.path_id, r.is_routed) for r in plain.ledger.all(Route)
    ]
    # Rows are read with a mask there and by branches here; Adam lets that rounding grow from step to step.
    assert losses(run)[0] == pytest.approx(losses(plain)[0], rel=1e-4)
    for mine, theirs in zip(losses(run), losses(plain), strict=True):
        assert mine == pytest.approx(theirs, rel=0.1, abs=0.01)


def steps(run) -> list:
    """Every step and checkpoint of a training, without the folders at the end (transformers looks at addresses there)."""
    with run.owned():
        run.begin("train")
        students = loop.load_team(run.config)
        trainer = loop.build_trainer(run, students, None)
        try:
            loop.prepare_utility(trainer, SILENT)
            loop._run_steps(trainer, SILENT)
        finally:
            trainer.team.close()
    return students


def losses(run) -> list[list[float]]:
    import json

    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [[value for key, value in line.items() if key.startswith("loss/")] for line in lines]


def test_the_stand_in_gpu_refuses_what_a_real_one_refuses(monkeypatch):
    with fake_gpu(monkeypatch):
        there, here = torch.arange(4.0, device="cuda"), torch.arange(4.0)
        assert (there.device, (there + 1).device, there.cpu().device.type) == (CUDA, CUDA, "cpu")
        with pytest.raises(MixedDevices):
            there + here
        with pytest.raises(MixedDevices):
            here[there.long()]
        assert there[here.long()].device == CUDA
        assert (there * torch.tensor(2.0)).cpu().tolist() == [0, 2, 4, 6]
        weight = torch.ones(4, device="cuda", requires_grad=True)
        (weight * there).sum().backward()
        assert weight.grad.cpu().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("utility", ["value", "sketch"])
def test_bfloat16_students_train(toy_run, utility):
    """Every place where precisions could meet, with a LoRA, a fully trained and a frozen student."""
    run = toy_run(**recipe(utility, "cpu", "bfloat16"))
    students = loop.train(run)
    assert {name: student.dtype for name, student in zip("abc", students, strict=True)} == dict.fromkeys("abc", torch.bfloat16)
    for line in losses(run):
        assert all(value == value and abs(value) < 100 for value in line)


def test_adapters_of_a_bfloat16_model_are_kept_in_float32_and_get_float32_gradients():
    student = tiny_student("llama", dtype="bfloat16")
    (batch,) = pack(tokens(student), 4000)
    student.logits(student.hidden(batch)).float().logsumexp(-1).sum().backward()
    assert {weight.dtype for _, weight in student.trainable()} == {torch.float32}
    assert all(weight.grad.dtype == torch.float32 and weight.grad.abs().sum() > 0 for _, weight in student.trainable())


def test_a_probe_keeps_no_graph(toy_run, monkeypatch):
    """Students' threads have a gradient switch of their own; a probe must not build graphs there."""
    from qrdistill.training import step

    seen: list[bool] = []
    real = step.run_forward

    def watch(*args, **kwargs):
        found = real(*args, **kwargs)
        seen.append(found.hidden_ND.requires_grad)
        return found

    monkeypatch.setattr(step, "run_forward", watch)
    run = toy_run()
    trainer = loop.build_trainer(run, loop.load_team(run.config), None)
    try:
        loop.probe(trainer)
        assert seen == [False, False]
    finally:
        trainer.team.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("utility", ["value", "sketch"])
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_training_on_a_gpu(toy_run, utility, dtype):
    run = toy_run(**recipe(utility, "cuda", dtype))
    students = loop.train(run)
    assert all(weight.is_cuda for student in students for weight in student.model.parameters())
    assert students[1].dtype == torch.float32, "weights that are trained themselves stay in float32"
    if dtype == "float32":
        plain = toy_run(**recipe(utility, "cpu", "float32"))
        loop.train(plain)
        assert losses(run)[0] == pytest.approx(losses(plain)[0], rel=1e-2)
    assert answer_trained(run)
