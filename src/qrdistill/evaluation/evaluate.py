"""The evaluation stage: greedy answers of every student to the test questions, before and after training.

Raw text is saved as it is produced; grading is a pure function of it and can be redone (`regrade`). An answer's id is the hash
of everything it depends on (weights, tokenizer, template, prompt, decoding), so an answer that is already there is never decoded
again: a killed evaluation goes on, and zero-shot answers survive a new training.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qrdistill.config import EvaluationConfig, content_hash
from qrdistill.evaluation.score import score_predictions
from qrdistill.progress import SILENT, Progress
from qrdistill.store import Run, export_records, sha256
from qrdistill.tasks import Task, grade_response, load_tasks
from qrdistill.tasks.verify import GRADER_VERSION
from qrdistill.types import Prediction, Question, Score

BATCH = 16
"""Answers saved at once."""


def evaluate(run: Run, *, progress: Progress = SILENT) -> list[Score]:
    """Decode, grade and score every student on the test questions.

    Args:
        run: a run whose train stage is done.
        progress: told what is going on.

    Returns:
        Scores per arm, student (and the team's vote and oracle) and task.

    Raises:
        UsageError: the train stage is not done.
    """
    with run.owned():
        run.require("train")
        if run.is_done("evaluate"):
            return run.ledger.all(Score)
        run.begin("evaluate")
        questions = run.ledger.all(Question, "split = 'test'", order="id")
        tasks = load_tasks(run.config)
        arms = [*(["zero_shot"] if run.config.evaluation.is_zero_shot else []), "trained"]
        wanted = _Decoding(run, questions, tasks, progress).answers(arms)
        present = {prediction.id: prediction for prediction in run.ledger.all(Prediction)}
        run.ledger.delete(Score)
        for stale in sorted(set(present) - wanted):
            run.ledger.delete(Prediction, "id = ?", (stale,))
        regrade(run)
        scores = _save_scores(run, questions)
        run.finish("evaluate", {"answers": len(wanted), "accuracy": _headline(scores)})
        return scores


def regrade(run: Run) -> list[dict[str, str]]:
    """Grade saved answers again where the grader has changed since, without decoding.

    Returns:
        What flipped: question, student, arm, verdict before and after.
    """
    flips: list[dict[str, str]] = []
    with run.owned():
        questions = {question.id: question for question in run.ledger.all(Question)}
        fresh = []
        for old in run.ledger.all(Prediction):
            if old.grader_version == GRADER_VERSION:
                continue
            new = _graded(old, questions[old.question_id])
            fresh.append(new)
            if new.verdict != old.verdict:
                flips.append(
                    {
                        "question_id": old.question_id,
                        "student": old.student,
                        "arm": old.arm,
                        "before": old.verdict,
                        "after": new.verdict,
                    }
                )
        run.ledger.add(fresh)
        if fresh and run.is_done("evaluate"):
            run.ledger.delete(Score)
            scores = _save_scores(run, [question for question in questions.values() if question.split == "test"])
            run.finish("evaluate", {**run.summary("evaluate"), "accuracy": _headline(scores)})
    return flips


def _graded(prediction: Prediction, question: Question) -> Prediction:
    grade = grade_response(question.kind, question.gold, question.choices, prediction.text)
    return dataclasses.replace(
        prediction,
        verdict=grade.verdict,
        extracted=grade.extracted,
        reason=grade.reason,
        is_strict=grade.is_strict,
        grader_version=GRADER_VERSION,
    )


def _save_scores(run: Run, questions: Sequence[Question]) -> list[Score]:
    predictions = run.ledger.all(Prediction)
    by_id = {question.id: question for question in questions}
    scores = score_predictions(predictions, by_id, [student.name for student in run.config.students])
    run.ledger.add(scores)
    export_records(run.exports, "predictions", predictions)
    export_records(run.exports, "scores", run.ledger.all(Score))
    return scores


def _headline(scores: Sequence[Score]) -> dict[str, float]:
    return {f"{score.student}/{score.arm}": round(score.accuracy, 4) for score in scores if score.task == "all"}


class _Decoding:
    """Decodes what is missing: one student a thread, answers saved in small batches."""

    def __init__(self, run: Run, questions: Sequence[Question], tasks: Mapping[str, Task], progress: Progress) -> None:
        self.run = run
        self.questions = list(questions)
        self.prompts = [tasks[question.task].prompt(question) for question in questions]
        self.progress = progress
        self._lock = threading.Lock()
        self._present = {row[0] for row in run.ledger.execute("SELECT id FROM predictions")}

    def answers(self, arms: Sequence[str]) -> set[str]:
        """Make every answer of these arms; returns their ids."""
        import torch

        students = self.run.config.students
        cores = self.run.config.runtime.threads or len(os.sched_getaffinity(0))
        workers = max(1, min(len(students), cores))
        share = max(cores // workers, 1)
        torch.set_num_threads(share)
        self.progress.start(len(students) * len(arms) * len(self.questions), "evaluate")
        try:
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,)) as pool:
                jobs = [pool.submit(self._student, index, arms) for index in range(len(students))]
                return set().union(*(job.result() for job in jobs))
        finally:
            self.progress.stop()

    def _student(self, index: int, arms: Sequence[str]) -> set[str]:
        from qrdistill.students import load_student

        config = self.run.config.students[index]
        student = load_student(config, seed=self.run.config.seed * 1000 + index, device=self.run.config.runtime.device)
        wanted: set[str] = set()
        for arm in arms:
            weights = "base"
            if arm == "trained" and student.trainable():
                folder = self.run.student_folder(config.name)
                weights = content_hash([sha256(path) for path in sorted(folder.glob("*.safetensors"))])
                student.restore(folder)
            ids = [self._id(student.identity, weights, arm, row) for row in range(len(self.questions))]
            wanted.update(ids)
            self._decode(student, arm, ids)
        return wanted

    def _id(self, identity: str, weights: str, arm: str, row: int) -> str:
        from qrdistill.students.decode import STOP_RULES_VERSION

        limit = self.run.config.evaluation.max_new_tokens
        return content_hash([identity, weights, arm, self.questions[row].id, self.prompts[row], limit, STOP_RULES_VERSION])

    def _decode(self, student: Any, arm: str, ids: Sequence[str]) -> None:
        from qrdistill.students.decode import Decoded, decode

        missing = [row for row, prediction in enumerate(ids) if prediction not in self._present]
        self._advance(len(ids) - len(missing))
        settings: EvaluationConfig = self.run.config.evaluation
        unsaved: list[Prediction] = []

        def keep(position: int, answer: Decoded) -> None:
            row = missing[position]
            question = self.questions[row]
            raw = Prediction(
                id=ids[row],
                arm=arm,
                student=student.name,
                question_id=question.id,
                text=answer.text,
                finish=answer.finish,
                num_tokens=answer.num_tokens,
                verdict="unparsed",
            )
            unsaved.append(_graded(raw, question))
            if len(unsaved) >= BATCH:
                self._save(unsaved)

        prompts = [self.prompts[row] for row in missing]
        decode(student, prompts, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size, on_done=keep)
        self._save(unsaved)

    def _save(self, unsaved: list[Prediction]) -> None:
        with self._lock:
            self.run.ledger.add(unsaved)
            self.progress.advance(len(unsaved))
        unsaved.clear()

    def _advance(self, n: int) -> None:
        with self._lock:
            self.progress.advance(n)
