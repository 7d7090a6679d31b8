"""Keys: read when an endpoint opens, from the environment or from a file that is its owner's alone; never stored or shown."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from qrdistill.errors import AuthError
from qrdistill.teacher.client.capabilities import NO_KEY, Target

HIDDEN = "[key]"
_USABLE = re.compile(r"[\x21-\x7e]{1,4096}")
_MAX_BYTES = 8192


class Key:
    """One key. Its bytes leave this object only through `header`; `repr` and `str` show where it comes from.

    Args:
        variable: name of the environment variable, or "NONE".
        file: a file that holds the key, instead of the variable.
        environment: where to look (the process's environment by default).

    Raises:
        AuthError: the variable is not set, the file is missing or open to others, or what it holds cannot be a key (which is
            not quoted).
    """

    __slots__ = ("_file", "_value", "_variable", "place")

    def __init__(self, variable: str, file: str = "", *, environment: Mapping[str, str] = os.environ) -> None:
        self._variable, self._file = variable, file
        self._value = ""
        self.place = f"the file {file}" if file else f"the environment variable {variable}"
        if not file and variable == NO_KEY:
            self.place = ""
            return
        value = _read(file) if file else environment.get(variable, "").strip()
        if not value:
            what = "is empty; write" if file else "is not set; export it with"
            raise AuthError(f"{self.place} {what} the server's key, then run again")
        if not _USABLE.fullmatch(value):
            raise AuthError(f"{self.place} holds spaces or control characters, which no key has; set it again")
        self._value = value

    @classmethod
    def of(cls, target: Target) -> Key:
        """The key of an endpoint."""
        return cls(target.api_key_env, file=target.key_file)

    def __repr__(self) -> str:
        return f"Key({self._file or self._variable!r})"

    def __reduce__(self) -> tuple[type[Key], tuple[str, str]]:
        # A pickled key carries the name of its place only; the receiving process reads its own environment, or its own file.
        return Key, (self._variable, self._file)

    def header(self) -> dict[str, str]:
        """The authorization header ({} without a key)."""
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def hide(self, text: str) -> str:
        """`text` with the key blotted out, wherever a server may have echoed it."""
        return text.replace(self._value, HIDDEN) if len(self._value) >= 8 else text


def _read(name: str) -> str:
    """The one line of a key file.

    Raises:
        AuthError: there is no such file, it is no plain file, or others may read it or could have written it.
    """
    path = Path(name).expanduser()
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hold us up
    except OSError as error:
        raise AuthError(f"key_file {name}: {error.strerror}; give the path of a file that holds the key") from error
    try:
        facts = os.fstat(number)  # of the file that was opened, whatever its name points to by now
        if not stat.S_ISREG(facts.st_mode):
            raise AuthError(f"key_file {name} is no plain file; give the path of a file that holds the key")
        if facts.st_uid != os.geteuid():
            raise AuthError(f"key_file {name} belongs to another user; copy the key into a file of your own with mode 0600")
        if facts.st_mode & 0o177:
            mode = stat.S_IMODE(facts.st_mode)
            raise AuthError(f"key_file {name} has mode {mode:04o}, expected 0600; run: chmod 600 {name}")
        return os.read(number, _MAX_BYTES).decode("latin-1").strip()
    finally:
        os.close(number)
