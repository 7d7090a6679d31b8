"""What there is to train on: kept paths with their questions, embeddings, tokens and shared text positions.

Shapes: P paths of one step, C aligned positions, S students, E embedding width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qrdistill.config import content_hash
from qrdistill.errors import DataError
from qrdistill.routing.policy import step_generator
from qrdistill.routing.values import answer_determining_spans
from qrdistill.store import Run
from qrdistill.students import PathTokens, Student, tokenize_path
from qrdistill.students.align import aligned_positions
from qrdistill.tasks import load_tasks
from qrdistill.teacher.streams import Asked, asked
from qrdistill.teacher.styles import render, style_named
from qrdistill.training.ranks import ALONE, Ranks
from qrdistill.types import AnswerVerdict, FilterDecision, Question, ReasoningPath


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPath:
    """One kept path, ready for every student."""

    path: ReasoningPath
    quality: float
    value_spans: tuple[tuple[int, int], ...]
    """Characters that hold answer-determining values."""
    tokens: tuple[PathTokens, ...]
    """One per student."""
    aligned: tuple[tuple[int, ...], ...]
    """Aligned positions: for each, the response token that starts there, per student."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolQuestion:
    """One question with its kept paths."""

    question: Question
    prompt: str
    paths: tuple[PoolPath, ...]
    weights: tuple[float, ...] = ()
    """Weight of the question in each student's loss; empty: 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """The paths of one step, flat, in question order."""

    questions: tuple[PoolQuestion, ...]
    paths: tuple[PoolPath, ...]
    question_of_P: Tensor

    @property
    def styles(self) -> tuple[str, ...]:
        """Style of each path."""
        return tuple(path.path.style for path in self.paths)

    @property
    def families(self) -> tuple[str, ...]:
        """Task family of each path's question."""
        return tuple(family(self.questions[index].question) for index in self.question_of_P.tolist())

    @property
    def quality_P(self) -> Tensor:
        """Quality of each path."""
        return torch.tensor([path.quality for path in self.paths])

    @property
    def question_weight_PS(self) -> Tensor:
        """Weight of each path's question in each student's loss."""
        num_students = len(self.paths[0].tokens) if self.paths else 0
        rows = [list(question.weights) or [1.0] * num_students for question in self.questions]
        return torch.tensor(rows).reshape(len(rows), num_students)[self.question_of_P]

    @property
    def bytes_P(self) -> Tensor:
        """UTF-8 bytes of each path."""
        return torch.tensor([float(len(path.path.text.encode("utf-8", "replace"))) for path in self.paths])


def family(question: Question) -> str:
    """The group a question's evidence is pooled in: its task and family."""
    return f"{question.task}/{question.family}"


def step_work(questions: Sequence[PoolQuestion]) -> StepWork:
    """Flatten questions into the paths of one step."""
    flat = [(index, path) for index, question in enumerate(questions) for path in question.paths]
    return StepWork(
        questions=tuple(questions),
        paths=tuple(path for _, path in flat),
        question_of_P=torch.tensor([index for index, _ in flat], dtype=torch.long),
    )


def load_pool(run: Run, students: Sequence[Student], ranks: Ranks = ALONE) -> tuple[list[PoolQuestion], list[PoolQuestion]]:
    """Kept paths of the training and of the validation questions, in question-id order (as rank 0 reads them).

    Raises:
        DataError: no training question has a kept path, or a path does not fit a student's window.
    """
    tasks = load_tasks(run.config)
    kept = ranks.tell_records(FilterDecision, lambda: run.ledger.all(FilterDecision, "is_kept = 1"))
    decisions = {decision.path_id: decision for decision in kept}
    found = ranks.tell_records(AnswerVerdict, lambda: [v for v in run.ledger.iterate(AnswerVerdict) if v.path_id in decisions])
    verdicts = {verdict.path_id: verdict for verdict in found}
    paths_of: dict[str, list[ReasoningPath]] = defaultdict(list)
    kept_paths = ranks.tell_records(ReasoningPath, lambda: [p for p in run.ledger.iterate(ReasoningPath) if p.id in decisions])
    for path in kept_paths:
        paths_of[path.question_id].append(path)
    pools: dict[str, list[PoolQuestion]] = {"train": [], "validation": []}
    for question in ranks.tell_records(Question, lambda: run.ledger.all(Question, "split != 'test'", order="id")):
        if not paths_of[question.id]:
            continue
        prompt = tasks[question.task].prompt(question)
        its = sorted(paths_of[question.id], key=lambda path: (path.style, path.sample, path.id))
        is_wrapped = run.config.method.training_prompt == "style" and question.split == "train"
        behind = {
            path.id: render(style_named(path.style, run.config.generate), question) if is_wrapped else prompt for path in its
        }
        pooled = tuple(
            pool_path(students, asked(question, path, behind[path.id]), decisions[path.id].quality, verdicts.get(path.id))
            for path in its
        )
        pools[question.split].append(PoolQuestion(question=question, prompt=prompt, paths=pooled))
    if not pools["train"]:
        raise DataError("no training question has a kept path; look at the filter's counts: qrdistill show RUN")
    return fraction_of(pools["train"], run.config.training.question_frac), pools["validation"]


def epoch_order(seed: int, epoch: int, num_questions: int) -> list[int]:
    """The order in which an epoch goes through the questions."""
    return torch.randperm(num_questions, generator=step_generator(seed, "order", epoch)).tolist()


def fraction_of(questions: Sequence[PoolQuestion], share: float) -> list[PoolQuestion]:
    """A share of the questions, at least one: those whose ids hash lowest, so that a smaller share is part of a larger one."""
    ranked = sorted(questions, key=lambda pooled: content_hash(pooled.question.id))
    chosen = {pooled.question.id for pooled in ranked[: max(1, round(share * len(ranked)))]}
    return [pooled for pooled in questions if pooled.question.id in chosen]


def pool_path(
    students: Sequence[Student],
    what: Asked,
    quality: float,
    verdict: AnswerVerdict | None,
) -> PoolPath:
    """A path in every student's tokens.

    Raises:
        DataError: it does not fit a student's window.
    """
    path = what.path
    tokens = tuple(tokenize_path(student, what.prompt, path.id, path.text) for student in students)
    is_read = verdict is not None and verdict.start >= 0
    start, end = (verdict.start - what.offset, verdict.end - what.offset) if verdict and is_read else (-1, -1)
    return PoolPath(
        path=path,
        quality=quality,
        value_spans=answer_determining_spans(what.question.text, path.text, start, end),
        tokens=tokens,
        aligned=tuple(aligned_positions(tokens)) if len(students) > 1 else (),
    )
