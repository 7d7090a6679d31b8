"""Students' own right answers enter the pool and are routed to everybody like a teacher's paths.

A self-taught reasoner learns from what it got right (Zelikman et al., 2022, "STaR"), and peers learn from what is likely under a
model of their own size. An answer enters when it was finished, states its answer in the asked-for form, and the answer check
finds it right; a right answer does not vouch for the steps before it. The router knows nothing of such paths in advance (no
validation path has their style), so their gates follow the budget and the text.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qrdistill.config import OWN_STYLE, OwnSamplesConfig, content_hash
from qrdistill.errors import DataError
from qrdistill.routing.encoder import encode
from qrdistill.store import export_records
from qrdistill.tasks.reasoning.family import normalise
from qrdistill.teacher.streams import Asked
from qrdistill.training.extras.base import Desk, Extra
from qrdistill.training.extras.sampling import Sample, is_round, sample_answers
from qrdistill.training.pool import PoolPath, PoolQuestion, pool_path
from qrdistill.types import AnswerVerdict, ReasoningPath

if TYPE_CHECKING:
    from qrdistill.training.trainer import Trainer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OwnPath:
    """A student's right answer, with the step before which it was given and the characters that hold its final answer."""

    id: str
    question_id: str
    student: str
    step: int
    text: str
    extracted: str
    start: int
    end: int


class OwnSamples(Extra):
    """Asks every student at every round but the one before the first step, and keeps the newest right answers."""

    kind = "own_samples"
    styles = (OWN_STYLE,)

    def __init__(self, config: OwnSamplesConfig) -> None:
        self.config = config
        self._rows: list[OwnPath] = []
        self._counts: dict[str, int] = {}

    def before_step(self, trainer: Trainer) -> None:
        """Ask, check, and change the pool."""
        if not trainer.step or not is_round(trainer, self.config):
            return
        samples = sample_answers(trainer, self.config)
        fresh = [_own_path(trainer, sample, number) for number, sample in enumerate(samples) if is_right(sample)]
        self._rows = _newest(trainer.train_pool, [*fresh, *self._rows], self.config.keep)
        self._enter(trainer)

    def _enter(self, trainer: Trainer) -> None:
        """Put the answers that are kept, and no others, into the pool."""
        students, pool = trainer.team.students, trainer.train_pool
        by_question: dict[str, list[OwnPath]] = defaultdict(list)
        for row in self._rows:
            by_question[row.question_id].append(row)
        self._counts = dict.fromkeys((student.name for student in students), 0)
        entered: dict[str, str] = {}
        for place, question in enumerate(pool):
            own = [path for row in by_question[question.question.id] if (path := self._path(trainer, question, row)) is not None]
            for path in own:
                self._counts[path.path.teacher] += 1
                entered[path.path.id] = path.path.text
            pool[place] = dataclasses.replace(question, paths=(*taught(question), *own))
        encoder = getattr(trainer.config.method.policy, "encoder", None)
        if entered and encoder is not None:
            cache, device = trainer.run.folder / "cache", trainer.config.runtime.device
            is_first = trainer.team.ranks.is_first
            rows = {"rows": encode(list(entered.values()), encoder, cache, device=device)} if is_first else {}
            trainer.embeddings |= dict(zip(entered, trainer.team.ranks.tell_tensors(rows)["rows"], strict=True))

    def _path(self, trainer: Trainer, question: PoolQuestion, row: OwnPath) -> PoolPath | None:
        path = ReasoningPath(
            id=row.id,
            question_id=row.question_id,
            teacher=row.student,
            style=OWN_STYLE,
            sample=row.step,
            text=row.text,
        )
        verdict = AnswerVerdict(
            path_id=path.id, verdict="match", extracted=row.extracted, start=row.start, end=row.end, is_strict=True
        )
        what = Asked(question=question.question, path=path, prompt=question.prompt)
        try:
            return pool_path(trainer.team.students, what, self.config.quality, verdict)
        except DataError:  # too long in another student's tokens
            return None

    def after_steps(self, trainer: Trainer, desk: Desk) -> None:
        """Leave the answers of the last rounds where they can be looked at."""
        if trainer.team.ranks.is_first and self._rows:
            export_records(trainer.run.exports, "own_samples", self._rows)

    def metrics(self) -> dict[str, float]:
        """Answers of each student that are in the pool."""
        return {f"pool/own_samples/{name}": float(count) for name, count in self._counts.items()}

    def summary(self) -> dict[str, Any]:
        """The same, at the end."""
        return {"own_samples": self._counts}

    def state(self) -> dict[str, Tensor]:
        """The answers, as the bytes of JSON."""
        text = json.dumps([dataclasses.asdict(row) for row in self._rows])
        return {"rows": torch.tensor(list(text.encode("ascii")), dtype=torch.uint8)}

    def load_state(self, trainer: Trainer, state: dict[str, Tensor]) -> None:
        """Put the saved answers back into the pool."""
        self._rows = [OwnPath(**row) for row in json.loads(bytes(state["rows"].tolist()))]
        self._enter(trainer)


def is_right(sample: Sample) -> bool:
    """Whether an answer may be learned from: ended by itself, and right in the asked-for form."""
    return sample.verdict == "match" and sample.is_strict and sample.finish == "stop"


def taught(question: PoolQuestion) -> list[PoolPath]:
    """The paths a teacher wrote."""
    return [path for path in question.paths if path.path.style != OWN_STYLE]


def _own_path(trainer: Trainer, sample: Sample, number: int) -> OwnPath:
    question, student = trainer.train_pool[sample.question].question.id, trainer.team.students[sample.student].name
    return OwnPath(
        id=content_hash([OWN_STYLE, student, question, trainer.step, number]),
        question_id=question,
        student=student,
        step=trainer.step,
        text=sample.text,
        extracted=sample.extracted,
        start=sample.start,
        end=sample.end,
    )


def _newest(pool: list[PoolQuestion], rows: list[OwnPath], keep: int) -> list[OwnPath]:
    """The first `keep` rows of each question and student whose text the question's other paths do not have."""
    texts = {question.question.id: {normalise(path.path.text) for path in taught(question)} for question in pool}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    kept = []
    for row in rows:
        text, owner = normalise(row.text), (row.question_id, row.student)
        if text not in texts[row.question_id] and counts[owner] < keep:
            texts[row.question_id].add(text)
            counts[owner] += 1
            kept.append(row)
    return kept
