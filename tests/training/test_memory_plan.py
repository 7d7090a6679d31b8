"""The memory planner: bytes are those of the real code, the largest step is found, and what does not fit is refused or cut."""

import json

import pytest
import torch
from tests.students.conftest import ARCHITECTURES, tiny_student
from tests.training.test_idle_student import Notes

from qrdistill import machine
from qrdistill.config import FrozenConfig, FullConfig, LoraConfig
from qrdistill.errors import PausedError, StorageError
from qrdistill.planning.room import room_for
from qrdistill.students import Student
from qrdistill.students.activations import choose_activations
from qrdistill.students.phantom import LiveBytes, phantom
from qrdistill.training import fitting, loop
from qrdistill.training.footprint import Reading, footprint
from qrdistill.training.largest import largest_steps, sizes
from qrdistill.training.memory import MemoryPlan, StudentMemory, graph_limits, plan_memory
from qrdistill.training.pool import load_pool
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer, remaining_work

CPU = torch.device("cpu")
READING = Reading(prompts=(23, 11), responses=((31, 7, 18), (40,)))


# --- counting ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [LoraConfig(rank=4), FullConfig(), FrozenConfig()], ids=lambda adapter: adapter.kind)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_student_without_numbers_takes_what_the_real_one_takes(architecture, adapter):
    """The reference counts the live tensors of a real forward and backward pass, byte for byte."""
    student = tiny_student(architecture, adapter=adapter)
    rows = READING.rows(512)
    inputs = sum(row.input_ids.nbytes + row.position_ids.nbytes for row in rows)  # which may count or not
    with LiveBytes(student.model.state_dict(keep_vars=True).values()) as live:
        with torch.set_grad_enabled(bool(student.trainable())):
            hidden = torch.cat([student.hidden(row)[row.predict_N] for row in rows])
        graph = live.live
        if student.trainable():
            hidden.backward(torch.zeros_like(hidden))
    fake = phantom(student.config, device=CPU)
    found = footprint(fake, READING, row_tokens=512, peer_rows=0, support=0)
    assert found.graph == pytest.approx(graph, rel=0.01, abs=inputs)
    assert found.backward == pytest.approx(live.peak, rel=0.01, abs=inputs)
    assert fake.trained_numbers == sum(weight.numel() for _, weight in student.trainable())
    weights = {weight.untyped_storage().data_ptr(): weight.nbytes for weight in student.causal_lm.parameters()}
    adapters = sum(weight.nbytes for name, weight in student.model.named_parameters() if ".lora_" in name)
    assert fake.base_bytes == sum(weights.values()) - adapters


def test_layers_that_are_computed_again_are_counted_so(toy_run):
    kept, again = (
        plan_memory(run.config, [phantom(student, device=CPU) for student in run.config.students], [READING] * 2, device=CPU)
        for run in (toy_run(), toy_run(runtime={"threads": 1, "activations": "recompute"}))
    )
    for student, one, other in zip(load_team(toy_run().config), kept.students, again.students, strict=True):
        choose_activations(student, "recompute")
        with LiveBytes(student.model.state_dict(keep_vars=True).values()) as live:
            hidden = torch.cat([student.hidden(row)[row.predict_N] for row in READING.rows(512)])
        assert hidden.requires_grad
        assert other.graph == pytest.approx(live.live, rel=0.05)
        assert other.graph < one.graph / 2


def test_live_bytes_follow_tensors_that_come_and_go():
    with LiveBytes() as live:
        kept = torch.zeros(1000)
        kept.view(10, 100)[2:]
        torch.zeros(500).exp_()
        assert live.live == 4000
        assert live.peak == 6000
        del kept
        assert live.live == 0


def test_the_largest_step_is_the_one_that_reads_most(toy_run):
    """Reference: every step of the training, all of its paths, in plain loops."""
    run = toy_run(method__policy={"kind": "all"}, training={"questions_per_step": 3, "epochs": 2})
    students = load_team(run.config)
    trainer = build_trainer(run, students, None)
    most = [0, 0]
    for work in remaining_work(trainer):
        for index in (0, 1):
            prompts = {path.tokens[index].prompt_ids for path in work.paths}
            fed = sum(len(path.tokens[index].response_ids) - 1 for path in work.paths)
            most[index] = max(most[index], fed + sum(map(len, prompts)))
        trainer.step += 1
    trainer.team.close()
    found = largest_steps([sizes(question) for question in trainer.train_pool], run.config)
    assert [reading.num_tokens for _, reading in found] == most


def test_fewer_paths_are_read_where_fewer_are_routed(toy_run):
    def tokens(**policy) -> int:
        run = toy_run(method__policy=policy, method__peers={"weight": 0.0}, training={"questions_per_step": 8})
        pool = load_pool(run, load_team(run.config))[0]
        return sum(reading.num_tokens for _, reading in largest_steps([sizes(question) for question in pool], run.config))

    everything, some = tokens(kind="all"), tokens(kind="random", budget=2)
    one_style, nobody = tokens(kind="single_path", style="cot"), tokens(kind="by_style", table={"cot": ()})
    assert 0 == nobody < one_style < everything
    assert 0.2 * everything < some < 0.8 * everything


