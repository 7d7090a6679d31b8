r"""BIG-bench date_understanding (Srivastava et al., 2022): 369 questions about dates. The hub's rows have inputs,
multiple_choice_targets and multiple_choice_scores; rows with question, choices and answerKey are read as well.

There is no official test split (the hub's train and validation are parts of one list). All 369 are split into 169 test and 200
training questions, the numbers of the literature, by a hash of the content. A folder that holds another number of questions
and no test file gives as many test questions as the recipe asks for; one that holds a test file is taken as it is. The hub
lists the right option first far too often, so its options are put into the order of a hash.
"""

from __future__ import annotations

import re

from qrdistill.errors import DataError
from qrdistill.tasks.datasets import arc_challenge
from qrdistill.tasks.datasets.base import Dataset, Draft, Files, Row, field_of
from qrdistill.tasks.reasoning.family import unit_hash
from qrdistill.tasks.rows import shown, text_of

REPO, REVISION = "tasksource/bigbench", "main"
"""No commit of this repository could be pinned without reaching it; name one with `revision`."""
_AROUND = re.compile(r"^\s*Q:\s*|\n\s*choice:.*|\s*\n?A:\s*$")


def read(row: Row, where: str, file: str) -> Draft:
    """One question."""
    if "answerKey" in row:
        return arc_challenge.read(row, where, file)
    texts = field_of(row, "multiple_choice_targets", where=where)
    scores = field_of(row, "multiple_choice_scores", where=where)
    if not isinstance(texts, list) or not isinstance(scores, list) or len(texts) != len(scores) or scores.count(1) != 1:
        raise DataError(f"{where}: the scores are {shown(scores)} for the options {shown(texts)}, expected one 1 and else 0")
    text = _AROUND.sub("", text_of(row, "inputs", where=where)).strip()
    right = texts[scores.index(1)]
    ordered = sorted(texts, key=lambda option: unit_hash(text, option))
    choices = tuple((chr(ord("A") + number), str(option)) for number, option in enumerate(ordered))
    return Draft(text=text, kind="choice", gold=choices[ordered.index(right)][0], choices=choices)


DATE_UNDERSTANDING = Dataset(
    name="date_understanding",
    title="BIG-bench date_understanding: which date is meant; 169 test questions by a seeded split",
    version="1",
    answers="choice",
    files={
        "train": (
            Files(
                repo=REPO,
                revision=REVISION,
                patterns=("date_understanding/train-*.parquet", "date_understanding/validation-*.parquet"),
            ),
        )
    },
    read=read,
    sizes={"train": 200, "test": 169},
    test_share=(169, 369),
)
