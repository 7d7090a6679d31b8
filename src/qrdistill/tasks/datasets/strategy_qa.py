"""StrategyQA (Geva et al., 2021): yes/no questions with implicit steps. Fields qid, question, answer (a truth value)."""

from __future__ import annotations

from qrdistill.tasks.datasets.base import Dataset, Draft, Files, Row, field_of
from qrdistill.tasks.gold import read_gold
from qrdistill.tasks.rows import text_of

REPO, REVISION = "ChilleD/StrategyQA", "705562638fe1d8ca6bb98c66fc8f94d45fda8c83"


def read(row: Row, where: str, file: str) -> Draft:
    """One question; `term` is the thing it is about."""
    answer = field_of(row, "answer", where=where)
    gold = ("yes" if answer else "no") if isinstance(answer, bool) else text_of(row, "answer", where=where)
    return Draft(
        id=text_of(row, "qid", where=where) if row.get("qid") else "",
        text=text_of(row, "question", where=where),
        kind="yesno",
        gold=read_gold("yesno", gold, (), where),
        metadata={"term": str(row.get("term") or "")},
    )


STRATEGY_QA = Dataset(
    name="strategy_qa",
    title="StrategyQA: yes/no questions with implicit reasoning steps",
    version="1",
    answers="yesno",
    files={
        "train": (Files(repo=REPO, revision=REVISION, patterns=("data/train-*.parquet",)),),
        "test": (Files(repo=REPO, revision=REVISION, patterns=("data/test-*.parquet",)),),
    },
    read=read,
    sizes={"train": 1603, "test": 687},
)
