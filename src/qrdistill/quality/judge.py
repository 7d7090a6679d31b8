"""What a judge is: something that reads the steps of a path whose answer is right and says whether they are sound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Protocol

from qrdistill.store import Run
from qrdistill.tasks.base import Task
from qrdistill.types import JudgeVerdict, Question, ReasoningPath

Work = tuple[Question, ReasoningPath]


class Judge(Protocol):
    """A source of findings. The filter stage gives it paths and saves findings as they come, in any order."""

    name: str
    """Names judge, version and settings: findings under the same name are reused."""
    is_exact: bool
    """True when a drop is a proof (a statement was re-computed and is false), False when it is an opinion."""

    def judge(self, work: Iterable[Work]) -> AsyncIterator[JudgeVerdict]:
        """Judge every path once, in any order; a path that could not be judged is left out.

        Raises:
            AuthError, PausedError, ProviderError: as for a teacher; what was judged so far is saved.
        """


JudgeFactory = Callable[[Any, Run, Mapping[str, Task]], Judge | None]
"""From a judge's config, the run (opened for writing) and its tasks to the judge; None judges nothing."""
