"""What another grader says about the teachers' paths, without asking a teacher again."""

from __future__ import annotations

from dataclasses import dataclass

from qrdistill.progress import SILENT, Progress
from qrdistill.quality.correctness import check_answers
from qrdistill.store import Run
from qrdistill.tasks.registry import load_tasks
from qrdistill.tasks.verify import GRADER_VERSION
from qrdistill.types import AnswerVerdict, Question, ReasoningPath


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFlip:
    """A path whose verdict today's grader would change, with what was read as its final answer then and now."""

    path_id: str
    question_id: str
    style: str
    before: str
    after: str
    read_before: str
    read_after: str


def regrade_paths(run: Run, *, progress: Progress = SILENT) -> list[PathFlip]:
    """Grade the saved paths again where the grader has changed since the filter; nothing is written.

    The filter's verdicts and decisions are what the students were trained on, so they stay;
    :func:`qrdistill.quality.filter.filter_again` takes the new ones.

    Raises:
        UsageError: the filter stage is not done.
    """
    with run.owned():
        run.require("filter")
        old = {
            verdict.path_id: verdict for verdict in run.ledger.iterate(AnswerVerdict) if verdict.grader_version != GRADER_VERSION
        }
        paths = [path for path in run.ledger.iterate(ReasoningPath) if path.id in old]
        questions = {question.id: question for question in run.ledger.iterate(Question)}
        new = check_answers(load_tasks(run.config), questions, paths, progress)
        return [
            PathFlip(
                path_id=path.id,
                question_id=path.question_id,
                style=path.style,
                before=old[path.id].verdict,
                after=new[path.id].verdict,
                read_before=old[path.id].extracted,
                read_after=new[path.id].extracted,
            )
            for path in paths
            if path.id in new and old[path.id].verdict != new[path.id].verdict
        ]
