"""The verb regrade: saved texts under today's grader, and beside lm-evaluation-harness's filters."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qrdistill.cli import options
from qrdistill.cli.output import Session, table
from qrdistill.cli.stages import score_row, score_table
from qrdistill.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qrdistill.evaluation.cross_check import Agreement
    from qrdistill.store import Run

END_CHARS = 60
"""How much of an answer's end is shown beside a disagreement (all of it with --json)."""


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("regrade")(regrade)


def regrade(
    ctx: typer.Context,
    target: options.RunFolder,
    paths: Annotated[
        bool, typer.Option("--paths", help="Decide on the paths again by their new verdicts; what rests on them follows.")
    ] = False,
    cross_check: Annotated[
        bool, typer.Option("--cross-check", help="Also grade the answers with the filters of lm-evaluation-harness.")
    ] = False,
    json_: options.Json = False,
) -> None:
    """Grade the saved answers and paths again with today's grader and say which verdicts changed; nothing is generated."""
    from qrdistill.evaluation.evaluate import regrade as regrade_answers
    from qrdistill.quality.filter import filter_again
    from qrdistill.quality.regrade import regrade_paths
    from qrdistill.types import Score

    session: Session = ctx.obj
    opened = options.open_run(session, target)
    opened.require("filter")
    of_paths = [dataclasses.asdict(flip) for flip in regrade_paths(opened, progress=session.progress)]
    of_answers = [dataclasses.asdict(flip) for flip in regrade_answers(opened)]
    if paths:
        filter_again(opened, progress=session.progress)
    todo = [stage for stage in ("train", "evaluate") if not opened.is_done(stage)]
    scores = opened.ledger.all(Score)
    second = _second_opinions(opened) if cross_check else []
    opened.close()
    session.close()
    payload = {
        "verb": "regrade",
        "run": str(opened.folder),
        "flips": of_answers,
        "path_flips": of_paths,
        "scores": [score_row(score) for score in scores],
        **({"cross_check": [dataclasses.asdict(agreement) for agreement in second]} if cross_check else {}),
    }
    shown = [*_flip_tables("answers of the students", of_answers), *_flip_tables("paths of the teachers", of_paths)]
    if of_paths and not paths:
        shown.append("the filter's decisions stay as they are; to decide again by the new verdicts, add --paths")
    shown += score_table(scores) + (_agreement_tables(second) if cross_check else [])
    session.result(payload, shown, next_step=f"qrdistill {'run' if todo else 'report'} {shlex.quote(target)}")


def _flip_tables(what: str, flips: Sequence[dict[str, Any]]) -> list[RenderableType]:
    """How many verdicts changed, and the first of them."""
    kinds = Counter(f"{flip['before']} -> {flip['after']}" for flip in flips)
    counts = ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items()))
    head = f"{what}: {len(flips)} verdicts changed{f' ({counts})' if counts else ''}"
    rows = [[str(value) for value in flip.values()] for flip in flips[:20]]
    return [head, table("", tuple(flips[0]), rows)] if flips else [head]


def _second_opinions(run: Run) -> list[Agreement]:
    """Agreement on every saved answer of a run.

    Raises:
        UsageError: there are no answers of a kind the harness has a task for, or it is not installed.
    """
    from qrdistill.evaluation.cross_check import TASK_FILES, Answered, cross_check
    from qrdistill.types import Prediction, Question

    questions = {question.id: question for question in run.ledger.iterate(Question)}
    answers = [
        Answered(
            question=questions[answer.question_id],
            by=f"{answer.student}/{answer.arm}",
            text=answer.text,
            verdict=answer.verdict,
            extracted=answer.extracted,
        )
        for answer in run.ledger.iterate(Prediction)
        if answer.question_id in questions
    ]
    found = cross_check(answers)
    if not found:
        raise UsageError(
            f"{run.folder} holds no answers to compare ({len(answers)} answers); expected some to questions of the kinds "
            f"{', '.join(TASK_FILES)}: evaluate a run that has such tasks"
        )
    return found


def _agreement_tables(found: Sequence[Agreement]) -> list[RenderableType]:
    """Agreement of each filter with its n, then every disagreement."""
    rows = [(one.filter, one.n, one.num_agree, f"{one.num_agree / one.n:.1%}") for one in found]
    shown: list[RenderableType] = [table("the same verdict as lm-evaluation-harness", ("filter", "n", "agree", "share"), rows)]
    for one in found:
        listed = [
            (
                other.question_id,
                other.by,
                other.gold,
                f"{other.ours} {other.ours_read}",
                f"{other.theirs} {other.theirs_read}",
                other.text[-END_CHARS:],
            )
            for other in one.disagreements
        ]
        columns = ("question", "answered by", "gold", "our verdict", "their verdict", "the answer ends")
        shown += [table(f"disagreements with {one.filter}", columns, listed)] if listed else []
    return shown
