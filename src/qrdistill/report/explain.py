"""One question's whole story: its paths with what was found about them, who was trained on them, and the students' answers."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qrdistill.errors import UsageError
from qrdistill.report.reading import place
from qrdistill.report.text import as_cell, as_text
from qrdistill.store import Ledger, Run
from qrdistill.types import (
    AnswerVerdict,
    FilterDecision,
    JudgeVerdict,
    PlantedFlaw,
    Prediction,
    Question,
    ReasoningPath,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSummary:
    """What the router decided about one path for one student, over the whole training."""

    student: str
    num_decisions: int
    num_routed: int
    first_prob: float
    last_prob: float
    mean_utility: float
    """NaN where the utility was never measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStory:
    """One path and everything that was found about it; a part is None or empty where its stage has not run."""

    path: ReasoningPath
    verdict: AnswerVerdict | None
    judgements: tuple[JudgeVerdict, ...]
    decision: FilterDecision | None
    planted: PlantedFlaw | None
    routes: tuple[RouteSummary, ...]

    @property
    def failing_step(self) -> str:
        """The first step a judge dropped the path for, "" if none was named."""
        return next((j.step for j in self.judgements if j.decision == "drop" and j.step), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything the ledger knows about one question."""

    question: Question
    paths: tuple[PathStory, ...]
    predictions: tuple[Prediction, ...]

    def to_dict(self) -> dict[str, Any]:
        """The story as plain JSON values (NaN becomes null)."""
        plain: dict[str, Any] = _plain(self)
        return plain


def explain(run: Run, question_id: str) -> Story:
    """Tell one question's story.

    Args:
        run: the run to read.
        question_id: a question's id, or a beginning of one that no other question shares.

    Raises:
        UsageError: no question has this id, or several begin with it (close ids are named).
        DataError: the run has no ledger yet.
    """
    return stories(run, [find_question(run.ledger, question_id)])[0]


def find_question(ledger: Ledger, question_id: str) -> Question:
    """The question with this id or unique beginning of an id."""
    if exact := ledger.all(Question, "id = ?", [as_cell(question_id)]):
        return exact[0]
    beginning = as_cell(question_id)
    starting = ledger.all(Question, "substr(id, 1, ?) = ?", [len(beginning), beginning]) if beginning else []
    if len(starting) == 1:
        return starting[0]
    if starting:
        some = ", ".join(repr(question.id) for question in starting[:5])
        raise UsageError(
            f"{len(starting)} questions begin with {question_id!r} "
            f"({some}{', …' if len(starting) > 5 else ''}); give more of the id"
        )
    known = [question.id for question in ledger.iterate(Question)]
    close = difflib.get_close_matches(question_id, known[:20_000], n=3, cutoff=0.5) or known[:3]
    hint = f"ids like it: {', '.join(repr(name) for name in close)}" if close else "the run has no questions yet"
    raise UsageError(f"no question {question_id!r} among the {len(known)} of this run; {hint}")


def stories(run: Run, questions: Sequence[Question]) -> list[Story]:
    """The stories of a handful of questions (one query a record type, so keep it to some hundreds)."""
    ledger = run.ledger
    students = [student.name for student in run.config.students]
    ids = [as_cell(question.id) for question in questions]
    holes = ", ".join("?" * len(ids))
    of_paths = f"path_id IN (SELECT id FROM paths WHERE question_id IN ({holes}))"
    verdicts = {v.path_id: v for v in ledger.iterate(AnswerVerdict, of_paths, ids)}
    decisions = {d.path_id: d for d in ledger.iterate(FilterDecision, f"question_id IN ({holes})", ids)}
    planted = {p.path_id: p for p in ledger.iterate(PlantedFlaw, of_paths, ids)}
    judgements = _grouped(ledger.iterate(JudgeVerdict, of_paths, ids), "path_id")
    predictions = _grouped(ledger.iterate(Prediction, f"question_id IN ({holes})", ids), "question_id")
    routes = _route_summaries(ledger, of_paths, ids, students)
    paths = _grouped(ledger.iterate(ReasoningPath, f"question_id IN ({holes})", ids), "question_id")
    for found in paths.values():
        found.sort(key=lambda path: (path.teacher, place(path.style, run.config.generate.styles), path.sample, path.id))
    return [
        Story(
            question=question,
            paths=tuple(
                PathStory(
                    path=path,
                    verdict=verdicts.get(path.id),
                    judgements=tuple(judgements[path.id]),
                    decision=decisions.get(path.id),
                    planted=planted.get(path.id),
                    routes=routes.get(path.id, ()),
                )
                for path in paths[question.id]
            ),
            predictions=tuple(
                sorted(predictions[question.id], key=lambda p: (place(p.student, students), p.arm != "zero_shot", p.arm, p.id))
            ),
        )
        for question in questions
    ]


def _grouped(records: Iterable[Any], key: str) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for record in records:
        groups[getattr(record, key)].append(record)
    return groups


def _route_summaries(
    ledger: Ledger, where: str, ids: Sequence[str | bytes], students: Sequence[str]
) -> dict[str, tuple[RouteSummary, ...]]:
    sql = f"SELECT path_id, student, prob, is_routed, utility FROM routes WHERE {where} ORDER BY path_id, student, step"
    decided: dict[tuple[str, str], list[tuple[float, bool, float | None]]] = defaultdict(list)
    for path_id, student, prob, is_routed, utility in ledger.execute(sql, ids):
        decided[as_text(path_id), as_text(student)].append((prob, bool(is_routed), utility))
    summaries: dict[str, list[RouteSummary]] = defaultdict(list)
    for (path_id, student), steps in decided.items():
        measured = [utility for _, _, utility in steps if utility is not None]
        summaries[path_id].append(
            RouteSummary(
                student=student,
                num_decisions=len(steps),
                num_routed=sum(is_routed for _, is_routed, _ in steps),
                first_prob=steps[0][0],
                last_prob=steps[-1][0],
                mean_utility=sum(measured) / len(measured) if measured else math.nan,
            )
        )
    return {path_id: tuple(sorted(found, key=lambda r: place(r.student, students))) for path_id, found in summaries.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
