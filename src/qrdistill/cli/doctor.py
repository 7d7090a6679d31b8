"""The verb that examines the machine, and what a recipe needs of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qrdistill.cli import machine, options
from qrdistill.cli.output import Session, table


def register(app: typer.Typer) -> None:
    """Add this verb to the app."""
    app.command("doctor")(doctor)


def doctor(
    ctx: typer.Context,
    recipe: Annotated[
        str, typer.Argument(metavar="[RECIPE]", help="Also look at the keys, endpoints and tokenizers this recipe needs.")
    ] = "",
    out: options.Out = ".",
    set_: options.Set = [],  # noqa: B006 - typer copies it
    json_: options.Json = False,
) -> None:
    """Examine the machine: disk, locks, clock, threads, memory, packages, GPU, keys. Leaves nothing behind."""
    session: Session = ctx.obj
    findings = machine.examine(Path(out))
    if recipe:
        from qrdistill.cli.needs import examine_recipe

        findings += examine_recipe(options.read_recipe(recipe, overrides=set_, seed=None))
    else:
        findings += machine.keys()
    bad = [finding.what for finding in findings if not finding.is_ok]
    rows = [(finding.what, "ok" if finding.is_ok else "LOOK", finding.found) for finding in findings]
    listed: list[dict[str, Any]] = [{"what": what, "is_ok": state == "ok", "found": found} for what, state, found in rows]
    next_step = f"look at: {', '.join(bad)}" if bad else f"qrdistill check {recipe or 'RECIPE'}"
    session.result({"verb": "doctor", "findings": listed}, [table("", ("", "", "found"), rows)], next_step=next_step)
