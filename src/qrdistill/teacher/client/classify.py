"""Error classes: what went wrong with one attempt, whether to try again, and whether it may have been billed.

====================  ==========================================  ==========  ============  ===========================
class                 when                                        try again   may be billed  the run
====================  ==========================================  ==========  ============  ===========================
rate                  429                                         yes         no            goes on, slower
transient             408, 409, 425, 5xx                          yes         no            goes on
unreachable           no connection                               yes         no            69 if it lasts
lost                  sent, but no whole reply came back          yes         yes           goes on; listed apart
quota                 402; 429 or 403 that speaks of a spent       no          no            stops, 75
                      quota or an empty balance
auth                  401, 403                                    no          no            stops, 77
request               any other 4xx, a redirect                   no          no            goes on; 69 if all do so
wrong_model           the reply names another model               no          yes (cost)    goes on; 69 if all do so
====================  ==========================================  ==========  ============  ===========================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ErrorClass = Literal["rate", "transient", "unreachable", "lost", "quota", "auth", "request"]
RETRIED: frozenset[str] = frozenset({"rate", "transient", "unreachable", "lost"})
MAYBE_BILLED: frozenset[str] = frozenset({"sent", "lost"})
"""Outcomes of attempts whose reply we never saw whole: the server may have billed them. "sent" is what a crash leaves behind."""

UNSENT = "unsent"
"""Outcome of an attempt that was made ready and then not sent, because the endpoint was stopped meanwhile."""

MESSAGE_CHARS = 300
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance"}
_QUOTA_WORDS = re.compile(
    r"credit balance|insufficient (?:quota|balance|credit|funds)|billing (?:hard )?limit|PerDay|per day|daily (?:quota|limit)",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_TRANSIENT_STATUS = {408, 409, 425}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt."""

    kind: ErrorClass
    message: str
    """One printable line, at most 300 characters."""
    status: int = 0
    retry_after_s: float = -1.0
    """What the server asked for; negative when it did not say."""

    @property
    def is_retried(self) -> bool:
        """Whether another attempt makes sense."""
        return self.kind in RETRIED

    @property
    def is_pushback(self) -> bool:
        """Whether the server is telling us that we are too fast for it."""
        return self.kind == "rate" or self.status in {503, 529}


def from_status(status: int, headers: Mapping[str, str], body: bytes, *, retry_after_s: float) -> Failure:
    """The failure an HTTP status stands for (anything but 200)."""
    text, code = _error_text(body)
    message = one_line(f"HTTP {status}: {text}" if text else f"HTTP {status}")
    kind: ErrorClass
    if 300 <= status < 400:
        place = headers.get("location", "nowhere")
        kind = "request"
        message = one_line(f"HTTP {status}: the server redirects to {place!r}; set base_url to the final address")
    elif status == 402 or (status in {400, 403, 429} and (code in _QUOTA_CODES or _QUOTA_WORDS.search(text))):
        kind = "quota"
    elif status == 429:
        kind = "rate"
    elif status in {401, 403}:
        kind = "auth"
    elif status in _TRANSIENT_STATUS or status >= 500:
        kind = "transient"
    elif status >= 400:
        kind = "request"
    else:
        kind, message = "lost", f"HTTP {status}, expected 200"
    return Failure(kind=kind, message=message, status=status, retry_after_s=retry_after_s)


def one_line(text: str) -> str:
    """Printable text on one line, at most 300 characters."""
    return _CONTROL.sub(" ", text).strip()[:MESSAGE_CHARS]


def _error_text(body: bytes) -> tuple[str, str]:
    """(message, code) of an error body in any of the shapes servers use; the start of the body when it is something else."""
    head = body[:65_536]
    try:
        tree: Any = json.loads(head)
    except (ValueError, RecursionError):
        text = head[:MESSAGE_CHARS].decode("utf-8", "replace")
        return ("a web page" if "<html" in text.lower() or "<!doctype" in text.lower() else text), ""
    if isinstance(tree, list) and tree:
        tree = tree[0]
    error = tree.get("error", tree) if isinstance(tree, dict) else tree
    if isinstance(error, dict):
        code = str(error.get("code") or error.get("type") or "")
        details = json.dumps(error.get("details", ""))[:4000] if "details" in error else ""
        kind = str(error.get("type", ""))
        message = str(error.get("message") or error.get("detail") or "")
        return (f"{message} {details}".strip() or kind), (kind if kind in _QUOTA_CODES else code)
    return str(error), ""
