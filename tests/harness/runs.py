"""What tests ask of a run folder while, or after, another process works on it."""

from __future__ import annotations

from pathlib import Path

from qrdistill.store import Ledger


def exports(folder: Path) -> dict[str, bytes]:
    """The bytes of every JSONL export."""
    return {path.name: path.read_bytes() for path in sorted((folder / "exports").glob("*.jsonl"))}


def has_begun(folder: Path, stage: str) -> bool:
    """Whether a stage is under way."""
    place = folder / "ledger.sqlite"
    if not place.exists():
        return False
    ledger = Ledger(place, is_read_only=True)
    try:
        return ledger.noted(f"begun/{stage}") is not None
    finally:
        ledger.close()
