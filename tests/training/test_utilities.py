"""Every utility in a whole training: it resumes to the bit, and what it measures beforehand leaves the students alone."""

import pytest
import torch
from tests.training.test_resume import whole_and_resumed

from qrdistill.routing.utility import UTILITIES
from qrdistill.tasks import Grade, load_tasks
from qrdistill.training.answers import opening, try_styles
from qrdistill.training.pool import step_work
from qrdistill.training.probes import probe
from qrdistill.training.reference import losses_per_token, reference_losses
from qrdistill.training.team import load_team
from qrdistill.training.trainer import build_trainer

SETTINGS = {"rho": {"reference_epochs": 2}, "success": {"max_new_tokens": 8}, "align": {"dim": 16}, "sketch": {"dim": 16}}


def policy(kind: str, **more) -> dict:
    return {
        "kind": "qrdistill",
        "budget": 2,
        "encoder": {"kind": "ngram", "dim": 32},
        "hidden": 8,
        "probe_steps": 1,
        "utility": {"kind": kind, **SETTINGS.get(kind, {})},
        **more,
    }


@pytest.mark.parametrize("kind", sorted(UTILITIES))
def test_every_utility_trains_and_resumes_to_the_bit(toy_run, monkeypatch, kind):
    training = {"questions_per_step": 2, "checkpoint_steps": 1, "epochs": 2}
    left, right = whole_and_resumed(toy_run, monkeypatch, steps=3, training=training, method__policy=policy(kind))
    assert left[0] == right[0]
    assert repr(left[1]) == repr(right[1])
    assert left[2] == right[2]
    utilities = torch.tensor([route.utility for route in left[1]])
    assert (~torch.isnan(utilities)).float().mean() > 0.1, "it measured something"
    assert utilities[~torch.isnan(utilities)].std() > 0, "and tells paths apart"


def test_reference_losses_come_from_students_taught_validation_paths_and_leave_them_as_they_were(toy_run):
    run = toy_run(method__policy=policy("rho"))
    trainer = build_trainer(run, load_team(run.config), None)
    before = [student.state_dict() for student in trainer.team.students]
    now = losses_per_token(trainer.team, trainer.method, step_work(trainer.train_pool))
    path_ids, reference = reference_losses(
        trainer.team, trainer.method, trainer.train_pool, trainer.probe_pool, epochs=6, questions_per_step=2
    )
    assert path_ids == [path.path.id for question in trainer.train_pool for path in question.paths]
    assert (reference < now).float().mean() > 0.8, "validation paths teach the style, so other paths get likelier"
    for student, old in zip(trainer.team.students, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in student.state_dict().items())
    trainer.team.close()


def test_an_answer_whose_check_timed_out_is_no_failure_of_its_style(toy_run):
    run = toy_run(method__policy=policy("success"))
    trainer = build_trainer(run, load_team(run.config), None)
    tasks = load_tasks(run.config)
    late = trainer.probe_pool[0].question.id

    class Late:
        """A task that cannot compare the answers to one question in time."""

        def __init__(self, task):
            self.task = task

        def grade(self, question, response):
            return Grade(verdict="timeout") if question.id == late else self.task.grade(question, response)

    told = []
    utility = trainer.method.utility
    utility.tell = lambda student, style, family, *, is_right: told.append(student)
    try_styles(trainer.team, utility, trainer.probe_pool, {name: Late(task) for name, task in tasks.items()})
    assert sorted(told) == sorted([0, 1] * (len(trainer.probe_pool) - 1))
    trainer.team.close()


def test_an_opening_sets_the_style_and_never_holds_a_whole_path():
    assert opening("one two three four", 2) == "one two "
    assert opening("one two", 4) == "one"
    assert opening("a\nb c", 1) == "a\n"


def test_the_first_probe_looks_at_more_questions_and_later_ones_go_on_from_there(toy_run, monkeypatch):
    run = toy_run(method__policy=policy("value", probe_questions=1, first_probe_questions=3))
    trainer = build_trainer(run, load_team(run.config), None)
    seen: list[tuple[str, ...]] = []
    monkeypatch.setattr(trainer.method.utility, "witness", lambda shown: seen.append(shown.path_ids))
    owner = {path.path.id: question.question.id for question in trainer.probe_pool for path in question.paths}
    for step in range(3):
        trainer.step = step
        probe(trainer)
    trainer.team.close()
    first, *later = [{owner[path_id] for path_id in ids} for ids in seen]
    assert len(first) == min(3, len(trainer.probe_pool))
    assert [len(questions) for questions in later] == [1, 1]
    assert len(trainer.probe_pool) < 4 or not first & later[0]
