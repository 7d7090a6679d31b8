"""The app, and the one place where whatever went wrong becomes a sentence and an exit code.

Exit codes are those of :mod:`qrdistill.errors`: 0 ok, 2 usage, 65 data, 69 provider, 70 our bug, 73 folder in use, 74 disk,
75 paused, 77 auth, 78 unsafe config, 130 / 143 interrupted or terminated, 141 when the reader of our output went away.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer

import qrdistill
from qrdistill.cli import chat, doctor, exchange, inspect, regrade, stages, study
from qrdistill.cli.output import ReaderGoneError, Session
from qrdistill.errors import QRDistillError, UsageError
from qrdistill.training.launch import num_ranks

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}
_USAGE_ERROR = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
"""Base of typer's own usage errors; typer does not export it, and newer versions carry their own copy of click."""
_WITH_RANKS = {"run", "generate", "filter", "train", "evaluate"}
"""Verbs that torchrun may start: rank 0 does the work, the others train along."""

app = typer.Typer(
    name="qrdistill",
    help="Teach a team of small language models to reason from one black-box teacher.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
stages.register(app)
regrade.register(app)
inspect.register(app)
exchange.register(app)
chat.register(app)
study.register(app)
doctor.register(app)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"qrdistill {qrdistill.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Teach a team of small language models to reason from one black-box teacher."""
    if num_ranks() > 1 and ctx.invoked_subcommand not in _WITH_RANKS:
        raise UsageError(f"{ctx.invoked_subcommand} runs in one process; start it without torchrun (or whatever sets WORLD_SIZE)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `qrdistill` and `qrd`: runs one verb and exits with its code."""
    sys.exit(run_app(list(sys.argv[1:] if arguments is None else arguments)))


def run_app(arguments: list[str]) -> int:
    """Run one verb; every outcome becomes an exit code."""
    session = Session(is_json="--json" in arguments)
    signals = _TerminationAsInterrupt()
    try:
        with signals:
            code = app(arguments, prog_name="qrdistill", obj=session, standalone_mode=False)
            if code == 130:  # typer turns KeyboardInterrupt into this code
                raise KeyboardInterrupt
            sys.stdout.flush()
            return int(code or session.exit_code)
    except QRDistillError as error:
        return session.error(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(session, is_terminated=signals.is_terminated)
    except ReaderGoneError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return 141
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            return _bug(session, error)
        where = f" {error.filename}" if error.filename else ""
        return session.error(
            f"the disk refused{where}: {error.strerror}; free space or mend the permissions, then run the same command again", 74
        )
    except Exception as error:  # the one broad except: an unknown bug gets a short message and a traceback in a file
        if isinstance(error, _USAGE_ERROR):
            message = error.format_message().replace("Value error, ", "").rstrip(".")  # type: ignore[attr-defined]
            return session.error(f"{message} (see qrdistill --help)", 2) if message else 2  # "" when help was shown
        return _bug(session, error)
    finally:
        session.close()


class _TerminationAsInterrupt:
    """SIGTERM ends a run the way Ctrl-C does: the exception unwinds every stage and asyncio loop cleanly.

    A shell starts background jobs with SIGINT ignored; it is listened to again, or neither signal could stop such a run.
    """

    def __init__(self) -> None:
        self.is_terminated = False

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, self._handle)
        self._interrupt_before = signal.getsignal(signal.SIGINT)
        if self._interrupt_before is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)
        signal.signal(signal.SIGINT, self._interrupt_before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.is_terminated = True
        signal.raise_signal(signal.SIGINT)


def _interrupted(session: Session, *, is_terminated: bool) -> int:
    what = "terminated" if is_terminated else "interrupted"
    kept = f"; everything finished is in {session.folder}, and the same command resumes" if session.folder else ""
    return session.error(f"{what}{kept}", 143 if is_terminated else 130)


def _bug(session: Session, error: Exception) -> int:
    text = traceback.format_exc()
    place = "set QRDISTILL_DEBUG=1 to see where"
    if os.environ.get("QRDISTILL_DEBUG") == "1":
        print(text, file=sys.stderr)
        place = "the traceback is above"
    elif session.folder is not None and session.folder.is_dir():
        path = session.folder / "crash.txt"
        try:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
            place = f"the traceback is in {path}"
        except OSError:
            place = "the traceback could not be written; set QRDISTILL_DEBUG=1 to see it"
    summary = " ".join(str(error).split())[:200]
    return session.error(f"a bug in qrdistill: {type(error).__name__}: {summary}; {place}, and please report it", 70)