def test_what_peers_meet_on_is_read_by_all(toy_run):
    policy = {"kind": "by_style", "table": {"cot": ("llama",)}}
    run = toy_run(method__policy=policy, method__peers={"weight": 0.2, "max_paths": 2}, training={"questions_per_step": 8})
    pool = load_pool(run, load_team(run.config))[0]
    (_, mine), (_, theirs) = largest_steps([sizes(question) for question in pool], run.config)
    assert sum(map(len, theirs.responses)) == 2 < sum(map(len, mine.responses))


# --- choosing ----------------------------------------------------------------------------------------------------------------


def planned(peaks: tuple[int, ...]) -> MemoryPlan:
    student = StudentMemory(name="a", weights=50, trained=30, graph=400, step_tokens=1000, path_tokens=300)
    return MemoryPlan(device="cpu", students=(student,), other=10, peaks=peaks, one_at_a_time=90)


def test_as_much_of_a_step_is_kept_as_fits():
    plan = planned((1000, 800, 700))
    assert graph_limits(plan, 2000) == [0]
    assert graph_limits(plan, None) == [0]
    assert graph_limits(plan, 1020) == [500]  # within the planner's own error
    assert graph_limits(plan, 820) == [300]  # never less than the longest path
    with pytest.raises(PausedError, match=r"training needs 0\.0 GB of memory even with one path at a time"):
        graph_limits(plan, 699)


def test_halving_goes_down_to_one_path_at_a_time(toy_run):
    run = toy_run(method__policy={"kind": "all"}, training={"questions_per_step": 8})
    phantoms = [phantom(student, device=CPU) for student in run.config.students]
    pool = load_pool(run, load_team(run.config))[0]
    readings = [reading for _, reading in largest_steps([sizes(question) for question in pool], run.config)]
    plan = plan_memory(run.config, phantoms, readings, device=CPU)
    assert len(plan.peaks) > 3
    assert list(plan.peaks) == sorted(plan.peaks, reverse=True)
    assert plan.peaks[0] - plan.peaks[1] == pytest.approx(sum(one.graph for one in plan.students) / 2, rel=0.05)
    assert plan.one_at_a_time < plan.peaks[-1]


def limited(toy_run, gigabytes: float, **settings):
    return toy_run(runtime={"threads": 1, "memory_gb": gigabytes}, **settings)


def test_a_training_with_little_memory_works_in_pieces_and_learns_the_same(toy_run, monkeypatch):
    settings = {"method__policy": {"kind": "all"}, "training": {"questions_per_step": 8, "checkpoint_steps": 1}}
    whole = toy_run(**settings)
    loop.train(whole)
    peaks = room_for(whole.config, whole).memory.peaks
    pieces = limited(toy_run, (peaks[0] + peaks[-1]) / 2e9, **settings)
    rows: list[int] = []
    real = Student.hidden

    def hidden(student, batch, **options):
        if torch.is_grad_enabled():
            rows.append(batch.num_tokens)
        return real(student, batch, **options)

    notes = Notes()
    monkeypatch.setattr(Student, "hidden", hidden)
    loop.train(pieces, progress=notes)
    said = next(text for text in notes.said if text.startswith("memory:"))
    assert "reading in pieces of" in said
    assert max(rows) <= 512
    losses = [
        {key: value for key, value in json.loads(run.metrics.read_text().splitlines()[0]).items() if key.startswith("loss/sft")}
        for run in (whole, pieces)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_too_little_memory_is_said_before_the_first_step(toy_run):
    run = limited(toy_run, 0.2)
    with pytest.raises(PausedError, match=r"training needs 0\.\d GB .* 0\.2 GB are free .* fewer students at once"):
        loop.train(run)
    assert not run.metrics.exists()


def test_plenty_of_memory_costs_no_planning(toy_run, monkeypatch):
    monkeypatch.setattr(fitting, "phantom", lambda *_, **__: pytest.fail("planned although memory is plenty"))
    loop.train(limited(toy_run, 1000))


def test_too_little_disk_is_said_before_the_first_step(toy_run, monkeypatch):
    """F10. Checkpoints that are there already count as room."""
    run = toy_run()
    one = sum(3 * value.nbytes for student in load_team(run.config) for _, value in student.trainable())
    free = one
    monkeypatch.setattr(fitting, "free_disk_bytes", lambda folder: free)
    with pytest.raises(
        StorageError, match=r"GB free, and the checkpoints and trained students take up to .*training\.keep_checkpoints"
    ):
        loop.train(run)
    assert not run.metrics.exists()
    assert not run.checkpoints.exists()
    free = 4 * one
    loop.train(run)


def test_free_memory_stays_within_a_container_s_limit(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("2500000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\nactive_file 200000000\ninactive_file 300000000\n")
    before = machine.free_memory_bytes()
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.free_memory_bytes() == min(before, 1_000_000_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_memory_bytes() > 1_000_000_000 or before < 1_000_000_000


@pytest.mark.real
@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_the_peak_of_a_real_training_is_the_predicted_one(root):
    """benchmarks/memory.py on one of its three configurations."""
    import subprocess
    import sys

    command = [sys.executable, str(root / "benchmarks" / "memory.py"), "--configs", "one_lora", "--questions", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["worst"] <= 0.15
