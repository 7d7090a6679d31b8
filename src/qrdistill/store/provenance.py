"""Where a run's results come from: hashes of code and data, versions of packages."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from pathlib import Path

from qrdistill.config import content_hash
from qrdistill.store import files

_PACKAGES = ("numpy", "pydantic", "reasoning-gym", "math-verify", "torch", "transformers", "peft", "sentence-transformers")
DATA_ENDS = (".jsonl", ".json", ".parquet")
"""What counts as data in a folder, up to one folder deep."""


def data_hash(name: str) -> str:
    """SHA-256 of an input file, or of the data files of a folder ("" when missing); read again only when size or time change."""
    path = Path(name)
    if path.is_dir():
        found = sorted(file for end in DATA_ENDS for depth in ("", "*/") for file in path.glob(f"{depth}*{end}"))
        return content_hash({str(file.relative_to(path)): data_hash(str(file)) for file in found})
    if not path.is_file():
        return ""
    status = path.stat()
    return _hash_once(path, status.st_size, status.st_mtime_ns)


@cache
def _hash_once(path: Path, size: int, mtime_ns: int) -> str:
    return files.sha256(path)


@cache
def code_hash() -> str:
    """Hash of this package's source: tells two checkouts of one version apart."""
    root = Path(__file__).parents[1]
    return content_hash({str(path.relative_to(root)): files.sha256(path) for path in sorted(root.rglob("*.py"))})


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    found = {}
    for package in ("qrdistill", *_PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found
