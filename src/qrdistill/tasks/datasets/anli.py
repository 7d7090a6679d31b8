"""ANLI (Nie et al., 2020): inference questions written against models, in three rounds. Fields uid, premise, hypothesis, label.

`label` is 0 (entailment), 1 (neutral) or 2 (contradiction). The round stands in the file's name (train_r1 ...), or in a field
`round`. `anli` holds all three, `anli_r1` to `anli_r3` one each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from qrdistill.errors import DataError
from qrdistill.tasks.datasets.base import Dataset, Draft, Files, Row, field_of
from qrdistill.tasks.gold import read_gold
from qrdistill.tasks.rows import shown, text_of
from qrdistill.types import Split

REPO, REVISION = "facebook/anli", "8e4813d81f46d313dac7892e1c28076917cfcdf9"
TEXT = (
    "Premise: {premise}\nHypothesis: {hypothesis}\nDoes the premise entail the hypothesis, contradict it, or neither (neutral)?"
)
LABELS = ("entailment", "neutral", "contradiction")
_OFFICIAL: dict[Split, str] = {"train": "train", "validation": "dev", "test": "test"}
_SIZES: dict[int, dict[Split, int]] = {
    1: {"train": 16946, "validation": 1000, "test": 1000},
    2: {"train": 45460, "validation": 1000, "test": 1000},
    3: {"train": 100459, "validation": 1200, "test": 1200},
}


def read(row: Row, where: str, file: str) -> Draft:
    """One pair; the level is its round (R1 to R3)."""
    label = field_of(row, "label", where=where)
    if isinstance(label, int) and not isinstance(label, bool):
        if label not in range(len(LABELS)):
            raise DataError(f"{where}: the label is {shown(label)}, expected 0 (entailment), 1 (neutral) or 2 (contradiction)")
        gold = LABELS[label]
    else:
        gold = read_gold("nli", text_of(row, "label", where=where), (), where)
    found = re.search(r"_r([123])\b", file.replace("-", " ").replace(".", " "))
    number = str(row.get("round") or (found[1] if found else "")).removeprefix("R").removeprefix("r")
    premise, hypothesis = text_of(row, "premise", where=where), text_of(row, "hypothesis", where=where)
    level = f"R{number}" if number else ""
    return Draft(
        id=text_of(row, "uid", where=where) if row.get("uid") else "",
        text=TEXT.format(premise=premise, hypothesis=hypothesis),
        kind="nli",
        gold=gold,
        level=level,
        metadata={"round": level},
    )


def _dataset(name: str, title: str, rounds: Sequence[int]) -> Dataset:
    names = {split: tuple(f"{word}_r{number}" for number in rounds) for split, word in _OFFICIAL.items()}
    return Dataset(
        name=name,
        title=title,
        version="1",
        answers="nli",
        files={
            split: (Files(repo=REPO, revision=REVISION, patterns=tuple(f"plain_text/{word}-*.parquet" for word in words)),)
            for split, words in names.items()
        },
        read=read,
        sizes={split: sum(_SIZES[number][split] for number in rounds) for split in _OFFICIAL},
        local={
            split: tuple(f"{word}{end}" for word in words for end in (".jsonl", ".parquet", "-*.parquet"))
            for split, words in names.items()
        },
    )


ANLI = _dataset("anli", "ANLI, rounds 1 to 3: adversarial inference; level = round", (1, 2, 3))
ANLI_ROUNDS = tuple(_dataset(f"anli_r{number}", f"ANLI, round {number} only", (number,)) for number in (1, 2, 3))
