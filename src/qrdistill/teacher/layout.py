"""The grid of a run: which cells there are, teacher by teacher, and in which rounds they are filled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qrdistill.config import TeacherConfig, content_hash
from qrdistill.progress import Progress
from qrdistill.store import Run
from qrdistill.tasks.base import Task
from qrdistill.tasks.reasoning.family import unit_hash
from qrdistill.teacher.base import Teacher
from qrdistill.teacher.collect import Grid, fill_grid
from qrdistill.teacher.registry import make_teacher
from qrdistill.teacher.resample import without_right_answer
from qrdistill.teacher.styles import style_named
from qrdistill.teacher.templates import Style
from qrdistill.types import PathRequest, Question, Split

ASKED: tuple[Split, ...] = ("train", "validation")
"""Splits whose questions get paths; test questions never reach a teacher."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The teachers and styles of a run, opened for writing."""

    teachers: Sequence[tuple[TeacherConfig, Teacher]]
    styles: Sequence[Style]
    samples: int
    rounds: int
    """Rounds of one more sample each for questions that no teacher has answered rightly yet."""

    def first(self, questions: Iterable[Question]) -> list[Grid]:
        """The cells every question gets."""
        return self._grids(questions, range(self.samples))

    def rest(self, questions: Iterable[Question]) -> list[Grid]:
        """The cells of all further rounds, as if every question needed them."""
        return self._grids(questions, range(self.samples, self.samples + self.rounds))

    def fill(
        self, run: Run, questions: Mapping[str, Question], tasks: Mapping[str, Task], progress: Progress
    ) -> list[PathRequest]:
        """Ask for what the ledger lacks of these questions' cells, round by round.

        Returns:
            Every cell that was asked for, now or earlier.

        Raises:
            AuthError, PausedError, ProviderError: from a teacher; what came in before is saved.
        """
        grids = self.first(questions.values())
        requests = requests_of(grids)
        fill_grid(run.ledger, grids, questions, tasks, progress)
        for number in range(self.samples, self.samples + self.rounds):
            unsolved = without_right_answer(run.ledger, tasks, questions, before_sample=number)
            grids = self._grids(unsolved, range(number, number + 1))
            run.ledger.add(requests_of(grids))
            requests += requests_of(grids)
            fill_grid(run.ledger, grids, questions, tasks, progress)
        return requests

    def _grids(self, questions: Iterable[Question], samples: range) -> list[Grid]:
        listed = list(questions)
        return [(teacher, _grid(config, teacher, self.styles, listed, samples)) for config, teacher in self.teachers]


def lay_out(run: Run, tasks: Mapping[str, Task]) -> Layout:
    """The grid a run's recipe describes.

    Raises:
        ConfigError: a style or teacher is not known or cannot work.
    """
    generate = run.config.generate
    return Layout(
        teachers=[(config, make_teacher(config, run, tasks)) for config in generate.teachers],
        styles=[style_named(name, generate) for name in generate.styles],
        samples=generate.samples,
        rounds=generate.resample_rounds,
    )


def requests_of(grids: Sequence[Grid]) -> list[PathRequest]:
    """The cells of all teachers."""
    return [request for _, grid in grids for request in grid]


def make_request(question: Question, teacher: Teacher, style: Style, sample: int, sampling: str) -> PathRequest:
    """A cell of the grid; its id is the hash of everything that shapes the reply."""
    asked = [question.id, question.text, list(map(list, question.choices)), question.kind, question.gold]
    identity = [asked, teacher.name, teacher.version, style.name, sample, style.template_version, sampling]
    return PathRequest(
        id=content_hash(identity),
        question_id=question.id,
        teacher=teacher.name,
        style=style.name,
        sample=sample,
        template_version=style.template_version,
        sampling=sampling,
    )


def _grid(
    config: TeacherConfig, teacher: Teacher, styles: Sequence[Style], questions: Sequence[Question], samples: range
) -> list[PathRequest]:
    weight = float(getattr(config, "weight", 1.0))
    sampling = {style.name: teacher.sampling(style.name) for style in styles}
    return [
        make_request(question, teacher, style, sample, sampling[style.name])
        for question in questions
        for style in styles
        for sample in samples
        if weight >= 1 or unit_hash(teacher.name, question.id, style.name, sample) < weight
    ]
