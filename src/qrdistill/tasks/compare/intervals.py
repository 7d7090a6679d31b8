"""Inequalities in one letter as the intervals they describe."""

from __future__ import annotations

import re

from qrdistill.tasks.compare.structure import Form, is_name

_FLIPPED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}
_ABSOLUTE = re.compile(r"\|\s*([A-Za-z])\s*\|")
_LOW = Form("leaf", "-\\infty")
_HIGH = Form("leaf", "\\infty")


def as_interval(form: Form) -> tuple[str, Form] | None:
    """(letter, interval or union) of an inequality, or of several joined by "or" or "and"; None for anything else.

    A bound that itself holds the letter's relation to another letter (x < y) is not an interval.
    """
    if form.kind == "relation":
        return _single(form)
    if form.kind == "list" and len(form.items) >= 2:
        parts = [as_interval(item) for item in form.items]
        if any(part is None for part in parts):
            return None
        known = [part for part in parts if part is not None]
        letter = known[0][0]
        if any(name != letter for name, _ in known):
            return None
        if form.mark == "or":
            return letter, Form("union", form.text, tuple(piece for _, interval in known for piece in _pieces(interval)))
        return _both(letter, [interval for _, interval in known])
    return None


def _pieces(form: Form) -> tuple[Form, ...]:
    return form.items if form.kind == "union" else (form,)


def _single(form: Form) -> tuple[str, Form] | None:
    marks, items = form.mark.split(), form.items
    if marks == ["\\neq"] and is_name(items[0]):
        value = items[1]
        return items[0].text, Form("union", form.text, (_interval("(", _LOW, value, ")"), _interval("(", value, _HIGH, ")")))
    if any(mark not in _FLIPPED for mark in marks):
        return None
    if len(marks) == 1:
        left, right = items
        mark = marks[0]
        size = _ABSOLUTE.fullmatch(left.text)
        if size and mark in {"<", "\\leq"}:  # |x| < 1
            closing = "]" if "eq" in mark else ")"
            return size.group(1), _interval("[" if "eq" in mark else "(", Form("leaf", f"-({right.text})"), right, closing)
        if is_name(right) and not is_name(left):
            left, right, mark = right, left, _FLIPPED[mark]
        if not is_name(left) or is_name(right):
            return None
        is_closed = "eq" in mark
        if mark in {"<", "\\leq"}:
            return left.text, _interval("(", _LOW, right, "]" if is_closed else ")")
        return left.text, _interval("[" if is_closed else "(", right, _HIGH, ")")
    if len(marks) == 2 and is_name(items[1]):
        low, high, first, second = items[0], items[2], marks[0], marks[1]
        if first in {">", "\\geq"} and second in {">", "\\geq"}:
            low, high, first, second = high, low, second, first
        elif not (first in {"<", "\\leq"} and second in {"<", "\\leq"}):
            return None
        return items[1].text, _interval("[" if "eq" in first else "(", low, high, "]" if "eq" in second else ")")
    return None


def _both(letter: str, intervals: list[Form]) -> tuple[str, Form] | None:
    """A lower and an upper bound that hold together."""
    if len(intervals) != 2 or any(interval.kind != "sequence" for interval in intervals):
        return None
    upper = [interval for interval in intervals if interval.items[0] == _LOW]
    lower = [interval for interval in intervals if interval.items[1] == _HIGH]
    if len(upper) != 1 or len(lower) != 1:
        return None
    return letter, _interval(lower[0].mark[0], lower[0].items[0], upper[0].items[1], upper[0].mark[1])


def _interval(opening: str, low: Form, high: Form, closing: str) -> Form:
    return Form("sequence", f"{opening}{low.text},{high.text}{closing}", (low, high), opening + closing)
