"""Reading a chat completion defensively: whatever a server sends becomes a state, never an exception.

States (see `PathState`): `done`; `truncated` (the token limit); `refused` (a refusal or a content filter); `empty` (nothing
beside thinking); `wrong_model`; `failed` (a tool call, or a finish reason nobody knows). Only `done` can be trained on.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from qrdistill.teacher.client.classify import Failure, one_line
from qrdistill.types import PathState

MAX_TOKENS_BELIEVED = 10_000_000
"""A usage field above this is nonsense, not a bill."""
MAX_TEXT_CHARS = 2_000_000

_STOPPED = {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "end", "complete", "completed"}
_TRUNCATED = {"length", "max_tokens", "max_output_tokens", "model_length"}
_REFUSED = {"content_filter", "safety", "refusal", "recitation", "prohibited_content", "blocklist", "spii"}
_OPEN = re.compile(r"\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)
_CLOSE = re.compile(r"</(think|thinking|thought|reasoning)>", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One sample of a completion."""

    text: str
    reasoning: str
    state: PathState
    detail: str = ""
    """Why the state is not `done`, one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole reply. Token counts are -1 where the server gave none that can be believed."""

    choices: tuple[Choice, ...]
    model: str
    prompt_tokens: int
    completion_tokens: int


def read_completion(body: bytes, *, model: str, is_model_checked: bool, max_tokens: int) -> Completion | Failure:
    """Read a reply's body.

    Args:
        body: the bytes the server sent with status 200.
        model: the model that was asked for.
        is_model_checked: whether another model's reply becomes `wrong_model`.
        max_tokens: the token limit of the request (a reply without a finish reason that used it all is truncated).

    Returns:
        The completion, or a failure of class `lost` (status 200 without a readable completion: perhaps billed) or of the class
        an error object inside the body stands for.
    """
    try:
        tree: Any = json.loads(body)
    except (ValueError, RecursionError):
        start = one_line(body[:80].decode("utf-8", "replace"))
        return Failure(kind="lost", message=f"the reply is not JSON (it starts {start!r})" if body else "the reply is empty")
    if not isinstance(tree, dict):
        return Failure(kind="lost", message=f"the reply is a JSON {type(tree).__name__}, expected an object")
    raw_choices = tree.get("choices")
    if not isinstance(raw_choices, list) or not raw_choices:
        reason = one_line(str(tree.get("error") or "no choices"))
        return Failure(kind="lost", message=f"the reply holds no completion: {reason}")
    answered = tree.get("model")
    answered = one_line(answered) if isinstance(answered, str) else ""
    prompt_tokens, completion_tokens = _usage(tree.get("usage"))
    choices = tuple(
        _read_choice(choice, is_full=completion_tokens >= max_tokens * len(raw_choices)) for choice in raw_choices[:128]
    )
    if is_model_checked and answered and not same_model(model, answered):
        detail = f"asked for {model!r}, answered by {answered!r}"
        choices = tuple(
            Choice(text=choice.text, reasoning=choice.reasoning, state="wrong_model", detail=detail) for choice in choices
        )
    return Completion(choices=choices, model=answered, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)


def same_model(asked: str, answered: str) -> bool:
    """Whether two names mean one model: equal up to case, vendor prefix, and a dated or tagged suffix.

    >>> same_model("gpt-4o-mini", "gpt-4o-mini-2024-07-18"), same_model("gpt-4o", "gpt-4o-mini")
    (True, False)
    """
    one, two = (name.strip().lower().removeprefix("models/").rsplit("/", 1)[-1] for name in (asked, answered))
    short, long = sorted((one.removesuffix("-latest"), two), key=len)
    suffix = long.removeprefix(short)
    return long.startswith(short) and bool(re.fullmatch(r"|[-@:](?:\d[\d-]*|latest|v\d+)|:[\w.-]+", suffix))


def split_thinking(text: str) -> tuple[str, str]:
    """(reply, thinking) of a text that may start with a think block.

    A closing tag without an opening one ends thinking too (some chat templates write the opening tag into the prompt). A block
    that never closes is all thinking.

    >>> split_thinking("<think>two and two</think>The answer is 4.")
    ('The answer is 4.', 'two and two')
    """
    opened = _OPEN.match(text)
    closed = _CLOSE.search(text)
    if closed and (opened or not _OPEN.search(text[: closed.start()])):
        start = opened.end() if opened else 0
        return text[closed.end() :].strip(), text[start : closed.start()].strip()
    if opened:
        return "", text[opened.end() :].strip()
    return text.strip(), ""


def _read_choice(choice: Any, *, is_full: bool) -> Choice:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return Choice(text="", reasoning="", state="failed", detail="the choice holds no message")
    content, thinking = split_thinking(_text(message.get("content")))
    beside = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    reasoning = "\n".join(part for part in (beside.strip(), thinking) if part)
    finish = choice.get("finish_reason")
    state, detail = _state(finish, message, content, is_full)
    return Choice(text=content, reasoning=reasoning, state=state, detail=detail)


def _state(finish: Any, message: dict[str, Any], content: str, is_full: bool) -> tuple[PathState, str]:
    name = finish.strip().lower() if isinstance(finish, str) else ""
    if refusal := _text(message.get("refusal")):
        return "refused", one_line(refusal)
    if name in _REFUSED:
        return "refused", f"finish_reason {name!r}"
    if message.get("tool_calls") or message.get("function_call") or name in {"tool_calls", "function_call"}:
        return "failed", "the model called a tool instead of answering"
    if name in _TRUNCATED or (not name and is_full):
        return "truncated", "the reply reached max_tokens"
    if name and name not in _STOPPED:
        return "failed", f"unknown finish_reason {one_line(name)[:40]!r}"
    if not content:
        return "empty", "no text beside thinking"
    return "done", ""


def _text(value: Any) -> str:
    """A content field as text: a string, or the text parts of a list."""
    if isinstance(value, str):
        return value[:MAX_TEXT_CHARS]
    if isinstance(value, list):
        parts = [part.get("text") for part in value if isinstance(part, dict) and part.get("type", "text") == "text"]
        return "".join(part for part in parts if isinstance(part, str))[:MAX_TEXT_CHARS]
    return ""


def _usage(usage: Any) -> tuple[int, int]:
    if not isinstance(usage, dict):
        return -1, -1
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS_BELIEVED:
        return -1
    return int(value)
