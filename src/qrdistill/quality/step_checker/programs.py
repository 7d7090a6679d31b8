"""Programs inside a path: found, run by our own interpreter, and compared with what the text says they print."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from qrdistill.quality.step_checker.finding import Finding
from qrdistill.tasks.programs import ProgramError, run_program

_FENCE = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_CODE_LINE = re.compile(
    r"^\s*(?:(?:for|while|if|elif|def|with)\b.*:\s*(?:#.*)?|(?:else|try):\s*|(?:from|import)\s+\w.*|print\(.*\)\s*(?:#.*)?|return\b.*"
    r"|(?:break|continue|pass)\s*|[A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*\s*(?:[-+*/%]|//)?=(?!=).*|#.*|\s*)$"
)
_CLAIM = re.compile(
    r"(?i)(?:output(?:s| is| of the program is)?|it prints|prints|the program (?:prints|outputs|returns)|printed)\s*[:=]?\s*"
    r"[`'\"]?(-?\d[\d,]*(?:\.\d+)?|[A-Za-z]+)"
)


@dataclass(frozen=True, slots=True)
class Program:
    """A program and where it stands in the text."""

    source: str
    start: int
    end: int


def find_programs(text: str) -> list[Program]:
    """Fenced code, else the longest runs of lines that are Python and print something."""
    fenced = [Program(match[1], match.start(), match.end()) for match in _FENCE.finditer(text)]
    return fenced or _bare_programs(text)


def _bare_programs(text: str) -> list[Program]:
    programs: list[Program] = []
    block: list[str] = []
    start = position = 0
    for line in [*text.splitlines(keepends=True), ""]:
        if line and _CODE_LINE.match(line.rstrip("\n")):
            if not block:
                start = position
            block.append(line)
        elif block:
            source = "".join(block)
            if "print(" in source and _is_python(source):
                programs.append(Program(source, start, start + len(source)))
            block = []
        position += len(line)
    return programs


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def without_programs(text: str, programs: list[Program]) -> str:
    """The text with its programs blanked out, so that code is not read as prose."""
    for program in reversed(programs):
        text = text[: program.start] + "\n" + text[program.end :]
    return text


def check_program(text: str, program: Program, final_answer: str) -> Finding | None:
    """Whether a program prints what the text says (else: the final answer); None when it cannot be run or compared."""
    try:
        printed = run_program(program.source)
    except ProgramError:
        return None
    if not printed:
        return None
    claim = _CLAIM.search(text, program.end)
    claimed = claim[1] if claim else final_answer
    if not claimed or (not claim and not _is_number(claimed)):
        return None
    is_true = _same(printed[-1], claimed)
    return Finding(
        quote=program.source.strip(),
        is_true=is_true,
        reason="" if is_true else f"the program prints {printed[-1]}, not {claimed}",
    )


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"-?\d[\d,]*(?:\.\d+)?", text))


def _same(printed: str, claimed: str) -> bool:
    if _is_number(printed) and _is_number(claimed):
        return abs(float(printed.replace(",", "")) - float(claimed.replace(",", ""))) < 1e-6
    return printed.strip().casefold() == claimed.strip().casefold()
