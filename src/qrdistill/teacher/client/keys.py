"""Keys: read from the environment when a call needs one, never stored, never printed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from qrdistill.errors import AuthError
from qrdistill.teacher.client.capabilities import NO_KEY

HIDDEN = "[key]"
_USABLE = re.compile(r"[\x21-\x7e]{1,4096}")


class Key:
    """One key. Its bytes leave this object only through `header`; `repr` and `str` show the variable's name.

    Args:
        variable: name of the environment variable, or "NONE".
        environment: where to look (the process's environment by default).

    Raises:
        AuthError: the variable is not set, or holds something that cannot be a key (which is not quoted).
    """

    __slots__ = ("_value", "variable")

    def __init__(self, variable: str, environment: Mapping[str, str] = os.environ) -> None:
        self.variable = variable
        self._value = ""
        if variable == NO_KEY:
            return
        value = environment.get(variable, "").strip()
        if not value:
            raise AuthError(f"the environment variable {variable} is not set; export it with the server's key, then run again")
        if not _USABLE.fullmatch(value):
            raise AuthError(
                f"the environment variable {variable} holds spaces or control characters, which no key has; set it again"
            )
        self._value = value

    def __repr__(self) -> str:
        return f"Key({self.variable!r})"

    def __reduce__(self) -> tuple[type[Key], tuple[str]]:
        # A pickled key carries its variable's name only; the receiving process reads its own environment.
        return Key, (self.variable,)

    def header(self) -> dict[str, str]:
        """The authorization header ({} without a key)."""
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def hide(self, text: str) -> str:
        """`text` with the key blotted out, wherever a server may have echoed it."""
        return text.replace(self._value, HIDDEN) if len(self._value) >= 8 else text
