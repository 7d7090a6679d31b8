"""Verbs that only look: check, show, explain, ls; and schema, which writes for editors."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qrdistill.cli import options
from qrdistill.cli.output import Session, table
from qrdistill.cli.room import dry_lines, room_lines, take_dry_step
from qrdistill.errors import QRDistillError, UnsafeConfigError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qrdistill.planning import Pilot, Plan


class Listed(StrEnum):
    """What `ls` can list."""

    runs = "runs"
    recipes = "recipes"
    tasks = "tasks"
    styles = "styles"
    policies = "policies"
    variants = "variants"


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    for verb in (check, show, explain, ls, schema):
        app.command(verb.__name__)(verb)


def check(
    ctx: typer.Context,
    recipe: options.RunOrRecipe,
    pilot: Annotated[
        int,
        typer.Option("--pilot", min=0, max=1000, help="Ask paid teachers and judges about so many questions, to price the run."),
    ] = 0,
    dry_step: Annotated[
        bool, typer.Option("--dry-step", help="Take a run's largest training step on a copy and measure its memory.")
    ] = False,
    out: options.Out = "",
    seed: options.Seed = None,
    set_: options.Set = [],  # noqa: B006
    json_: options.Json = False,
) -> None:
    """Validate a recipe and print the plan, or verify a run. Only --pilot writes: its replies, into the run's folder."""
    from qrdistill.planning import plan

    session: Session = ctx.obj
    run = None
    if options.is_recipe(recipe):
        config = options.read_recipe(recipe, overrides=set_, seed=seed)
    else:
        run = options.open_run(session, recipe, out=out, overrides=set_, seed=seed, is_update=True)
        run.verify()
        run.close()
        config = run.config
        session.progress.note(f"{session.folder}: every file and record is as it was written")
    planned = plan(config, run=run)
    measured = take_dry_step(run, planned) if dry_step else None
    if run is not None:
        run.close()
    session.exit_code = planned.exit_code
    payload: dict[str, Any] = {"verb": "check", **dataclasses.asdict(planned)}
    shown = _plan_lines(planned)
    if measured is not None:
        payload |= {"dry_step": dataclasses.asdict(measured)}
        shown += dry_lines(planned, measured)
    if pilot and not planned.problems:
        from qrdistill.planning import run_pilot

        run = options.open_run(session, recipe, out=out, overrides=set_, seed=seed)
        made = run_pilot(run, pilot, progress=session.progress)
        payload |= {"pilot": dataclasses.asdict(made), "forecasts": [dataclasses.asdict(one) for one in made.forecasts]}
        bounds = [forecast for forecast in planned.forecasts if forecast.stage == "filter"] if made.problem else []
        planned = dataclasses.replace(planned, forecasts=(*made.forecasts, *bounds))
        if made.problem:
            planned = dataclasses.replace(planned, problems=(*planned.problems, made.problem))
            session.exit_code = UnsafeConfigError.exit_code
        shown = [*_plan_lines(planned), *_pilot_lines(made)]
    typed = options.as_typed(recipe, overrides=set_, seed=seed) + (f" -o {shlex.quote(out)}" if out else "")
    next_step = "mend what is named above, then check again" if planned.problems else f"qrdistill run {typed}"
    session.result(payload, shown, next_step=next_step)


def _plan_lines(planned: Plan) -> list[RenderableType]:
    rows: list[tuple[str, ...]] = [
        (student.name, student.source, f"{student.num_weights:,}" if student.num_weights else "not known", student.adapter)
        for student in planned.students
    ]
    calls = ", ".join(f"{name} {number}" for name, number in planned.calls.items())
    columns = ("paid", "calls", "prompt tokens", "completion tokens", "USD", "time")
    return [
        f"{planned.name}, seed {planned.seed}, policy {planned.policy}",
        table(
            "",
            ("task", "train", "validation", "test"),
            [(name, split["train"], split["validation"], split["test"]) for name, split in planned.questions.items()],
        ),
        f"paths: {planned.num_paths} (cells: {calls})",
        *([table("", columns, [forecast.row() for forecast in planned.forecasts])] if planned.forecasts else []),
        table("", ("student", "source", "weights", "adapter"), rows),
        *room_lines(planned),
        f"disk about {planned.disk_bytes / 1e9:.1f} GB, plus hub downloads",
        *(f"problem: {problem}" for problem in planned.problems),
    ]


