"""The rules of the filter that need no judge: each drops paths of a pool and says why.

They run in the order of this file; the first rule that fails names the drop, so counts add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qrdistill.tasks.prompts import question_block
from qrdistill.tasks.reasoning.family import normalise
from qrdistill.teacher.streams import asked
from qrdistill.types import AnswerVerdict, Question, ReasoningPath


@dataclass(slots=True)
class Pool:
    """Everything known about the paths under the filter."""

    questions: Mapping[str, Question]
    paths: Sequence[ReasoningPath]
    verdicts: Mapping[str, AnswerVerdict]
    dropped: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Path id -> reason and detail, of the rules so far."""

    def left(self) -> list[ReasoningPath]:
        """Paths no rule has dropped."""
        return [path for path in self.paths if path.id not in self.dropped]


def drop_unusable(pool: Pool) -> None:
    """Replies that are not a whole path."""
    for path in pool.paths:
        if path.state != "done":
            pool.dropped[path.id] = (path.state, "the reply is not a whole path")


def drop_leaks(pool: Pool) -> None:
    """Training and validation questions that are also test questions, and those a stream's reply made up."""
    tests = {_key(question): question.id for question in pool.questions.values() if question.split == "test"}
    for path in pool.left():
        question = pool.questions[path.question_id]
        if twin := tests.get(_key(question)) or tests.get(_key(asked(question, path, "").question)):
            pool.dropped[path.id] = ("leak", f"the question is also the test question {twin}")


def drop_wrong(pool: Pool) -> None:
    """Paths whose final answer does not match, cannot be read, or could not be compared in time."""
    for path in pool.left():
        verdict = pool.verdicts[path.id]
        if verdict.verdict != "match":
            pool.dropped[path.id] = (verdict.verdict, verdict.reason)


def drop_duplicates(pool: Pool) -> None:
    """The same text twice for one question: the first id stays."""
    first: dict[tuple[str, str], str] = {}
    for path in pool.left():
        original = first.setdefault((path.question_id, normalise(path.text)), path.id)
        if original != path.id:
            pool.dropped[path.id] = ("duplicate", f"the same text as {original}")


def _key(question: Question) -> str:
    return normalise(question_block(question))
