"""A quick try of a trained run: one student, or every student and the team's vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qrdistill.config import FrozenConfig
from qrdistill.errors import UsageError, suggest
from qrdistill.evaluation.team import vote
from qrdistill.progress import SILENT, Progress
from qrdistill.store import Run
from qrdistill.students import Student, decode, load_student
from qrdistill.tasks.answers import extract
from qrdistill.tasks.extract.records import Reading
from qrdistill.tasks.prompts import plain_prompt
from qrdistill.types import AnswerKind, Prediction, Question

VOTE = "vote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one student said; `answer` is the final answer as the grader reads it ("" if none is stated)."""

    student: str
    text: str
    answer: str


class Chat:
    """The trained students of a run, ready to be asked; each question stands alone (students are trained on single turns).

    Args:
        run: a run whose train stage is done.
        student: one student's name, or "vote" for all of them.
        progress: told what is loaded.

    Raises:
        UsageError: the train stage is not done, or there is no such student.
    """

    def __init__(self, run: Run, student: str = VOTE, *, progress: Progress = SILENT) -> None:
        run.require("train")
        names = [config.name for config in run.config.students]
        if student not in (VOTE, *names):
            known = ", ".join([*names, VOTE])
            raise UsageError(f"there is no student {student!r}{suggest(student, [*names, VOTE])}; this run has {known}")
        self.run = run
        self.is_vote = student == VOTE
        self._students = [_load(run, index, progress) for index, name in enumerate(names) if student in (VOTE, name)]

    def ask(self, text: str, kind: AnswerKind) -> list[Said]:
        """Every student's answer to a question, with the team's vote last where all were asked."""
        question = Question(id="chat", task="chat", split="test", text=text, kind=kind, gold="")
        prompt = plain_prompt(question)
        limit = self.run.config.evaluation.max_new_tokens
        said = [_answer(student, prompt, kind, limit) for student in self._students]
        return [*said, _voted(said)] if self.is_vote and len(said) > 1 else said


def _load(run: Run, index: int, progress: Progress) -> Student:
    config = run.config.students[index]
    student = load_student(config, seed=run.config.seed * 1000 + index, device=run.config.runtime.device, note=progress.note)
    if not isinstance(config.adapter, FrozenConfig):
        student.restore(run.student_folder(config.name))
    return student


def _answer(student: Student, prompt: str, kind: AnswerKind, limit: int) -> Said:
    text = decode(student, [prompt], max_new_tokens=limit)[0].text
    found = extract(kind, None, text)
    return Said(student=student.name, text=text, answer=found.value if isinstance(found, Reading) else "")


def _voted(said: Sequence[Said]) -> Said:
    ballots = [
        Prediction(
            id=one.student,
            arm="trained",
            student=one.student,
            question_id="chat",
            text=one.text,
            finish="stop",
            num_tokens=0,
            verdict="match",
            extracted=one.answer,
        )
        for one in said
    ]
    chosen = vote(ballots)
    return Said(student=VOTE, text=chosen.text, answer=chosen.extracted)
