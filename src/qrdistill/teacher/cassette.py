"""A recorded teacher ("cassette"): any run's ledger answers for the teacher that wrote it, at no cost.

A cell of the grid is looked up by question, style and sample. What the recorded run does not hold stays a hole: it is counted,
never made up. States, hidden thinking and token counts are replayed as they were; the cost is 0.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from qrdistill.config import content_hash
from qrdistill.config.endpoints import CassetteTeacherConfig
from qrdistill.errors import ConfigError, DataError, suggest
from qrdistill.store import Ledger
from qrdistill.teacher.base import Reply
from qrdistill.types import Attempt, PathRequest, Question, ReasoningPath

Key = tuple[str, str, int]


class CassetteTeacher:
    """Answers from another run's ledger.

    Raises:
        DataError: there is no such run, or its ledger cannot be read.
        ConfigError: the run has several teachers (or not the named one) and the config does not say which.
    """

    version = "1"

    def __init__(self, config: CassetteTeacherConfig) -> None:
        self.name = config.name
        path = Path(config.run) / "ledger.sqlite"
        if not path.is_file():
            raise DataError(f"teacher {config.name!r}: {config.run} holds no ledger; give the folder of a run that has paths")
        ledger = Ledger(path, is_read_only=True)
        try:
            teacher = _choose(config, [name for (name,) in ledger.execute("SELECT DISTINCT teacher FROM paths ORDER BY 1")])
            recorded = ledger.all(ReasoningPath, "teacher = ?", (teacher,))
        finally:
            ledger.close()
        self._paths = {(path.question_id, path.style, path.sample): path for path in recorded}

    def sampling(self, style: str) -> str:
        """A recording has one sampling per style: the hash of what was recorded for it."""
        recorded = sorted([*key, path.state, path.text] for key, path in self._paths.items() if key[1] == style)
        return json.dumps({"recording": content_hash(recorded)})

    async def answer(self, work: Iterable[tuple[PathRequest, Question]]) -> AsyncIterator[Reply]:
        """Hand out what was recorded; a request without a recording gets no path and no attempt."""
        for request, question in work:
            recorded = self._paths.get((question.id, request.style, request.sample))
            if recorded is None:
                yield Reply(request=request, path=None, attempts=())
                continue
            path = dataclasses.replace(recorded, id=request.id, teacher=self.name, cost_usd=0.0)
            attempt = Attempt(id=f"{request.id}.replayed", path_id=request.id, started_s=0.0, finished_s=0.0, outcome="ok")
            yield Reply(request=request, path=path, attempts=(attempt,))


def _choose(config: CassetteTeacherConfig, teachers: list[str]) -> str:
    if not teachers:
        raise DataError(f"teacher {config.name!r}: the run {config.run} has no paths; let it generate some first")
    if config.teacher in teachers or (not config.teacher and len(teachers) == 1):
        return config.teacher or teachers[0]
    hint = suggest(config.teacher, teachers)
    asked = f"has no teacher {config.teacher!r}{hint}" if config.teacher else "has several teachers"
    raise ConfigError(f"teacher {config.name!r}: the run {config.run} {asked}; set `teacher` to one of {', '.join(teachers)}")
