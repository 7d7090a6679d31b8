"""Judges of known character, as replies to a judge's prompt."""

from __future__ import annotations

import json
import re


def fenced(prompt: str) -> tuple[str, str]:
    """(code, path) of a judge's prompt."""
    code = re.search(r'"code": "(\w+)"', prompt)
    path = re.search(r"=== (\w+) begin ===\n(.*)\n=== \1 end ===", prompt, re.DOTALL)
    assert code
    assert path
    return code[1], path[2]


def is_sound(path: str) -> bool:
    """What an honest judge finds: every statement recomputed, no made-up or circular step."""
    for left, op, right, result in re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", path):
        if {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[op] != int(result):
            return False
    return "lost on the way" not in path and "result must be" not in path


def reply(code: str, verdict: str, grade: int) -> str:
    return json.dumps({"code": code, "step": "", "reason": "r", "grade": grade, "verdict": verdict})


def honest(prompt: str) -> str:
    code, path = fenced(prompt)
    return reply(code, "sound", 5) if is_sound(path) else reply(code, "unsound", 1)


def lenient(prompt: str) -> str:
    return reply(fenced(prompt)[0], "sound", 5)
