"""The report of a study: report.html and report.md beside its study.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qrdistill.errors import DataError
from qrdistill.report.markdown import render_markdown
from qrdistill.report.page import render_page
from qrdistill.report.sections.study import headline, study_sections
from qrdistill.store import write_text

_KEYS = {"name", "arms", "paired", "students", "seeds", "variants", "max_label_tokens"}


def is_study(folder: str | Path) -> bool:
    """Whether a folder holds a finished study."""
    return (Path(folder) / "study.json").is_file()


def read_study(path: str | Path) -> dict[str, Any]:
    """A study.json.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); give a study.json that `qrdistill study` wrote") from error
    if not isinstance(found, Mapping) or _KEYS - found.keys():
        raise DataError(
            f"{path} is not a study ({', '.join(sorted(_KEYS))} expected); give a study.json that `qrdistill study` wrote"
        )
    return dict(found)


def write_study_report(folders: Sequence[str | Path]) -> Path:
    """Write the report of the first study, the others set beside it; the same studies always give the same bytes.

    Returns:
        The path of report.html.

    Raises:
        DataError: a study.json cannot be read.
        StorageError: the disk refuses.
    """
    places = [Path(folder) for folder in folders]
    studies = [read_study(place / "study.json") for place in places]
    names = _labels(places, studies)
    title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    lead = [
        headline(studies[0]),
        f"Students: {', '.join(studies[0]['students'])}. Seeds: {', '.join(map(str, studies[0]['seeds']))}.",
    ]
    warnings = ["One seed: the intervals say nothing about other seeds."] if len(studies[0]["seeds"]) == 1 else []
    sections = study_sections(studies, names)
    page = places[0] / "report.html"
    write_text(page, render_page(title, lead, warnings, sections, None))
    write_text(places[0] / "report.md", render_markdown(title, [*lead, *warnings], sections, []))
    return page


def _labels(places: Sequence[Path], studies: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [str(study["name"]) for study in studies]
    return [name if names.count(name) == 1 else f"{name} ({place.name})" for name, place in zip(names, places, strict=True)]