def _pilot_lines(made: Pilot) -> list[RenderableType]:
    maybe = f", and at most {made.maybe_usd:.4f} USD for replies that never came" if made.maybe_usd else ""
    return [
        f"pilot: {made.num_questions} of {made.num_of} questions, {made.num_calls} calls, {made.paid_usd:.4f} USD{maybe}; "
        f"paid and kept in {made.folder}, where the run finds them and counts them under its caps",
        "the figures are of the whole run, the pilot included; intervals: 95%, Student's t over the pilot's questions (planted "
        "controls of judges by their number); time: at the pilot's latencies and the recipe's limits",
        *(f"warning: {warning}" for warning in made.warnings),
    ]


def show(
    ctx: typer.Context,
    target: options.RunOrRecipe,
    follow: Annotated[bool, typer.Option("--follow", help="A screen that follows the run (needs the extra tui).")] = False,
    seed: options.Seed = None,
    set_: options.Set = [],  # noqa: B006
    json_: options.Json = False,
) -> None:
    """Show where a run stands, or a recipe with every default written out."""
    session: Session = ctx.obj
    if options.is_recipe(target):
        from qrdistill.config import dump

        config = options.read_recipe(target, overrides=set_, seed=seed)
        described = {"verb": "show", "recipe": target, "config": config.model_dump(mode="json")}
        session.result(
            described, [dump(config).rstrip()], next_step=f"qrdistill check {options.as_typed(target, overrides=set_, seed=seed)}"
        )
        return
    if follow:
        _follow(session, target)
        return
    from qrdistill.report import render_show
    from qrdistill.report import show as describe

    state = describe(options.open_run(session, target))
    session.result({"verb": "show", "run": target, **state}, [render_show(state)])


def _follow(session: Session, target: str) -> None:
    try:
        from qrdistill.report.watch import watch
    except ImportError as error:
        raise UsageError("show --follow needs the package textual; run: pip install 'qrdistill[tui]'") from error
    if session.is_json or not sys.stdout.isatty():
        raise UsageError("show --follow draws on a terminal; run it in one, or leave --follow out")
    options.open_run(session, target).close()
    watch(Path(target))


def explain(
    ctx: typer.Context,
    target: options.RunFolder,
    question_id: Annotated[str, typer.Argument(metavar="QUESTION_ID", help="A question of the run.")],
    json_: options.Json = False,
) -> None:
    """Tell one question's whole story: its paths, verdicts, routes and answers."""
    from qrdistill.report import explain as tell
    from qrdistill.report import render_text

    session: Session = ctx.obj
    run = options.open_run(session, target)
    story = tell(run, question_id)
    payload = {"verb": "explain", "run": str(run.folder), **story.to_dict()}
    session.result(payload, [render_text(story)], next_step=f"open {run.folder}/report.html, or: qrdistill show {run.folder}")


def ls(
    ctx: typer.Context,
    what: Annotated[Listed, typer.Argument(help="What to list.")] = Listed.runs,
    json_: options.Json = False,
) -> None:
    """List runs, recipes, tasks, styles, policies or variants."""
    session: Session = ctx.obj
    columns, rows, next_step = _LISTS[what]()
    payload = {"verb": "ls", "what": what.value, "items": [dict(zip(columns, row, strict=True)) for row in rows]}
    session.result(payload, [table("", columns, rows)] if rows else [f"no {what.value} here"], next_step=next_step)


_Listing = tuple[tuple[str, ...], list[tuple[str, ...]], str]
"""Column names, rows, next step."""


