"""Where the numbers come from: stages, versions, data hashes, the config, and the command that makes them again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from qrdistill.config import content_hash, dump
from qrdistill.errors import CorruptRunError
from qrdistill.report.blocks import Block, Heading, Listing, Prose, Section, Tables
from qrdistill.report.reading import rows, whole
from qrdistill.report.sections.leaks import leak_table
from qrdistill.report.tables import NONE, Cell, Table, count, number, table
from qrdistill.report.text import as_text
from qrdistill.store import STAGES, Run, Stage

WORK: tuple[Stage, ...] = tuple(stage for stage in STAGES if stage != "report")
"""The stages a report is about."""


def missing_stages(run: Run) -> list[Stage]:
    """Stages that have not finished for the folder's config."""
    return [stage for stage in WORK if not run.is_done(stage)]


def provenance_section(run: Run) -> Section:
    """Everything needed to check or repeat the run."""
    name = shlex.quote(run.config.name)
    command = f"qrdistill run recipe.yaml -o runs/{name}"
    blocks: list[Block | Heading] = [
        Prose("Save the config below as recipe.yaml and run the command; the same versions and data give the same ledger."),
        Listing("Command", command),
        Listing("Config, every field written out", dump(run.config), is_folded=True),
        Tables((_stage_table(run), _split_table(run), leak_table(run))),
        Tables(_manifest_tables(run)),
    ]
    return Section("reproduce", "How to reproduce", tuple(blocks))


def _stage_table(run: Run) -> Table:
    body: list[list[Cell | str]] = []
    for stage in WORK:
        is_done = run.is_done(stage)
        said = "; ".join(f"{key} {value}" for key, value in sorted(flat(run.summary(stage)).items()))
        state = Cell("finished", tone="good") if is_done else Cell("not finished", tone="warning")
        body.append([stage, state, run.fingerprint(stage), said or NONE])
    return table("Stages", ["Stage", "~State", "~Fingerprint", "~What it noted"], body)


def flat(value: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Leaves of a nested mapping as text, keys joined by dots.

    >>> flat({"a": {"b": 1500}, "c": 0.5})
    {'a.b': '1,500', 'c': '0.5'}
    """
    leaves: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            leaves.update(flat(item, f"{prefix}{key}."))
        elif isinstance(item, float):
            leaves[prefix + str(key)] = number(item, 4)
        else:
            leaves[prefix + str(key)] = count(item) if isinstance(item, int) and not isinstance(item, bool) else str(item)
    return leaves


def _split_table(run: Run) -> Table:
    found = rows(run, "SELECT task, split, count(*) FROM questions GROUP BY 1, 2")
    numbers = {(as_text(task), as_text(split)): whole(num) for task, split, num in found}
    splits = ("train", "validation", "test")
    body = [[task, *(count(numbers.get((task, split), 0)) for split in splits)] for task in sorted({task for task, _ in numbers})]
    return table("Questions", ["Task", *splits], body, note="Splits are disjoint; test questions are never trained on.")


def _manifest_tables(run: Run) -> tuple[Table, ...]:
    try:
        manifest = run.manifest()
    except CorruptRunError:
        manifest = {}
    versions = {str(name): str(version) for name, version in dict(manifest.get("versions", {})).items()}
    identity = {"recipe": run.config.name, "seed": str(run.config.seed), "config hash": content_hash(run.config)}
    if overrides := run.overrides():
        identity["safeguards switched off"] = "; ".join(overrides)
    if "code_sha256" in manifest:
        identity["code hash"] = str(manifest["code_sha256"])
    tables = [
        table("Identity", ["What", "~Value"], [[name, value] for name, value in identity.items()]),
        table("Versions", ["Package", "~Version"], [[name, version] for name, version in sorted(versions.items())]),
    ]
    if hashes := run.data_hashes():
        body = [[path, digest or Cell("missing", tone="warning")] for path, digest in sorted(hashes.items())]
        tables.append(table("Data files", ["File", "~SHA-256"], body))
    return tuple(tables)
