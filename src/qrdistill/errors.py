"""Errors a user can act on. Each message is one sentence: what was found, what was expected, what to do.

::

    QRDistillError                     exit code
    |-- UsageError                      2   a command or argument that makes no sense
    |   `-- ConfigError                 2   a recipe or override that cannot be read or does not fit the schema
    |-- DataError                      65   questions, paths or records that cannot be used
    |   `-- CorruptRunError            65   a run folder whose files do not match their recorded hashes
    |-- ProviderError                  69   a teacher or judge endpoint that is down or refuses
    |-- RunInUseError                  73   another process owns the run folder
    |-- StorageError                   74   the disk refused a write
    |-- PausedError                    75   stopped on purpose (a cap, a quota, a deadline); the same command resumes
    |-- AuthError                      77   a key that is missing or not accepted
    `-- UnsafeConfigError              78   a setting that would give wrong or unsafe results (changed config, leaked test set)

Anything else is a bug of ours: exit code 70. Signals exit with 130 (SIGINT) or 143 (SIGTERM).
"""

from __future__ import annotations

from typing import ClassVar


class QRDistillError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code: ClassVar[int] = 70


class UsageError(QRDistillError):
    """A command or an argument that makes no sense."""

    exit_code = 2


class ConfigError(UsageError):
    """A recipe or override that cannot be read or does not fit the schema."""


class DataError(QRDistillError):
    """Questions, paths or records that cannot be used; the message names the row."""

    exit_code = 65


class CorruptRunError(DataError):
    """A run folder whose files do not match what was recorded about them."""


class ProviderError(QRDistillError):
    """A teacher or judge endpoint that is down or refuses."""

    exit_code = 69


class RunInUseError(QRDistillError):
    """Another process owns the run folder."""

    exit_code = 73


class StorageError(QRDistillError):
    """The disk refused a write; what was acknowledged before is safe."""

    exit_code = 74


class PausedError(QRDistillError):
    """Stopped on purpose; running the same command again resumes."""

    exit_code = 75


class AuthError(QRDistillError):
    """A key that is missing or not accepted."""

    exit_code = 77


class UnsafeConfigError(QRDistillError):
    """A setting that would give wrong or unsafe results."""

    exit_code = 78


def suggest(name: str, known: list[str]) -> str:
    """Return " (did you mean 'x'?)" when `name` is close to one of `known`, else "".

    >>> suggest("leg_countin", ["leg_counting", "gcd"])
    " (did you mean 'leg_counting'?)"
    """
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
