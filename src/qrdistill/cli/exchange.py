"""Verbs that give to other tools and take from them: export, import."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from qrdistill.cli import options
from qrdistill.cli.output import Session
from qrdistill.errors import UsageError
from qrdistill.types import AnswerKind

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qrdistill.sharing.hub import Kind


class Exported(StrEnum):
    """What `export` can write."""

    messages = "messages"
    data = "data"
    students = "students"


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    for verb in (export, import_):
        app.command(verb.__name__.rstrip("_"))(verb)


def export(
    ctx: typer.Context,
    target: options.RunFolder,
    what: Annotated[
        Exported, typer.Argument(help="Kept paths as one file of chat messages, as a data set folder, or the students.")
    ] = Exported.messages,
    out: options.Out = "",
    push: Annotated[str, typer.Option("--push", metavar="OWNER/NAME", help="Also upload it to the Hugging Face hub.")] = "",
    public: Annotated[bool, typer.Option("--public", help="A repository made by --push is public.")] = False,
    json_: options.Json = False,
) -> None:
    """Write the kept paths or the trained students for other tools; --push uploads them."""
    from qrdistill import sharing

    session: Session = ctx.obj
    if push and what is Exported.messages:
        raise UsageError("--push takes a folder with a card; export data or students")
    run = options.open_run(session, target)
    place = Path(out) if out else run.folder / {"messages": "messages.jsonl"}.get(what.value, f"export/{what.value}")
    payload: dict[str, Any] = {"verb": "export", "what": what.value, "run": str(run.folder), "path": str(place)}
    shown: list[RenderableType] = []
    kind: Kind = "model"
    next_step = f"train elsewhere with {place}, or: qrdistill train {shlex.quote(target)}"
    if what is Exported.messages:
        payload["num_rows"] = sharing.write_messages(run, place)
        shown.append(f"{payload['num_rows']} kept paths in {place}")
    elif what is Exported.data:
        kind = "dataset"
        payload["rows"] = sharing.write_data_set(run, place)
        payload["num_rows"] = sum(payload["rows"].values())
        shown.append(f"{payload['num_rows']} kept paths, card and recipe in {place}")
    else:
        students = sharing.write_students(run, place)
        payload["students"] = [student.name for student in students]
        shown.append(f"{', '.join(payload['students'])} in {place}; its README.md has the commands to measure and serve")
        next_step = f"read {place}/README.md, or try them: qrdistill chat {shlex.quote(target)}"
    if push:
        payload["address"] = sharing.push_folder(place, push, kind=kind, is_public=public)
        shown.append(f"uploaded to {payload['address']}")
    elif what is not Exported.messages:
        next_step += "; publish it with --push OWNER/NAME after reading README.md and recipe.yaml"
    run.close()
    session.result(payload, shown, next_step=next_step)


def import_(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSONL: messages, conversations, Alpaca or completions.")],
    out: options.Out = "imported",
    answer: Annotated[str, typer.Option("--answer", metavar="COLUMN", help="The column with the gold answer.")] = "answer",
    kind: Annotated[str, typer.Option("--kind", help=f"How answers are read: {', '.join(get_args(AnswerKind))}.")] = "",
    from_paths: Annotated[
        bool, typer.Option("--answer-from-paths", help="There is no gold answer: take what most paths of a question state.")
    ] = False,
    json_: options.Json = False,
) -> None:
    """Make questions, a recorded teacher and a recipe of another tool's data set."""
    from qrdistill.sharing import convert

    session: Session = ctx.obj
    if kind and kind not in get_args(AnswerKind):
        raise UsageError(f"--kind {kind!r} is not known; expected one of {', '.join(get_args(AnswerKind))}")
    found = convert(Path(file), Path(out), answer_column="" if from_paths else answer, kind=kind or None)  # type: ignore[arg-type]
    recipe = Path(out) / "recipe.yaml"
    payload = {
        "verb": "import",
        "recipe": str(recipe),
        "num_questions": len(found.questions),
        "num_paths": len(found.paths),
        "skipped": dict(found.skipped),
    }
    shown: list[RenderableType] = [f"{len(found.questions)} questions and {len(found.paths)} recorded paths in {out}"]
    shown += [f"passed over: {number} rows, {why}" for why, number in found.skipped.items()]
    session.result(payload, shown, next_step=f"qrdistill check {shlex.quote(str(recipe))}")
