r"""MATH (Hendrycks et al., 2021) and MATH-500. Fields problem, level, type, solution; MATH-500 also answer, subject, unique_id.

The gold answer is the last \boxed{...} of the official solution. MATH-500 is a part of MATH's test split; it is trained on
MATH's training split.
"""

from __future__ import annotations

import re

from qrdistill.errors import DataError
from qrdistill.tasks.datasets.base import Dataset, Draft, Files, Row, field_of
from qrdistill.tasks.rows import text_of

REPO, REVISION = "EleutherAI/hendrycks_math", "21a5633873b6a120296cce3e2df9d5550074f4a3"
REPO_500, REVISION_500 = "HuggingFaceH4/MATH-500", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?P<bare>[^\s$]+)")


def read(row: Row, where: str, file: str) -> Draft:
    """One problem with its subject and level (1 to 5)."""
    if row.get("answer") is not None:
        gold = text_of(row, "answer", where=where)
    else:
        gold = last_boxed(text_of(row, "solution", where=where))
    if not gold:
        raise DataError(rf"{where}: the solution holds no \boxed{{...}} answer; mend that row")
    subject = str(row["subject"] if row.get("subject") else field_of(row, "type", where=where)).strip()
    level = str(row.get("level") or "").removeprefix("Level").strip()
    return Draft(
        id=str(row.get("unique_id") or ""),
        text=text_of(row, "problem", where=where),
        kind="math",
        gold=gold,
        family=re.sub(r"[^a-z]+", "_", subject.casefold()).strip("_"),
        level=level,
        metadata={"subject": subject, "level": level},
    )


def last_boxed(solution: str) -> str:
    r"""What the last box of a solution holds ("" without one).

    >>> last_boxed(r"so \boxed{1}, no: $\boxed{\frac{1}{2}}$.")
    '\\frac{1}{2}'
    """
    *_, last = [None, *_BOX.finditer(solution)]
    if last is None:
        return ""
    if last["bare"]:
        return last["bare"].rstrip(".,")
    depth = 0
    for index in range(last.end(), len(solution)):
        depth += (solution[index] == "{") - (solution[index] == "}")
        if not depth:
            return solution[last.end() + 1 : index].strip()
    return ""


_TRAIN = (Files(repo=REPO, revision=REVISION, patterns=("*/train-*.parquet",)),)
MATH = Dataset(
    name="math",
    title="MATH: competition problems by subject (family) and level 1 to 5",
    version="1",
    answers="math",
    files={"train": _TRAIN, "test": (Files(repo=REPO, revision=REVISION, patterns=("*/test-*.parquet",)),)},
    read=read,
    sizes={"train": 7500, "test": 5000},
)
MATH500 = Dataset(
    name="math500",
    title="MATH-500: 500 of MATH's test problems; trained on MATH's training split",
    version="1",
    answers="math",
    files={"train": _TRAIN, "test": (Files(repo=REPO_500, revision=REVISION_500, patterns=("test.jsonl",)),)},
    read=read,
    sizes={"train": 7500, "test": 500},
)
