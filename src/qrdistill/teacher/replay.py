"""A recorded teacher: paths that somebody saved earlier, one JSON object a line with the question's id, style and response.

A request without a recorded path stays a hole: it is counted, never made up. Recordings of questions or styles that nobody
asks for are ignored.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from qrdistill.config import ReplayTeacherConfig, content_hash
from qrdistill.errors import DataError
from qrdistill.tasks.rows import column_names, read_rows, shown, text_of
from qrdistill.teacher.base import Reply
from qrdistill.types import Attempt, PathRequest, Question, ReasoningPath

FIELDS = ("id", "style", "response", "sample")
Key = tuple[str, str, int]


class ReplayTeacher:
    """Answers from a recording.

    Args:
        config: the file and how its columns are named.

    Raises:
        ConfigError: `columns` maps an unknown field.
        DataError: the file is missing or malformed, or records one path twice.
    """

    version = "1"

    def __init__(self, config: ReplayTeacherConfig) -> None:
        self.name = config.name
        self._paths = _read(config)

    @property
    def styles(self) -> set[str]:
        """Styles the recording holds a path of."""
        return {style for _, style, _ in self._paths}

    def num_samples(self, style: str) -> int:
        """Most paths the recording holds of a style for one question."""
        return max((sample + 1 for _, recorded, sample in self._paths if recorded == style), default=0)

    def sampling(self, style: str) -> str:
        """A recording has one sampling per style: the hash of what was recorded for it."""
        recorded = sorted([list(key), text] for key, text in self._paths.items() if key[1] == style)
        return json.dumps({"recording": content_hash(recorded)})

    async def answer(self, work: Iterable[tuple[PathRequest, Question]]) -> AsyncIterator[Reply]:
        """Hand out what was recorded; a request without a recording gets no path and no attempt."""
        for request, question in work:
            text = self._paths.get((question.id, request.style, request.sample))
            if text is None:
                yield Reply(request=request, path=None, attempts=())
                continue
            path = ReasoningPath(
                id=request.id,
                question_id=question.id,
                teacher=self.name,
                style=request.style,
                sample=request.sample,
                text=text,
                state="done" if text.strip() else "empty",
                model=self.name,
            )
            attempt = Attempt(id=f"{request.id}/replay", path_id=request.id, started_s=0.0, finished_s=0.0, outcome="ok")
            yield Reply(request=request, path=path, attempts=(attempt,))


def _read(config: ReplayTeacherConfig) -> dict[Key, str]:
    columns = column_names(config.columns, FIELDS, where=f"teacher {config.name!r}")
    paths: dict[Key, str] = {}
    lines: dict[Key, int] = {}
    for number, row in read_rows(Path(config.path)):
        where = f"{config.path}, line {number}"
        key = (
            text_of(row, columns["id"], where=where),
            text_of(row, columns["style"], where=where),
            _sample(row, columns, where),
        )
        if key in lines:
            raise DataError(
                f"{where}: a path for question {key[0]!r}, style {key[1]!r}, sample {key[2]} stands in line {lines[key]}; "
                "number repeated paths with the field sample"
            )
        response = row.get(columns["response"])
        if not isinstance(response, str):
            raise DataError(f"{where}: the field {columns['response']!r} is {shown(response)}, expected the text of a path")
        paths[key], lines[key] = response, number
    if not paths:
        raise DataError(f"{config.path} holds no paths; expected one JSON object a line with id, style and response")
    return paths


def _sample(row: Mapping[str, Any], columns: Mapping[str, str], where: str) -> int:
    sample = row.get(columns["sample"], 0)
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 0:
        raise DataError(f"{where}: the field {columns['sample']!r} is {shown(sample)}, expected a number from 0")
    return sample
