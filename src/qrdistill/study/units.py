"""The pieces of work of a study, each resumable and each done in one process: fill a pool, count its tokens, run an arm."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qrdistill.config import Config, content_hash, validate
from qrdistill.errors import DataError, RunInUseError
from qrdistill.progress import SILENT, Progress
from qrdistill.store import STAGES, Run, adopt, write_json
from qrdistill.types import Prediction, Question

RESULT_VERSION = "1"
"""Raised by hand when what a result holds changes."""
ORPHAN_S = 120.0
"""How long a folder that another process owns is waited for."""
Kind = Literal["generate", "filter", "count", "zero_shot", "arm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One piece of work.

    `source` is the folder of the run whose stages are taken over ("" for none), `result` the file an arm's answers go to,
    `part` the student whose answers count ("" for all).
    """

    kind: Kind
    folder: str
    config: Config
    source: str = ""
    arm: str = ""
    seed: int = 0
    part: str = ""
    result: str = ""

    @property
    def label(self) -> str:
        """What to call it in messages."""
        name = f"{self.arm}/{self.part}" if self.part else self.arm
        return f"{name}, seed {self.seed}" if self.arm else f"{self.kind} of {self.config.name}, seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        fields = ("kind", "folder", "source", "arm", "seed", "part", "result")
        return {name: getattr(self, name) for name in fields} | {"config": self.config.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Unit:
        """Read back `to_dict`."""
        return cls(**{**tree, "config": validate(tree["config"])})

    @property
    def fingerprint(self) -> str:
        """Hash of everything the result depends on."""
        run = Run(self.folder, self.config) if not Path(self.folder).is_dir() else _unopened(self)
        stage: Literal["generate", "evaluate"] = "generate" if self.kind == "zero_shot" else "evaluate"
        evaluation = self.config.evaluation.model_dump(mode="json")
        students = [student.model_dump(mode="json") for student in self.config.students]
        return content_hash([RESULT_VERSION, self.kind, run.fingerprint(stage), evaluation, students, self.part])


def _unopened(unit: Unit) -> Run:
    """The run of a unit whose folder may hold another config (it is refused when the unit is done, not when it is looked at)."""
    return Run(unit.folder, unit.config, is_update=True)


def do(unit: Unit, progress: Progress = SILENT) -> None:
    """Do one piece of work; what is done already is not done again."""
    run = Run(unit.folder, unit.config)
    try:
        with _owned(run, progress):
            if unit.source:
                source = Run(unit.source)
                adopt(run, source)
                source.close()
            _DO[unit.kind](unit, run, progress)
    finally:
        run.close()


@contextmanager
def _owned(run: Run, progress: Progress) -> Iterator[None]:
    """Own the run's folder; a worker of a study that was killed may need a while to end the step it is in."""
    with ExitStack() as stack:
        deadline_s = time.monotonic() + ORPHAN_S
        while True:
            try:
                stack.enter_context(run.owned())
                break
            except RunInUseError as error:
                if time.monotonic() > deadline_s:
                    raise
                progress.note(f"{error}; waiting for it to end")
                time.sleep(1.0)
        yield


def _generate(unit: Unit, run: Run, progress: Progress) -> None:
    from qrdistill.pipeline import run_stage

    run_stage(run, "generate", progress=progress)


def _filter(unit: Unit, run: Run, progress: Progress) -> None:
    from qrdistill.pipeline import run_stage

    run_stage(run, "generate", progress=progress)
    run_stage(run, "filter", progress=progress)


def _count(unit: Unit, run: Run, progress: Progress) -> None:
    """Label tokens of each student when each question gives `budget` of its paths once (see `default_budget`)."""
    from qrdistill.study.variants import budget_of
    from qrdistill.training.pool import load_pool
    from qrdistill.training.team import load_team

    _filter(unit, run, progress)
    students = load_team(run.config, progress.note)
    tokens = dict.fromkeys((student.name for student in students), 0.0)
    budget = budget_of(run.config)
    for question in load_pool(run, students)[0]:
        share = min(budget / len(question.paths), 1.0)
        for path in question.paths:
            for student, encoded in zip(students, path.tokens, strict=True):
                tokens[student.name] += share * len(encoded.response_ids)
    write_json(Path(unit.result), {"tokens_per_epoch": tokens, "fingerprint": run.fingerprint("filter")})


def _zero_shot(unit: Unit, run: Run, progress: Progress) -> None:
    from qrdistill.evaluation.evaluate import answer_zero_shot, regrade

    _generate(unit, run, progress)
    answer_zero_shot(run, progress=progress)
    regrade(run)
    names = [student.name for student in run.config.students]
    answers = run.ledger.all(Prediction, "arm = 'zero_shot'")
    _write_result(unit, run, answers, dict.fromkeys(names, 0), 0.0)


def _arm(unit: Unit, run: Run, progress: Progress) -> None:
    from qrdistill.pipeline import run_stage

    started_s = time.monotonic()
    for stage in STAGES[: STAGES.index("evaluate") + 1]:
        run_stage(run, stage, progress=progress)
    tokens = run.summary("train")["label_tokens"]
    answers = run.ledger.all(Prediction, "arm = 'trained'")
    _write_result(unit, run, answers, tokens, time.monotonic() - started_s)


def _write_result(unit: Unit, run: Run, answers: Sequence[Prediction], tokens: dict[str, int], took_s: float) -> None:
    tasks = {question.id: question.task for question in run.ledger.all(Question, "split = 'test'")}
    counted = [unit.part] if unit.part else [student.name for student in run.config.students]
    students: dict[str, Any] = {}
    for name in counted:
        mine = sorted((answer for answer in answers if answer.student == name), key=lambda answer: answer.question_id)
        if not mine:
            raise DataError(f"{run.folder}: student {name!r} has no answer; delete the folder and run the study again")
        students[name] = {
            "train_tokens": tokens[name],
            "answers": {
                answer.question_id: {
                    "task": tasks[answer.question_id],
                    "verdict": answer.verdict,
                    "is_truncated": answer.finish == "length",
                }
                for answer in mine
            },
        }
    head = {"kind": unit.kind, "arm": unit.arm, "seed": unit.seed, "part": unit.part, "fingerprint": unit.fingerprint}
    write_json(Path(unit.result), {**head, "seconds": round(took_s, 1), "students": students})


_DO = {"generate": _generate, "filter": _filter, "count": _count, "zero_shot": _zero_shot, "arm": _arm}
