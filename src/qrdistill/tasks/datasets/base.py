"""What is known about a published data set: where its rows are, which splits it has, and how a row becomes a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qrdistill.errors import DataError
from qrdistill.tasks.rows import shown
from qrdistill.types import AnswerKind, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files of a hub repository at a pinned commit ("main" where no commit is known; "" where the hub has none)."""

    repo: str
    revision: str
    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A row as a question, before it has a task and a split. `id` is empty where the data set has none."""

    text: str
    kind: AnswerKind
    gold: str
    id: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    family: str = ""
    level: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A published data set. `files` holds the official splits under our names (what it has no file for is split off `train`).

    `read` turns a row into a draft; it gets the row, how errors name it, and the name of its file. `sizes` are the published
    numbers of questions, for people. `test_share` is (test, all) where there is no official test split.
    """

    name: str
    title: str
    version: str
    """Changes whenever the questions do, their text included."""
    answers: str
    """Kinds of answers, for people."""
    files: Mapping[Split, tuple[Files, ...]]
    read: Callable[[Row, str, str], Draft]
    sizes: Mapping[Split, int]
    local: Mapping[Split, tuple[str, ...]] = field(default_factory=dict)
    """Further names its files have in a folder of the user's."""
    test_share: tuple[int, int] = (0, 0)


def field_of(row: Row, name: str, *, where: str) -> Any:
    """A field that must be there.

    Raises:
        DataError: it is not.
    """
    if name not in row:
        raise DataError(
            f"{where}: the field {name!r} is missing (fields: {', '.join(sorted(row)) or 'none'}); "
            "use the data set's own files, or read yours with the task kind 'jsonl' and its `columns`"
        )
    return row[name]


def lettered(choices: tuple[tuple[str, str], ...], answer: str, *, where: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Options under the letters A, B, ... and the letter of the answer, whatever labels the row uses.

    Raises:
        DataError: the answer is no label of the row.
    """
    labels = [label for label, _ in choices]
    if answer not in labels:
        found = shown(answer) if answer else "empty"
        raise DataError(f"{where}: the answer is {found}, expected one of the labels {', '.join(labels)}; mend that row")
    letters = [chr(ord("A") + number) for number in range(len(choices))]
    renamed = tuple((letter, text) for letter, (_, text) in zip(letters, choices, strict=True))
    return renamed, letters[labels.index(answer)]
