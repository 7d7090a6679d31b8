"""Kept paths as `messages`, the one format that TRL, LLaMA-Factory, ms-swift and axolotl all read.

A row is one kept path: the plain test-time prompt as the user's turn, the path as the assistant's. The other columns say where
the row comes from and are all that :mod:`qrdistill.sharing.incoming` needs to make questions and recorded paths of it again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qrdistill.errors import DataError
from qrdistill.store import Run, write_text


def message_rows(run: Run, split: str = "") -> Iterator[dict[str, Any]]:
    """The kept paths of a split ("" for all), in the order of question, style and path.

    Raises:
        UsageError: the filter stage is not done.
    """
    from qrdistill.tasks import load_tasks
    from qrdistill.types import FilterDecision, Question, ReasoningPath

    run.require("filter")
    tasks = load_tasks(run.config)
    questions = {question.id: question for question in run.ledger.iterate(Question)}
    kept = {decision.path_id: decision for decision in run.ledger.iterate(FilterDecision, "is_kept = 1")}
    for path in run.ledger.iterate(ReasoningPath, order="question_id, style, sample, id"):
        question = questions[path.question_id]
        if path.id not in kept or (split and question.split != split):
            continue
        yield {
            "messages": [
                {"role": "user", "content": tasks[question.task].prompt(question)},
                {"role": "assistant", "content": path.text},
            ],
            "question_id": question.id,
            "question": question.text,
            "answer": question.gold,
            "kind": question.kind,
            "choices": [list(pair) for pair in question.choices],
            "task": question.task,
            "split": question.split,
            "style": path.style,
            "teacher": path.teacher,
            "path_id": path.id,
            "quality": kept[path.id].quality,
        }


def write_messages(run: Run, path: Path) -> int:
    """Write every kept path as one JSON object a line; returns their number.

    Raises:
        DataError: no path was kept.
    """
    rows = list(message_rows(run))
    if not rows:
        raise DataError(f"{run.folder} has no kept path to export; see why with: qrdistill report {run.folder}")
    write_text(path, as_lines(rows))
    return len(rows)


def as_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """One JSON object a line, ASCII-escaped, so that no text can break a line."""
    return "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
