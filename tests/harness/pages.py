"""The fenced blocks and inline commands of README and docs, and what can be said about a command without running it."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer.main

from qrdistill.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")])
WITH_BLOCKS = [page for page in PAGES if "```" in page.read_text(encoding="utf-8")]
FENCE = re.compile(
    r"(?P<before>[^\n]*)\n(?:\n)?```(?P<language>\w*)\n(?P<code>.*?)^```\n(?=\n*(?P<after>[^\n]*))", re.DOTALL | re.MULTILINE
)
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
USAGE_ERROR = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
SMOKE = {
    "quickstart": "smoke",
    "chain_sum-251e19c9c0": "chain_sum-062bd60cb7",  # a question of the one, a question of the other
    "--seeds 0-4": "--seeds 0",
}
"""What `<!-- run with the smoke recipe -->` above a block changes in it before it is run."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    `code` is what a reader sees, `run` what is run (`SMOKE` applied where the page says so), `why_not` says why it is not run
    ("": it is), `saved_as` is the file the text says it is saved as.
    """

    language: str
    code: str
    run: str = ""
    why_not: str = ""
    saved_as: str = ""


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for match in FENCE.finditer("\n" + page.read_text(encoding="utf-8") + "\n"):
        skip = re.search(r"<!-- not run: (.+) -->", match["before"])
        saved = re.match(r"Saved as `([\w.]+)`", match["after"])
        code = run = match["code"]
        if "<!-- run with the smoke recipe -->" in match["before"]:
            for shown, smaller in SMOKE.items():
                run = run.replace(shown, smaller)
        yield Block(match["language"], code, run, skip[1] if skip else "", saved[1] if saved else "")


def commands_of(code: str, program: str) -> list[list[str]]:
    """The arguments of every call of a program in a shell block."""
    lines = code.replace("\\\n", " ").splitlines()
    return [
        shlex.split(found[1], comments=True)
        for line in lines
        if (found := re.search(rf"(?:^|\s|/)(?:-m )?{program} (?!install)(.*)", line)) and "$" not in line
    ]


def inline_commands(page: Path) -> Iterator[list[str]]:
    """Commands of ours that stand inside a sentence or a table: `qrdistill ls tasks`, `check RECIPE --pilot 5 -o RUN`."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`([^`\n]+)`", text):
        words = span.split()
        if words[0] in ("qrdistill", "qrd") and len(words) > 1:
            yield shlex.split(span)[1:]
        elif words[0] in VERBS and any(re.fullmatch(r"[A-Z_]{3,}|--[a-z].*", word) for word in words[1:]):
            yield shlex.split(span)


def faults_of_command(arguments: list[str]) -> list[str]:
    """What is wrong with a command of ours: its verb, options and arguments are parsed, nothing is run."""
    verb, *rest = arguments
    if verb == "VERB" or verb.startswith("-"):
        return []
    if verb not in VERBS:
        return [f"qrdistill {verb}: there is no such verb"]
    if not rest:
        return []  # the verb is mentioned, not typed
    try:
        VERBS[verb].make_context(verb, ["1" if word == "N" else word for word in rest])
    except USAGE_ERROR as error:
        return [f"qrdistill {verb}: {error.format_message()}"]
    return []


def faults_of(block: Block) -> list[str]:
    """What cannot work in a shell block that is not run: verbs, options, make targets and extras are looked up."""
    faults = [fault for command in commands_of(block.code, "qrdistill") for fault in faults_of_command(command)]
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    faults += [f"make {name}" for name in re.findall(r"^make (\w+)", block.code, re.MULTILINE) if name not in targets]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for group in re.findall(r"(?:qrdistill|\.)\[([\w,]+)\]'", block.code) for name in group.split(",")}
    return faults + [f"extra {name}" for name in sorted(named - extras.keys())]
