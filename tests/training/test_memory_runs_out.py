"""Memory that runs out at a step: half the graph at once, the same gradient, or an end with advice."""

import json
import weakref

import pytest
import torch
from tests.training.test_resume import Cut, cut_after, outcome
from tests.training.test_step import first_steps

from qrdistill.errors import PausedError
from qrdistill.store import Run
from qrdistill.students import Student
from qrdistill.training import loop
from qrdistill.training.forward import backward
from qrdistill.training.graphs import is_out_of_memory
from qrdistill.training.pool import load_pool
from qrdistill.training.step import joint_step, look, read
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer, embed, knobs, remaining_work

TOO_MUCH = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes. Error code 12"),
)
BIG_STEP = {"questions_per_step": 2, "checkpoint_steps": 1}


class Graph:
    """The memory of one forward pass: given back by its backward pass, or when nobody can take that any more."""

    def __init__(self, machine, name: str, tokens: int) -> None:
        self.give_back = weakref.finalize(self, machine.give_back, name, tokens)


class Held(torch.autograd.Function):
    """Hands states on unchanged and holds a graph's memory."""

    @staticmethod
    def forward(ctx, states, graph):
        ctx.graph = graph
        return states.view_as(states)

    @staticmethod
    def backward(ctx, *grads):
        ctx.graph.give_back()
        return grads[0], None


class SmallMachine:
    """Memory for the graphs of so many tokens a student, and none beyond: what is freed can be had again."""

    def __init__(self, patch: pytest.MonkeyPatch, capacity: int, error: Exception) -> None:
        self.held: dict[str, int] = {}
        self.largest = 0
        self.refusals = 0
        real = Student.hidden

        def hidden(student: Student, batch, **options):
            if not torch.is_grad_enabled() or not student.trainable():
                return real(student, batch, **options)
            held = self.held.get(student.name, 0) + batch.num_tokens
            if held > capacity:
                self.refusals += 1
                raise type(error)(*error.args)  # one that nobody keeps: its frames hold graphs
            states = real(student, batch, **options)
            self.held[student.name] = held
            self.largest = max(self.largest, held)
            return Held.apply(states, Graph(self, student.name, batch.num_tokens))

        patch.setattr(Student, "hidden", hidden)

    def give_back(self, name: str, tokens: int) -> None:
        self.held[name] -= tokens


def longest_path(run: Run) -> int:
    """Tokens of the longest path with its prompt, over all students: what has to fit."""
    pool = load_pool(run, load_team(run.config))[0]
    return max(tokens.num_tokens for question in pool for path in question.paths for tokens in path.tokens)


def gradients(students) -> dict[str, torch.Tensor]:
    return {f"{student.name}/{name}": weight.grad for student in students for name, weight in student.trainable()}


