"""TabMWP (Lu et al., 2023): word problems over small tables. Files problems_train.json, problems_dev.json, problems_test.json of
its authors (id -> question, choices, answer, unit, table_title, table, ques_type, ans_type, grade); rows of the same fields too.
"""

from __future__ import annotations

from qrdistill.tasks.datasets.base import Dataset, Draft, Files, Row
from qrdistill.tasks.gold import guess_kind, read_choices, read_gold
from qrdistill.tasks.rows import text_of
from qrdistill.types import AnswerKind

TEXT = "Table: {title}\n{table}\n{question}{unit}"
_HOW = "get problems_train.json, problems_dev.json and problems_test.json from its authors (lupantech/PromptPG on GitHub)"


def read(row: Row, where: str, file: str) -> Draft:
    """One problem; the level is the school grade."""
    choices = read_choices(row.get("choices"), where=where)
    answer = text_of(row, "answer", where=where)
    kind: AnswerKind = "choice" if choices else "number" if guess_kind(answer) == "number" else "math"
    unit = str(row.get("unit") or "").strip()
    text = TEXT.format(
        title=str(row.get("table_title") or "").strip() or "(no title)",
        table=text_of(row, "table", where=where),
        question=text_of(row, "question", where=where),
        unit=f" (unit: {unit})" if unit else "",
    )
    return Draft(
        id=text_of(row, "id", where=where) if row.get("id") else "",
        text=text,
        kind=kind,
        gold=read_gold(kind, answer.replace(",", "") if kind == "number" else answer, choices, where),
        choices=choices,
        level=str(row.get("grade") or ""),
        metadata={"question_type": str(row.get("ques_type") or ""), "answer_type": str(row.get("ans_type") or "")},
    )


TABMWP = Dataset(
    name="tabmwp",
    title="TabMWP: word problems over tables, from its authors' files; level = school grade",
    version="1",
    answers="number, choice",
    files={
        "train": (Files(repo="", revision=_HOW, patterns=("problems_train.json",)),),
        "validation": (Files(repo="", revision=_HOW, patterns=("problems_dev.json",)),),
        "test": (Files(repo="", revision=_HOW, patterns=("problems_test.json",)),),
    },
    read=read,
    sizes={"train": 23059, "validation": 7686, "test": 7686},
)
