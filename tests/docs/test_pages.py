"""What the README and the documentation show is run: every command, every program, every recipe."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.pages import (
    PAGES,
    ROOT,
    SMOKE,
    VERBS,
    WITH_BLOCKS,
    Block,
    blocks,
    commands_of,
    faults_of,
    faults_of_command,
    inline_commands,
)
from qrdistill import errors
from qrdistill.config import load_recipe, parse_yaml, validate
from qrdistill.store import Run
from qrdistill.tasks import load_tasks

NOT_RUN = {
    "README.md": ["takes 12 minutes"],
    "CONTRIBUTING.md": ["is this test suite itself"],
    "docs/index.md": ["needs the network", "takes 12 minutes"],
    "docs/teachers.md": ["needs a key"],
    "docs/guides/runs.md": ["needs a terminal"],  # tests/report/test_report_watch.py gives it one
    "docs/guides/exchange.md": ["needs a key"],  # tests/sharing/test_hub.py uploads to a server of its own
    "docs/guides/multi-gpu.md": ["needs several machines"],
}
"""Every block that is not run by `make test`, and why. A new one has to be entered here by hand."""

BASH = ["bash", "-euo", "pipefail", "-c"]


def test_every_fence_is_seen() -> None:
    for page in WITH_BLOCKS:
        fences = len(re.findall(r"^\s*```", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert fences == 2 * len(list(blocks(page))), page
    assert len(WITH_BLOCKS) > 6


def left_out(pages: list[Path]) -> dict[str, list[str]]:
    """The reasons of the blocks that are not run, by page."""
    reasons = {str(page.relative_to(ROOT)): [block.why_not for block in blocks(page) if block.why_not] for page in pages}
    return {page: why for page, why in reasons.items() if why}


def test_what_is_not_run_stands_on_a_short_list() -> None:
    assert left_out(WITH_BLOCKS) == NOT_RUN


def test_every_block_is_run_or_says_why_not() -> None:
    """Each language has something that executes it; only shell commands may be left out."""
    for page in WITH_BLOCKS:
        for block in blocks(page):
            assert block.language in ("sh", "bash", "python", "yaml"), f"{page.name}: nothing runs ```{block.language}"
            assert not block.why_not or block.language in ("sh", "bash"), f"{page.name}: {block.code}"


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """A folder like a fresh clone after `make`, in which `qrdistill` is this source; nothing else of ours is on the path."""
    for name in ("recipes", "constraints.txt", "Makefile", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    programs = {"qrdistill": "qrdistill", "qrd": "qrdistill", "torchrun": "torch.distributed.run"}
    for name, module in programs.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (tools / name).chmod(0o755)
    (tools / "activate").write_text('PATH="$PWD/.venv/bin:$PATH"\n')
    for stamp in ("made", "installed"):
        (tools.parent / stamp).touch()
    return {
        **os.environ,
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_works(page: Path, shell: dict[str, str], tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            validate(parse_yaml(block.code), where=page.name)
        if block.saved_as:
            (tmp_path / block.saved_as).write_text(block.code)
        if block.why_not or block.language == "yaml":
            continue
        if "tensorboard" in block.code and find_spec("tensorboard") is None:
            assert faults_of(block) == []
            continue
        program = [sys.executable, "-c"] if block.language == "python" else BASH
        done = subprocess.run([*program, block.run], cwd=tmp_path, env=shell, capture_output=True, text=True, timeout=1000)
        assert done.returncode == 0, f"{page.name}:\n{block.run}\n{done.stdout}\n{done.stderr}"


@pytest.mark.nightly
@pytest.mark.real
@pytest.mark.timeout(7200)
def test_the_quickstart_works_as_the_readme_shows_it(shell: dict[str, str], tmp_path: Path) -> None:
    """At night: `make quickstart` itself, and the commands on its run that the page names after it."""
    shown = [
        block.code for block in blocks(ROOT / "README.md") if "make quickstart" in block.code or "runs/quickstart " in block.code
    ]
    assert len(shown) == 2
    for code in shown:
        done = subprocess.run([*BASH, code], cwd=tmp_path, env=shell, capture_output=True, text=True, timeout=7000)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "runs" / "quickstart" / "report.html").is_file()


def test_the_question_of_the_quickstart_is_one() -> None:
    """The page's own commands name a question that the quickstart asks; the smaller run has one of its own."""
    for recipe, id_ in zip(("quickstart", "smoke"), list(SMOKE.items())[1], strict=True):
        config = load_recipe(ROOT / "recipes" / f"{recipe}.yaml")
        asked = config.questions
        sizes = {"train": asked.num_train, "validation": asked.num_validation, "test": asked.num_test}
        tasks = load_tasks(config).values()
        assert id_ in {question.id for task in tasks for split, size in sizes.items() for question in task.questions(split, size)}


def test_what_is_not_run_could_be() -> None:
    skipped = [(page, block) for page in WITH_BLOCKS for block in blocks(page) if block.why_not]
    assert sum(len(commands_of(block.code, "qrdistill")) for _, block in skipped) > 5
    for page, block in skipped:
        assert faults_of(block) == [], page.name


def test_commands_inside_sentences_could_be_run() -> None:
    found = [(page.name, command) for page in [*PAGES, ROOT / "docs" / "llms.txt"] for command in inline_commands(page)]
    assert len(found) > 30
    faults = [f"{page}: {fault}" for page, command in found for fault in faults_of_command(command)]
    assert faults == []


def test_a_block_nobody_runs_and_a_command_nobody_can_type_are_found(tmp_path: Path) -> None:
    page = ROOT / "docs" / "page.md"
    text = "`qrdistill shw RUN` and `check RECIPE --pilott 5`\n\n<!-- not run: no time -->\n```sh\nqrdistill ls runs\n```\n"
    moved = tmp_path / page.name
    moved.write_text(text)
    assert [block.why_not for block in blocks(moved)] == ["no time"]
    assert [len(faults_of_command(command)) for command in inline_commands(moved)] == [1, 1]


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
    found = faults_of(Block("sh", code + "\n"))
    assert len(found) == 1
    assert fault in found[0]


def test_a_broken_command_is_found(tmp_path: Path, shell: dict[str, str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("Text:\n\n```sh\nqrdistill check recipes/smok.yaml\n```\n")
    with pytest.raises(AssertionError, match="there is no recipe"):
        test_what_a_page_shows_works(page, shell, tmp_path)


def test_every_verb_stands_on_the_command_line_page() -> None:
    text = (ROOT / "docs" / "reference" / "cli.md").read_text()
    missing = [verb for verb in VERBS if f"`{verb}" not in text]
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
