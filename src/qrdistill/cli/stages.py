"""Verbs that do work: run, generate, filter, train, evaluate, report."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qrdistill.cli import options
from qrdistill.cli.output import Session, table
from qrdistill.errors import UsageError
from qrdistill.training.launch import is_follower

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qrdistill.store import Run, Stage
    from qrdistill.types import Score

_NEXT: dict[str, str] = {
    "generate": "qrdistill filter {folder}",
    "filter": "qrdistill train {folder}",
    "train": "qrdistill evaluate {folder}",
    "evaluate": "qrdistill report {folder}",
    "report": "open {folder}/report.html, or ask for one question's story: qrdistill explain {folder} {question}",
}


class StageName(StrEnum):
    """The stages, in their order."""

    generate = "generate"
    filter = "filter"
    train = "train"
    evaluate = "evaluate"
    report = "report"


class EngineName(StrEnum):
    """Who makes the calls to paid teachers and judges."""

    local = "local"
    ray = "ray"


Engine = Annotated[
    EngineName | None,
    typer.Option("--engine", help="Who calls paid teachers and judges: this process, or Ray actors.", show_default=False),
]


def _with_engine(overrides: Sequence[str], engine: EngineName | None) -> list[str]:
    return [*overrides, *([f"runtime.engine={engine.value}"] if engine else [])]


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    for verb in (run, generate, filter_, train, evaluate, report):
        app.command(verb.__name__.rstrip("_"))(verb)


def run(
    ctx: typer.Context,
    recipe: options.RunOrRecipe,
    out: options.Out = "",
    until: Annotated[StageName, typer.Option("--until", help="The last stage to run.")] = StageName.report,
    seed: options.Seed = None,
    set_: options.Set = [],  # noqa: B006 - typer copies it
    update: options.Update = False,
    engine: Engine = None,
    json_: options.Json = False,
) -> None:
    """Run every stage of a recipe that is not done yet; the same command resumes."""
    from qrdistill.pipeline import run_pipeline

    session: Session = ctx.obj
    opened = options.open_run(session, recipe, out=out, overrides=_with_engine(set_, engine), seed=seed, is_update=update)
    stage: Stage = until.value
    done_before = [] if is_follower() else _done(opened)
    opened.close()
    finished = run_pipeline(opened.config, opened.folder, until=stage, is_update=update, progress=session.progress)
    if is_follower():
        return
    _show(session, "run", finished, done_before, stage)


def generate(
    ctx: typer.Context,
    target: options.RunOrRecipe,
    out: options.Out = "",
    seed: options.Seed = None,
    set_: options.Set = [],  # noqa: B006
    update: options.Update = False,
    engine: Engine = None,
    json_: options.Json = False,
) -> None:
    """Ask the teachers for every reasoning path that is missing."""
    _run_stage(ctx.obj, "generate", target, out=out, overrides=_with_engine(set_, engine), seed=seed, is_update=update)


def filter_(
    ctx: typer.Context,
    target: options.RunFolder,
    out: options.Out = "",
    seed: options.Seed = None,
    set_: options.Set = [],  # noqa: B006
    update: options.Update = False,
    engine: Engine = None,
    json_: options.Json = False,
) -> None:
    """Check the answer and the steps of every path; every drop has a reason."""
    _run_stage(ctx.obj, "filter", target, out=out, overrides=_with_engine(set_, engine), seed=seed, is_update=update)


def train(
    ctx: typer.Context,
    target: options.RunFolder,
    out: options.Out = "",
    seed: options.Seed = None,
    set_: options.Set = [],  # noqa: B006
    update: options.Update = False,
    json_: options.Json = False,
) -> None:
    """Train the students together on the kept paths."""
    _run_stage(ctx.obj, "train", target, out=out, overrides=set_, seed=seed, is_update=update)


def evaluate(
    ctx: typer.Context,
    target: options.RunFolder,
    out: options.Out = "",
    seed: options.Seed = None,
    set_: options.Set = [],  # noqa: B006
    update: options.Update = False,
    json_: options.Json = False,
) -> None:
    """Score every student on the test questions, before and after training."""
    _run_stage(ctx.obj, "evaluate", target, out=out, overrides=set_, seed=seed, is_update=update)


def report(
    ctx: typer.Context,
    targets: Annotated[list[str], typer.Argument(metavar="RUN...", help="A run folder, and any others to set beside it.")],
    open_: Annotated[bool, typer.Option("--open", help="Open the page in this machine's browser.")] = False,
    json_: options.Json = False,
) -> None:
    """Write report.html and report.md of a run, finished or not, or of a study."""
    from qrdistill.report import write_report
    from qrdistill.report.study import is_study, write_study_report

    session: Session = ctx.obj
    if is_study(targets[0]):
        page = str(write_study_report(targets))
        if open_:
            _open(session, page)
        session.result({"verb": "report", "study": targets[0], "report": page}, [f"report: {page}"], next_step=f"open {page}")
        return
    runs = [options.open_run(session, target) for target in targets]
    session.folder = runs[0].folder
    done_before = _done(runs[0])
    written = write_report(runs, progress=session.progress)
    if open_:
        _open(session, str(written))
    _show(session, "report", runs[0], done_before, "report")


def _open(session: Session, page: str) -> None:
    """Open a page in the browser of this machine; where there is none, the page can still be taken elsewhere."""
    import webbrowser

    try:
        is_open = webbrowser.get().open(Path(page).resolve().as_uri())
    except webbrowser.Error:
        is_open = False
    if not is_open:
        session.progress.note(
            f"no browser could be opened here; copy {page} to a machine that has one, or read report.md beside it"
        )


def _run_stage(
    session: Session, stage: Stage, target: str, *, out: str, overrides: Sequence[str], seed: int | None, is_update: bool
) -> None:
    from qrdistill.pipeline import company, run_stage
    from qrdistill.planning import check_names

    if stage != "generate" and options.is_recipe(target):
        raise UsageError(f"{stage} takes a run folder, not a recipe; start one with: qrdistill generate {target} -o RUN")
    opened = options.open_run(session, target, out=out, overrides=overrides, seed=seed, is_update=is_update)
    with company(opened) as is_first:
        if not is_first:
            return
        done_before = _done(opened)
        if stage not in done_before:
            check_names(opened.config, stages=[stage])
        with opened.owned():
            run_stage(opened, stage, progress=session.progress)
    _show(session, stage, opened, done_before, stage)


def _done(run: Run) -> list[str]:
    from qrdistill.store import STAGES

    return [stage for stage in STAGES if run.is_done(stage)]


def _show(session: Session, verb: str, run: Run, done_before: Sequence[str], last: Stage) -> None:
    from qrdistill.report.reading import some_question
    from qrdistill.store import STAGES
    from qrdistill.types import Score

    session.close()
    stages = STAGES[: STAGES.index(last) + 1] if verb == "run" else (last,)
    summaries = {stage: run.summary(stage) for stage in stages}
    scores = run.ledger.all(Score) if last in ("evaluate", "report") else []
    payload: dict[str, Any] = {
        "verb": verb,
        "run": str(run.folder),
        "did": [stage for stage in stages if stage not in done_before],
        "skipped": [stage for stage in stages if stage in done_before],
        "stages": summaries,
        "scores": [score_row(score) for score in scores],
    }
    shown: list[RenderableType] = [
        f"{stage}: {'already done' if stage in done_before else _state(run, stage)}{_brief(summary)}"
        for stage, summary in summaries.items()
    ]
    shown += score_table(scores)
    if last == "report":
        payload["report"] = str(run.folder / "report.html")
        shown.append(f"report: {run.folder / 'report.html'}")
    todo = [stage for stage in STAGES if not run.is_done(stage)]
    following = _NEXT[last] if last != "report" or not todo else f"qrdistill {todo[0]} {{folder}}"
    question = some_question(run)
    run.close()
    session.result(payload, shown, next_step=following.format(folder=shlex.quote(str(run.folder)), question=question))


def _state(run: Run, stage: Stage) -> str:
    return "done" if run.is_done(stage) else "written from what there is, earlier stages are missing"


def _brief(summary: dict[str, Any]) -> str:
    shown = [f"{key.removeprefix('num_').replace('_', ' ')} {value}" for key, value in summary.items() if _is_number(value)]
    return f" ({', '.join(shown)})" if shown else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value != 0


def score_row(score: Score) -> dict[str, Any]:
    """A score for the JSON."""
    return dataclasses.asdict(score)


def score_table(scores: Sequence[Score]) -> list[RenderableType]:
    """Accuracies over all tasks; those of single tasks are in the report and in the JSON."""
    from qrdistill.report.reading import TEAM

    whole = [score for score in scores if score.task == "all"]
    columns = ("student", "arm", "n", "accuracy", "95% interval", "unparsed", "truncated")
    rows = [
        (
            score.student,
            score.arm,
            score.n,
            f"{score.accuracy:.1%}",
            f"{score.low:.1%} to {score.high:.1%}",
            f"{score.unparsed_frac:.1%}",
            f"{score.truncated_frac:.1%}",
        )
        for score in sorted(whole, key=lambda score: (score.student in TEAM, score.student, score.arm != "zero_shot"))
    ]
    return [table("accuracy over all tasks", columns, rows)] if rows else []
