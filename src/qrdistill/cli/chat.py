"""The verb that asks trained students."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from qrdistill.cli import options
from qrdistill.cli.output import Session
from qrdistill.cli.text import plain
from qrdistill.errors import UsageError
from qrdistill.types import AnswerKind

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qrdistill.evaluation.chat import Chat, Said


def register(app: typer.Typer) -> None:
    """Add this verb to the app."""
    app.command("chat")(chat)


def chat(
    ctx: typer.Context,
    target: options.RunFolder,
    question: Annotated[list[str] | None, typer.Argument(metavar="QUESTION...", help="Ask and leave; else read lines.")] = None,
    student: Annotated[str, typer.Option("--student", help="One student's name, or vote for all of them.")] = "vote",
    kind: Annotated[str, typer.Option("--kind", help=f"Form of the answer: {', '.join(get_args(AnswerKind))}.")] = "number",
    json_: options.Json = False,
) -> None:
    """Ask the trained students a question of your own; each question stands alone."""
    from qrdistill.evaluation.chat import Chat

    session: Session = ctx.obj
    if kind not in get_args(AnswerKind):
        raise UsageError(f"--kind {kind!r} is not known; expected one of {', '.join(get_args(AnswerKind))}")
    run = options.open_run(session, target)
    asked = Chat(run, student, progress=session.progress)
    if not question and not session.is_json and sys.stdin.isatty():
        _talk(session, asked, kind)
        return
    questions = question or [line.strip() for line in sys.stdin if line.strip()]
    if not questions:
        raise UsageError(f"nothing was asked; run: qrdistill chat {shlex.quote(target)} 'What is 6 times 7?'")
    answers = [(text, asked.ask(text, kind)) for text in questions]  # type: ignore[arg-type]
    payload = {
        "verb": "chat",
        "run": str(run.folder),
        "answers": [{"question": text, "said": [dataclasses.asdict(one) for one in said]} for text, said in answers],
    }
    shown: list[RenderableType] = [_shown(one) for _, said in answers for one in said]
    session.result(payload, shown, next_step=f"serve them: qrdistill export {shlex.quote(target)} students")


def _talk(session: Session, asked: Chat, kind: str) -> None:
    session.progress.note("one question a line; an empty line or Ctrl-D ends")
    session.close()
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print()
            return
        if not text:
            return
        for one in asked.ask(text, kind):  # type: ignore[arg-type]
            print(_shown(one), flush=True)


def _shown(said: Said) -> str:
    answer = f"  [answer: {said.answer}]" if said.answer else "  [no answer stated]"
    return plain(f"{said.student}: {said.text.strip()}{answer}")
