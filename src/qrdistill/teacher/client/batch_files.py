"""The files of batch mode, in OpenAI's format (which `vllm run-batch` reads and writes too).

A request line is {"custom_id", "method", "url", "body"}; a result line is {"custom_id", "response": {"status_code", "body"},
"error"}. The custom_id is the attempt's id, so a result finds its cell whatever the order of the lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from qrdistill.teacher.client.classify import Failure, from_status, one_line

MAX_LINES = 40_000
MAX_BYTES = 90_000_000
"""Below the limits of OpenAI (50,000 lines, 200 MB) and of other servers that copy the format."""
MAX_LINE_BYTES = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One result: the body of a completion, or why there is none."""

    custom_id: str
    body: bytes = b""
    failure: Failure | None = None


def request_line(custom_id: str, body: dict[str, Any]) -> bytes:
    """One request as a line."""
    tree = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(tree, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def split_lines(lines: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Cut (custom_id, line) pairs into files of at most `MAX_LINES` lines and `MAX_BYTES` bytes."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for custom_id, line in lines:
        if part and (len(part) >= MAX_LINES or size + len(line) > MAX_BYTES):
            yield part
            part, size = [], 0
        part.append((custom_id, line))
        size += len(line)
    if part:
        yield part


def read_results(data: bytes) -> Iterator[Line]:
    """The results in a file; lines that are no result (cut off, too long, hostile) are left out, so their cells stay holes."""
    for raw in data.split(b"\n"):
        if not raw.strip() or len(raw) > MAX_LINE_BYTES:
            continue
        try:
            tree = json.loads(raw)
        except (ValueError, RecursionError):
            continue
        if isinstance(tree, dict) and isinstance(tree.get("custom_id"), str):
            yield _result(tree)


def _result(tree: dict[str, Any]) -> Line:
    custom_id, response, error = tree["custom_id"], tree.get("response"), tree.get("error")
    if not isinstance(response, dict):
        text = error.get("message", "") if isinstance(error, dict) else error
        failure = Failure(kind="transient", message=one_line(f"the batch gave no response: {text}"))
        return Line(custom_id=custom_id, failure=failure)
    body = json.dumps(response.get("body")).encode("ascii")
    status = response.get("status_code")
    if status != 200:
        code = status if isinstance(status, int) and 100 <= status < 600 else 500
        return Line(custom_id=custom_id, failure=from_status(code, {}, body, retry_after_s=-1))
    return Line(custom_id=custom_id, body=body)
