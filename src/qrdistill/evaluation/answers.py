"""Greedy answers of the students to the test questions, decoded once and kept.

An answer's id is the hash of everything it depends on (base weights, tokenizer, template, prompt, limits, and the trained weights
for the trained arm), so an answer that is already there is never decoded again: a killed evaluation goes on where it was, and
zero-shot answers survive a new training. Questions are decoded in fixed units, each saved as a whole: the rounding of matrix
products depends on which rows share a batch, so an interrupted run must form the same batches as an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Literal

from qrdistill.config import content_hash
from qrdistill.progress import SILENT, Progress
from qrdistill.store import Run, sha256
from qrdistill.tasks import Task
from qrdistill.tasks.verify import GRADER_VERSION
from qrdistill.types import Prediction, Question

if TYPE_CHECKING:
    from qrdistill.students import Student

Arm = Literal["zero_shot", "trained"]
UNIT_BATCHES = 2
"""A unit holds about this many batches, so that ended rows can be replaced while it is decoded."""


def graded(prediction: Prediction, question: Question, task: Task) -> Prediction:
    """The same raw answer with the present grader's verdict."""
    grade = task.grade(question, prediction.text)
    return dataclasses.replace(
        prediction,
        verdict=grade.verdict,
        extracted=grade.extracted,
        reason=grade.reason,
        is_strict=grade.is_strict,
        grader_version=GRADER_VERSION,
    )


def answer_questions(
    run: Run, arms: Sequence[Arm], questions: Sequence[Question], tasks: Mapping[str, Task], *, progress: Progress = SILENT
) -> list[str]:
    """Make every answer of some arms that is not in the ledger yet; students decode side by side, one thread each.

    Args:
        run: an owned run; the "trained" arm reads its students' folders.
        arms: which answers.
        questions: the test questions.
        tasks: the run's tasks by name.
        progress: counts answers.

    Returns:
        The ids of all answers of these arms.
    """
    import torch

    students = run.config.students
    cores = run.config.runtime.threads or len(os.sched_getaffinity(0))
    workers = max(1, min(len(students), cores))
    share = max(cores // workers, 1)
    torch.set_num_threads(share)
    writer = _Writer(run, progress)
    progress.start(len(students) * len(arms) * len(questions), "evaluate")
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,)) as pool:
            jobs = [
                pool.submit(_StudentAnswers(run, index, questions, tasks, writer).make, arms) for index in range(len(students))
            ]
            try:
                ended, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            finally:
                writer.cancelled.set()  # an error or an interrupt ends the other students' decoding too
            for failed in (job for job in jobs if job in ended and job.exception()):
                failed.result()
            return [prediction for job in jobs for prediction in job.result()]
    finally:
        progress.stop()


class _Writer:
    """Saves answers from several threads."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self.cancelled = threading.Event()
        self._run = run
        self._progress = progress
        self._lock = threading.Lock()

    def present(self, ids: Iterable[str]) -> dict[str, Prediction]:
        """Answers that exist, by id."""
        wanted = set(ids)
        with self._lock:
            return {row.id: row for row in self._run.ledger.iterate(Prediction) if row.id in wanted}

    def save(self, predictions: Sequence[Prediction]) -> None:
        """Save a unit of answers."""
        with self._lock:
            self._run.ledger.add(predictions)

    def advance(self, n: int = 1) -> None:
        """Count answers."""
        with self._lock:
            self._progress.advance(n)

    def note(self, text: str) -> None:
        """Say one line."""
        with self._lock:
            self._progress.note(text)


class _StudentAnswers:
    """The answers of one student."""

    def __init__(self, run: Run, index: int, questions: Sequence[Question], tasks: Mapping[str, Task], writer: _Writer) -> None:
        self.run = run
        self.index = index
        self.config = run.config.students[index]
        self.questions = questions
        self.tasks = tasks
        self.prompts = [tasks[question.task].prompt(question) for question in questions]
        self.writer = writer

    def make(self, arms: Sequence[Arm]) -> list[str]:
        """Decode what is missing of each arm; returns all ids."""
        from qrdistill.students import load_student

        seed = self.run.config.seed * 1000 + self.index
        student = load_student(self.config, seed=seed, device=self.run.config.runtime.device, note=self.writer.note)
        made: list[str] = []
        for arm in arms:
            weights = ""
            if arm == "trained" and student.trainable():
                folder = self.run.student_folder(self.config.name)
                student.restore(folder)
                weights = content_hash([sha256(path) for path in sorted(folder.glob("*.safetensors"))])
            made += self._arm(student, arm, weights)
        return made

    def _arm(self, student: Student, arm: Arm, weights: str) -> list[str]:
        ids = [self._id(student, arm, weights, row) for row in range(len(self.questions))]
        present = self.writer.present(ids)
        if not weights and arm == "trained":  # a frozen student answers as before
            twins = {self._id(student, "zero_shot", "", row): ids[row] for row in range(len(ids))}
            copies = [dataclasses.replace(p, id=twins[p.id], arm=arm) for p in self.writer.present(twins).values()]
            self.writer.save(copies)
            present |= {copy.id: copy for copy in copies}
        units = self._units()
        for unit in units:
            if all(ids[row] in present for row in unit):
                self.writer.advance(len(unit))
            else:
                self._decode(student, arm, [(row, ids[row]) for row in unit])
        return ids

    def _units(self) -> list[list[int]]:
        """Rows in fixed units of similar prompt length, evenly sized."""
        order = sorted(range(len(self.prompts)), key=lambda row: (-len(self.prompts[row]), self.questions[row].id))
        number = max(1, math.ceil(len(order) / (UNIT_BATCHES * self.run.config.evaluation.batch_size)))
        size = math.ceil(len(order) / number)
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _decode(self, student: Student, arm: Arm, unit: Sequence[tuple[int, str]]) -> None:
        from qrdistill.students import decode

        settings = self.run.config.evaluation
        answers = decode(
            student,
            [self.prompts[row] for row, _ in unit],
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
            on_done=lambda *_: self.writer.advance(),
            is_cancelled=self.writer.cancelled.is_set,
        )
        predictions = []
        for (row, id), answer in zip(unit, answers, strict=True):
            question = self.questions[row]
            raw = Prediction(
                id=id,
                arm=arm,
                student=student.name,
                question_id=question.id,
                text=answer.text,
                finish=answer.finish,
                num_tokens=answer.num_tokens,
                verdict="unparsed",
            )
            predictions.append(graded(raw, question, self.tasks[question.task]))
        self.writer.save(predictions)

    def _id(self, student: Student, arm: Arm, weights: str, row: int) -> str:
        from qrdistill.students.decode import STOP_RULES_VERSION

        asked = [self.questions[row].id, self.prompts[row]]
        adapter = self.config.adapter.model_dump(mode="json") if weights else ""
        limit = self.run.config.evaluation.max_new_tokens
        return content_hash([student.name, student.base_identity, arm, weights, adapter, asked, limit, STOP_RULES_VERSION])
