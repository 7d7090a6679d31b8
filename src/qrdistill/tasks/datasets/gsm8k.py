"""GSM8K (Cobbe et al., 2021): word problems. Fields question, answer (a solution that ends in "#### " and the number)."""

from __future__ import annotations

from qrdistill.errors import DataError
from qrdistill.tasks.datasets.base import Dataset, Draft, Files, Row
from qrdistill.tasks.gold import read_gold
from qrdistill.tasks.rows import shown, text_of

REPO, REVISION = "openai/gsm8k", "740312add88f781978c0658806c59bc2815b9866"


def read(row: Row, where: str, file: str) -> Draft:
    """One problem; the level is the number of lines of the official solution (its steps)."""
    solution, mark, gold = text_of(row, "answer", where=where).rpartition("####")
    if not mark or not gold.strip():
        raise DataError(f"{where}: the answer is {shown(row['answer'])}, expected a solution that ends in '#### ' and a number")
    num_steps = len([line for line in solution.splitlines() if line.strip()])
    return Draft(
        text=text_of(row, "question", where=where),
        kind="number",
        gold=read_gold("number", gold.strip().replace(",", ""), (), where),
        level=str(num_steps),
        metadata={"num_steps": num_steps},
    )


GSM8K = Dataset(
    name="gsm8k",
    title="GSM8K: grade-school word problems; level = steps of the official solution",
    version="1",
    answers="number",
    files={
        "train": (Files(repo=REPO, revision=REVISION, patterns=("main/train-*.parquet",)),),
        "test": (Files(repo=REPO, revision=REVISION, patterns=("main/test-*.parquet",)),),
    },
    read=read,
    sizes={"train": 7473, "test": 1319},
)