def _list_runs() -> _Listing:
    from qrdistill.store import STAGES, Run

    rows: list[tuple[str, ...]] = []
    for path in sorted(Path("runs").glob("*/config.yaml")):
        try:
            run = Run(path.parent)
            done = [stage for stage in STAGES if run.is_done(stage)]
            run.close()
        except QRDistillError as error:
            rows.append((str(path.parent), "unreadable", str(error)))
            continue
        rows.append((str(path.parent), run.config.name, ", ".join(done) or "nothing done"))
    return ("run", "name", "done"), rows, "qrdistill show RUN" if rows else "qrdistill run RECIPE (see: qrdistill ls recipes)"


def _list_recipes() -> _Listing:
    rows: list[tuple[str, ...]] = []
    for path in sorted(Path("recipes").rglob("*.y*ml"), key=lambda path: (len(path.parts), path)):
        first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        rows.append((str(path), first.lstrip("# ")))
    return ("recipe", "purpose"), rows, "qrdistill check RECIPE"


def _list_tasks() -> _Listing:
    from qrdistill.tasks.datasets import DATASETS
    from qrdistill.tasks.reasoning import FAMILIES

    rows: list[tuple[str, ...]] = [
        ("reasoning", name, family.kind, f"procedural, difficulty {json.dumps(dict(family.parameters), sort_keys=True)}")
        for name, family in sorted(FAMILIES.items())
    ]
    for name, dataset in DATASETS.items():
        sizes = ", ".join(f"{size} {split}" for split, size in dataset.sizes.items())
        rows.append(("dataset", name, dataset.answers, f"{dataset.title} ({sizes})"))
    rows.append(("jsonl", "(yours)", "any", "your own JSONL or Parquet file: path, columns, answer_kind, labels"))
    rows.append(("hub", "(yours)", "any", "files of any hub data set: id, revision, files, columns, answer_kind, labels"))
    return ("kind", "name", "answers", "what it is"), rows, "name one under questions.tasks of a recipe"


def _list_styles() -> _Listing:
    from qrdistill.teacher.streams import STREAMS
    from qrdistill.teacher.templates import STYLES

    styles = [*STYLES.values(), *(stream.style for stream in STREAMS.values())]
    rows: list[tuple[str, ...]] = [(style.name, style.why) for style in styles]
    return ("style", "what it is for"), rows, "name some under generate.styles of a recipe"


def _list_policies() -> _Listing:
    from typing import get_args

    from qrdistill.config import PolicyConfig

    models = get_args(get_args(PolicyConfig)[0])
    rows: list[tuple[str, ...]] = [
        (model.model_fields["kind"].default, " ".join((model.__doc__ or "").split())) for model in models
    ]
    return ("policy", "what it does"), rows, "name one under method.policy.kind of a recipe"


def _list_variants() -> _Listing:
    from qrdistill.study.variants import VARIANTS

    rows: list[tuple[str, ...]] = [(variant.name, variant.why) for variant in VARIANTS.values()]
    return ("variant", "what it is"), rows, "qrdistill study RECIPE --variants A,B,C"


_LISTS = {
    Listed.runs: _list_runs,
    Listed.recipes: _list_recipes,
    Listed.tasks: _list_tasks,
    Listed.styles: _list_styles,
    Listed.policies: _list_policies,
    Listed.variants: _list_variants,
}


def schema(ctx: typer.Context, out: options.Out = "recipe.schema.json", json_: options.Json = False) -> None:
    """Write the JSON schema of a recipe, for editors that complete and check YAML."""
    from qrdistill.config import json_schema
    from qrdistill.store import write_json

    session: Session = ctx.obj
    write_json(Path(out), json_schema())
    next_step = f"begin a recipe with the line: # yaml-language-server: $schema={out}"
    session.result({"verb": "schema", "path": out}, [f"every setting with its bounds is in {out}"], next_step=next_step)
