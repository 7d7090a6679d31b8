"""What the README and the documentation show is run: every command, every program, every recipe."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from qrdistill import errors
from qrdistill.cli.main import app
from qrdistill.config import parse_yaml, validate
from qrdistill.store import Run

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*/*.md")])
FENCE = re.compile(
    r"(?P<before>[^\n]*)\n(?:\n)?```(?P<language>\w*)\n(?P<code>.*?)^```\n+(?P<after>[^\n]*)", re.DOTALL | re.MULTILINE
)
SKIP = re.compile(r"<!-- not run: (.{10,}) -->")
USAGE_ERROR = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
KNOWN = {"sh", "bash", "python", "yaml", "json", ""}


@dataclass(frozen=True)
class Block:
    """One fenced block. `why_not` says why it is not run ("": it is); `saved_as` is the file the text says it is saved as."""

    language: str
    code: str
    why_not: str
    saved_as: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for match in FENCE.finditer("\n" + page.read_text(encoding="utf-8") + "\n"):
        skip = SKIP.search(match["before"])
        saved = re.match(r"Saved as `([\w.]+)`", match["after"])
        yield Block(match["language"], match["code"], skip[1] if skip else "", saved[1] if saved else "")


WITH_BLOCKS = [page for page in PAGES if "```" in page.read_text(encoding="utf-8")]


def test_every_fence_is_seen() -> None:
    for page in WITH_BLOCKS:
        fences = len(re.findall(r"^\s*```", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert fences == 2 * len(list(blocks(page))), page
    assert len(WITH_BLOCKS) > 6


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """A folder like a fresh clone, in which `qrdistill` is this source; nothing else of ours is on the path."""
    for name in ("recipes", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    tools = tmp_path / ".tools"
    tools.mkdir()
    for name in ("qrdistill", "qrd"):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m qrdistill "$@"\n')
        (tools / name).chmod(0o755)
    (tools / "torchrun").write_text(f'#!/bin/sh\nexec {sys.executable} -m torch.distributed.run "$@"\n')
    (tools / "torchrun").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_works(page: Path, shell: dict[str, str], tmp_path: Path) -> None:
    verbs = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for block in blocks(page):
        assert block.language in KNOWN, block
        if block.language == "":  # a synopsis: its verbs must exist
            for verb in re.findall(r"^(?:qrdistill|qrd) (\w+)", block.code, re.MULTILINE):
                assert verb in verbs, f"{page.name}: {verb}"
        elif block.language == "yaml":
            validate(parse_yaml(block.code), where=page.name)
        if block.saved_as:
            (tmp_path / block.saved_as).write_text(block.code)
        if block.why_not or block.language not in ("sh", "bash", "python"):
            continue
        program = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
        done = subprocess.run([*program, block.code], cwd=tmp_path, env=shell, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{page.name}:\n{block.code}\n{done.stdout}\n{done.stderr}"


def commands_of(code: str, program: str) -> list[list[str]]:
    """The arguments of every call of a program in a shell block."""
    lines = code.replace("\\\n", " ").splitlines()
    return [
        shlex.split(found[1], comments=True)
        for line in lines
        if (found := re.search(rf"(?:^|\s|/)(?:-m )?{program} (?!install)(.*)", line)) and "$" not in line
    ]


def faults_of(block: Block) -> list[str]:
    """What cannot work in a block that is not run: verbs, options, make targets, extras and syntax are looked up."""
    if block.language == "python":
        compile(block.code, "page", "exec")
        return []
    faults = []
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for verb, *arguments in commands_of(block.code, "qrdistill"):
        try:
            verbs[verb].make_context(verb, list(arguments))
        except KeyError:
            faults.append(f"qrdistill {verb}: there is no such verb")
        except USAGE_ERROR as error:
            faults.append(f"qrdistill {verb}: {error.format_message()}")
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    faults += [f"make {name}" for name in re.findall(r"^make (\w+)", block.code, re.MULTILINE) if name not in targets]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for group in re.findall(r"(?:qrdistill|\.)\[([\w,]+)\]'", block.code) for name in group.split(",")}
    return faults + [f"extra {name}" for name in sorted(named - extras.keys())]


def test_what_is_not_run_could_be() -> None:
    skipped = [(page, block) for page in WITH_BLOCKS for block in blocks(page) if block.why_not]
    assert len(skipped) > 5
    assert sum(len(commands_of(block.code, "qrdistill")) for _, block in skipped) > 5
    for page, block in skipped:
        assert faults_of(block) == [], page.name


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("qrdistill shw RUN", "qrdistill shw"),
        ("qrdistill export RUN data --push-it me/x", "--push-it"),
        (".venv/bin/qrdistill explain runs/x", "QUESTION_ID"),
        ("make quikstart", "make quikstart"),
        ("pip install 'qrdistill[tvi]'", "extra tvi"),
    ],
)
def test_a_fault_in_what_is_not_run_is_found(code: str, fault: str) -> None:
    found = faults_of(Block("sh", code + "\n", "planted for this test", ""))
    assert len(found) == 1
    assert fault in found[0]


def test_a_broken_command_is_found(tmp_path: Path, shell: dict[str, str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("Text:\n\n```sh\nqrdistill check recipes/smok.yaml\n```\n")
    with pytest.raises(AssertionError, match="there is no recipe"):
        test_what_a_page_shows_works(page, shell, tmp_path)


def test_every_verb_stands_on_the_command_line_page() -> None:
    text = (ROOT / "docs" / "reference" / "cli.md").read_text()
    missing = [verb for verb in typer.main.get_command(app).commands if f"`{verb}" not in text]  # type: ignore[attr-defined]
    assert missing == []


def test_the_exit_codes_on_the_page_are_the_exit_codes() -> None:
    text = (ROOT / "docs" / "reference" / "cli.md").read_text()
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE) for code in row.split(",")}
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.QRDistillError)]
    assert {error.exit_code for error in classes} | {0, 130, 141, 143} == listed


def test_every_metric_of_a_run_is_explained(tmp_path: Path) -> None:
    import json

    from qrdistill.pipeline import run_pipeline
    from recipes import toy_recipe

    run: Run = run_pipeline(toy_recipe(), tmp_path / "run", until="train")
    names = {name for line in run.metrics.read_text().splitlines() for name in json.loads(line)}
    students = [student.name for student in run.config.students]
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    listed = set(re.findall(r"`([\w/]+)`", text))
    unexplained = []
    for name in sorted(names):
        parts = [
            "STUDENT" if part in students else "STYLE" if part in run.config.generate.styles else part for part in name.split("/")
        ]
        if "/".join(parts) not in listed:
            unexplained.append(name)
    assert names
    assert unexplained == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|iframe)[^>]* src=\"(?:https?:)?//|<link[^>]*stylesheet[^>]*href=\"https?:", page.read_text()
        )
        assert not loaded, f"{page.name} asks another host"
    for address in re.findall(r"\]\(([\w/.]+)\)", (tmp_path / "site" / "llms.txt").read_text()):
        assert (tmp_path / "site" / address).is_file(), address