@pytest.mark.parametrize("adapter", [{"kind": "full"}, {"kind": "lora", "rank": 4}])
@pytest.mark.parametrize("error", TOO_MUCH, ids=lambda error: type(error).__name__)
def test_half_the_graph_gives_the_same_gradient(toy_run, monkeypatch, error, adapter):
    settings = {"training": BIG_STEP, "method__policy": {"kind": "all"}}

    def one_step():
        run = toy_run(**settings)
        students = [{**student.model_dump(mode="json"), "adapter": adapter} for student in run.config.students]
        return first_steps(toy_run(**settings, students=students))

    whole, _, _ = one_step()
    capacity = longest_path(toy_run(**settings))
    with monkeypatch.context() as patch:
        machine = SmallMachine(patch, capacity, error)
        halved, trainer, _ = one_step()
    assert machine.refusals >= 3
    assert 0 < machine.largest <= capacity
    assert all(0 < limit <= capacity for limit in trainer.team.limits.tokens_S)
    mine, theirs = gradients(halved), gradients(whole)
    assert mine.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert (mine[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-9, name


@pytest.mark.parametrize("place", ["hidden", "logits", "backward"])
def test_one_failure_at_any_call_changes_no_gradient(toy_run, monkeypatch, place):
    """Every n-th forward pass, head product and backward pass in turn finds no memory, once."""
    owner, name = (torch.Tensor, "backward") if place == "backward" else (Student, place)
    real, calls, failing = getattr(owner, name), 0, 0

    def counted(*args, **options):
        nonlocal calls
        calls += 1
        if calls == failing:
            raise torch.OutOfMemoryError("planted")
        return real(*args, **options)

    def one_step() -> dict[str, torch.Tensor]:
        nonlocal calls
        run = toy_run(training=BIG_STEP)
        with run.owned():
            trainer = build_trainer(run, load_team(run.config), None)
            work = next(remaining_work(trainer))
            calls = 0
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, counted)
                joint_step(trainer.team, trainer.optimizers, trainer.method, work, embed(trainer, work), knobs(trainer))
            trainer.team.close()
            return gradients(trainer.team.students)

    whole = one_step()
    in_students = calls if place != "backward" else calls - 1  # the router's is the last one
    assert in_students >= 2
    for failing in range(1, in_students + 1):
        other = one_step()
        assert other.keys() == whole.keys()
        for weight, gradient in whole.items():
            assert (other[weight] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-9, (failing, weight)


def test_what_was_read_without_its_graph_is_read_again_for_any_gradient(toy_run):
    """Reference students, virtual steps and preferences call `backward` on their own, without a limit."""
    trainer = build_trainer(toy_run(training=BIG_STEP), load_team(toy_run().config), None)
    team, work = trainer.team, next(remaining_work(trainer))
    everything_PS = torch.ones(len(work.paths), 2, dtype=torch.bool)
    found = []
    for limit in (0, 100):
        team.limits.tokens_S = [limit] * 2
        forwards = read(team, work, everything_PS, trainer.method.row_tokens)
        assert all(forward.hidden_ND.requires_grad == (not limit) for forward in forwards)
        observations = look(team, work, forwards, trainer.method, None)
        for student, forward, observation in zip(team.students, forwards, observations, strict=True):
            backward(student, forward, observation, torch.ones(len(forward.label_N)), None)
        found.append({name: gradient.clone() for name, gradient in gradients(team.students).items()})
        for student in team.students:
            student.model.zero_grad()
    team.close()
    for name, gradient in found[0].items():
        assert gradient.norm() > 0
        assert (found[1][name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-9, name


def test_a_path_that_does_not_fit_ends_the_run_with_advice_and_intact_checkpoints(toy_run, monkeypatch):
    run = toy_run(training=BIG_STEP)
    with monkeypatch.context() as patch:
        SmallMachine(patch, 60, TOO_MUCH[0])
        with pytest.raises(PausedError, match=r"cannot read a single path of \d+ tokens .*; train on a machine with more memory"):
            loop.train(run)
    assert not run.is_done("train")


def test_other_errors_are_not_taken_for_it(toy_run, monkeypatch):
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    run = toy_run()
    trainer = build_trainer(run, load_team(run.config), None)
    monkeypatch.setattr(Student, "hidden", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        trainer.team.limits.attempt(0, [], lambda limit: trainer.team.students[0].hidden(None))
    trainer.team.close()


def test_limits_go_on_after_a_cut(toy_run, monkeypatch):
    """A resumed run ends its rows where a run that went through does, even where memory is plenty by then: the same bits."""
    settings = {"training": {**BIG_STEP, "epochs": 2}, "method__policy": {"kind": "all"}}
    whole, broken = toy_run(**settings), toy_run(**settings)
    capacity = longest_path(whole)
    with monkeypatch.context() as patch:
        SmallMachine(patch, capacity, TOO_MUCH[1])
        loop.train(whole)
    with monkeypatch.context() as patch:
        SmallMachine(patch, capacity, TOO_MUCH[1])
        cut_after(patch, 3)
        with pytest.raises(Cut):
            loop.train(broken)
    (newest,) = sorted(broken.checkpoints.glob("*/position.json"))[-1:]
    assert all(0 < limit <= capacity for limit in json.loads(newest.read_text())["graph_tokens"])
    loop.train(Run(broken.folder))
    assert outcome(whole)[0] == outcome(Run(broken.folder))[0]
