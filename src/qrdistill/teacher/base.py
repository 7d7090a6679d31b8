"""What a teacher is: something that answers one request with one reasoning path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol

from qrdistill.types import Attempt, PathRequest, PlantedFlaw, Question, ReasoningPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Everything a teacher has to say about one request.

    `path` is None when every attempt failed: the request stays a hole that a later run refills. `planted` is the hidden truth
    an embedded teacher records for audits (None for every real teacher).
    """

    request: PathRequest
    path: ReasoningPath | None
    attempts: tuple[Attempt, ...]
    planted: PlantedFlaw | None = None


class Teacher(Protocol):
    """A source of reasoning paths. The generate stage gives it requests and saves replies as they come, in any order."""

    name: str
    version: str
    """Part of every path's identity: a change here is another teacher."""

    def sampling(self, style: str) -> str:
        """The sampling parameters of a style as canonical JSON (part of a path's identity)."""

    def answer(self, work: Iterable[tuple[PathRequest, Question]]) -> AsyncIterator[Reply]:
        """Answer every request once, in any order, keeping as many in flight as the teacher's limits allow.

        Raises:
            AuthError: the key is missing or refused.
            PausedError: a cap or a quota is reached; what was answered so far is already saved.
            ProviderError: the endpoint cannot be reached.
        """
