"""The rules of the filter that need no judge: each drops paths of a pool and says why.

They run in the order of this file; the first rule that fails names the drop, so counts add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from qrdistill.tasks.leakage import Leak, LeakIndex
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
    """Paths that give a test question away: by their question, the one a stream's reply made up, or in their text."""
    for path_id, leak in find_leaks(pool).items():
        pool.dropped[path_id] = ("leak", f"{leak.how} {leak.question_id}")


def find_leaks(pool: Pool) -> dict[str, Leak]:
    """Which of the paths that are left give which test question away (see :mod:`qrdistill.tasks.leakage`)."""
    index = LeakIndex(question for question in pool.questions.values() if question.split == "test")
    of_question = cache(lambda id: index.question(pool.questions[id]))
    found: dict[str, Leak] = {}
    for path in pool.left():
        question = pool.questions[path.question_id]
        made_up = asked(question, path, "").question
        leak = of_question(question.id) or index.path(question, path.text)
        if leak is None and made_up is not question:
            leak = index.question(made_up)
        if leak is not None:
            found[path.id] = leak
    return found


def drop_wrong(pool: Pool) -> None:
    """Paths whose final answer does not match, cannot be read, or could not be compared in time."""
    for path in pool.left():
        verdict = pool.verdicts[path.id]
        if verdict.verdict != "match":
            pool.dropped[path.id] = (verdict.verdict, verdict.reason)


def drop_duplicates(pool: Pool) -> None:
    """The same text twice for one question, but for case and white space: the first id stays."""
    first: dict[tuple[str, str], ReasoningPath] = {}
    for path in pool.left():
        original = first.setdefault((path.question_id, normalise(path.text)), path)
        if original is not path:
            how = "the same text as" if original.text == path.text else "the same text, but for case and spaces, as"
            pool.dropped[path.id] = ("duplicate", f"{how} {original.id}")
