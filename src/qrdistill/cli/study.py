"""The verb `study`: variants of a recipe over several seeds, compared."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qrdistill.cli import options
from qrdistill.cli.output import Session, table

if TYPE_CHECKING:
    from rich.console import RenderableType


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("study")(study)


def study(
    ctx: typer.Context,
    recipe: options.Recipe,
    variants: Annotated[
        str,
        typer.Option("--variants", metavar="A,B,C", help="Arms to compare (see: qrdistill ls variants); a+b joins two changes."),
    ] = "",
    seeds: Annotated[str, typer.Option("--seeds", metavar="0-4", help="Seeds of data, weights and routing.")] = "0-4",
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=256, help="Arms at a time, each in a process of its own.")] = 1,
    expected: Annotated[
        str, typer.Option("--expected", metavar="FILE", help="An earlier study.json: say whether it is reproduced.")
    ] = "",
    is_so_far: Annotated[
        bool, typer.Option("--so-far", help="Run nothing: compare what is done already, also while the study runs elsewhere.")
    ] = False,
    out: options.Out = "",
    set_: options.Set = [],  # noqa: B006 - typer copies it
    json_: options.Json = False,
) -> None:
    """Train and compare variants of a recipe on equal numbers of training tokens; the same command resumes."""
    from qrdistill.report.study import read_study, write_study_report
    from qrdistill.study.sweep import run_study, study_so_far
    from qrdistill.study.variants import names_of, seeds_of

    session: Session = ctx.obj
    names, numbers = names_of(variants), seeds_of(seeds)
    config = options.read_recipe(recipe, overrides=set_, seed=None)
    earlier = read_study(expected) if expected else None
    folder = Path(out or Path("runs") / f"study-{config.name}")
    session.folder = folder
    if is_so_far:
        found = study_so_far(config, folder, variants=names, seeds=numbers, jobs=jobs)
        left = found.get("missing", [])
        session.result(
            {"verb": "study", "path": str(folder), **found},
            [*_shown(found), *([f"not done yet: {', '.join(left)}"] if left else [])],
            next_step="repeat the command without --so-far to run what is not done",
        )
        return
    found = run_study(config, folder, variants=names, seeds=numbers, jobs=jobs, expected=earlier, progress=session.progress)
    page = write_study_report([folder])
    path = folder / "study.json"
    session.result(
        {"verb": "study", "path": str(path), "report": str(page), **found},
        _shown(found),
        next_step=f"open {shlex.quote(str(page))}, or repeat the study with --expected {shlex.quote(str(path))}",
    )


def _shown(found: dict[str, Any]) -> list[RenderableType]:
    students = found["students"]
    columns = ("arm", "mean", "95% interval", *students, "label tokens", "seeds", "n", "unparsed", "truncated")
    rows = [
        (
            name,
            f"{arm['mean']:.1%}",
            f"{arm['low']:.1%} to {arm['high']:.1%}",
            *(f"{arm['students'][student]['mean']:.1%}" if student in arm["students"] else "-" for student in students),
            f"{arm['train_tokens']:,}",
            arm["seeds"],
            arm["n"],
            f"{arm['unparsed_frac']:.1%}",
            f"{arm['truncated_frac']:.1%}",
        )
        for name, arm in found["arms"].items()
    ]
    first = "qrdistill" if "qrdistill" in found["arms"] else found["variants"][0]
    pairs = [
        (name, f"{100 * pair['diff']:+.1f}", f"{100 * pair['low']:+.1f} to {100 * pair['high']:+.1f}", f"{pair['p_value']:.4f}")
        for name, pair in found["paired"].items()
        if name.startswith(f"{first}-")
    ]
    shown: list[RenderableType] = [
        f"each student of each trained arm: {found['max_label_tokens']:,} label tokens, {len(found['seeds'])} seeds",
        table("accuracy", columns, rows),
    ]
    if pairs:
        shown.append(table("paired differences, points", ("pair", "difference", "95% interval", "p"), pairs))
    if "reproduced" in found:
        outside = [name for name, is_within in found["reproduced"].items() if not is_within]
        shown.append(f"not reproduced: {', '.join(outside)}" if outside else "reproduced: every arm is within its tolerance")
    return shown
