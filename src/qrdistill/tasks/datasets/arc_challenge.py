"""ARC-Challenge (Clark et al., 2018): school science. Fields id, question, choices (label, text), answerKey.

Some rows label their options 1 to 4 instead of A to D; here every row uses letters.
"""

from __future__ import annotations

from qrdistill.tasks.datasets.base import Dataset, Draft, Files, Row, field_of, lettered
from qrdistill.tasks.gold import read_choices
from qrdistill.tasks.rows import text_of
from qrdistill.types import Split

REPO, REVISION = "allenai/ai2_arc", "210d026faf9955653af8916fad021475a3f00453"
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def read(row: Row, where: str, file: str) -> Draft:
    """One question."""
    choices = read_choices(field_of(row, "choices", where=where), where=where)
    choices, gold = lettered(choices, text_of(row, "answerKey", where=where), where=where)
    return Draft(
        id=text_of(row, "id", where=where) if row.get("id") else "",
        text=text_of(row, "question", where=where),
        kind="choice",
        gold=gold,
        choices=choices,
    )


ARC_CHALLENGE = Dataset(
    name="arc_challenge",
    title="ARC-Challenge: science questions of school tests that retrieval does not answer",
    version="1",
    answers="choice",
    files={split: (Files(repo=REPO, revision=REVISION, patterns=(f"ARC-Challenge/{split}-*.parquet",)),) for split in _SPLITS},
    read=read,
    sizes={"train": 1119, "validation": 299, "test": 1172},
)
