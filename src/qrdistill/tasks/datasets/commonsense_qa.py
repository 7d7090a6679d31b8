"""CommonsenseQA (Talmor et al., 2019). Fields id, question, question_concept, choices (label, text), answerKey.

The official test answers are not published, so the official validation split is the test split here (as is usual), and
validation questions are split off the training questions.
"""

from __future__ import annotations

from dataclasses import replace

from qrdistill.tasks.datasets import arc_challenge
from qrdistill.tasks.datasets.base import Dataset, Draft, Files, Row

REPO, REVISION = "tau/commonsense_qa", "94630fe30dad47192a8546eb75f094926d47e155"


def read(row: Row, where: str, file: str) -> Draft:
    """One question; `concept` is the node of ConceptNet it was written around."""
    concept = str(row.get("question_concept") or "")
    return replace(arc_challenge.read(row, where, file), metadata={"concept": concept})


COMMONSENSE_QA = Dataset(
    name="commonsense_qa",
    title="CommonsenseQA: everyday knowledge, five options; test = the official validation split",
    version="1",
    answers="choice",
    files={
        "train": (Files(repo=REPO, revision=REVISION, patterns=("data/train-*.parquet",)),),
        "test": (Files(repo=REPO, revision=REVISION, patterns=("data/validation-*.parquet",)),),
    },
    read=read,
    sizes={"train": 9741, "test": 1221},
)
