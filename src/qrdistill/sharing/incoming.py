"""Data sets of other tools as questions and recorded paths: `messages`, ShareGPT `conversations`, Alpaca, prompt / completion.

The teacher of such a data set is whoever wrote the assistant's turns; its paths are replayed. A question needs a gold answer:
the column `answer` (or another one that is named), or, where the user says so, what each path itself states; the filter can then
find paths that contradict each other, but not a teacher that is always wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from qrdistill.config import STYLES, content_hash, validate
from qrdistill.errors import DataError
from qrdistill.sharing.messages import as_lines
from qrdistill.store import write_text
from qrdistill.tasks.answers import extract
from qrdistill.tasks.extract.records import Reading
from qrdistill.tasks.gold import guess_kind, read_choices, read_gold
from qrdistill.tasks.rows import read_rows, shown
from qrdistill.types import AnswerKind

_USERS, _ASSISTANTS, _SYSTEMS = {"user", "human"}, {"assistant", "gpt", "model"}, {"system"}
DEFAULT_STYLE = "cot"


@dataclass(slots=True)
class Imported:
    """What was found: questions by id and their paths, and why rows were passed over."""

    questions: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: list[dict[str, Any]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    num_samples: Counter[tuple[str, str]] = field(default_factory=Counter)


def convert(file: Path, folder: Path, *, answer_column: str = "answer", kind: AnswerKind | None = None) -> Imported:
    """Write questions.jsonl, paths.jsonl and recipe.yaml for a data set of another tool.

    Args:
        file: one JSON object a line.
        folder: where to write.
        answer_column: the column with the gold answer; "" takes what the paths themselves state (the commonest answer wins).
        kind: how answers are read; None: by the column `kind`, the choices, or the answer's own form.

    Raises:
        DataError: a row is of no known shape, has no answer, or nothing is left.
    """
    found = Imported()
    stated: dict[str, Counter[str]] = {}
    for number, row in read_rows(file):
        _take(found, stated, row, f"{file}, line {number}", answer_column, kind)
    if not answer_column:
        _agree(found, stated)
    if len(found.questions) < 3:
        raise DataError(f"{file} gives {len(found.questions)} questions, expected at least 3 (training, validation and test)")
    write_text(folder / "questions.jsonl", as_lines(found.questions.values()))
    write_text(folder / "paths.jsonl", as_lines(found.paths))
    write_text(folder / "recipe.yaml", _recipe(found, file, folder))
    return found


def _take(
    found: Imported,
    stated: dict[str, Counter[str]],
    row: Mapping[str, Any],
    where: str,
    answer_column: str,
    kind: AnswerKind | None,
) -> None:
    turns = _turns(row, where)
    if len(turns) != 2 or turns[0][0] != "user" or turns[1][0] != "assistant":
        found.skipped["not one question and one answer"] += 1
        return
    text, response = str(row.get("question") or turns[0][1]).strip(), turns[1][1]
    choices = read_choices(row.get("choices"), where=where)
    if answer_column and row.get(answer_column) in (None, ""):
        raise DataError(
            f"{where}: there is no gold answer in {answer_column!r} (columns: {', '.join(map(str, row))}); "
            "name its column with --answer, or say --answer-from-paths"
        )
    answer = str(row[answer_column]).strip() if answer_column else ""
    read_as = kind or row.get("kind") or ("choice" if choices else guess_kind(answer) if answer else "math")
    question_id = str(row.get("question_id") or content_hash([text, [list(pair) for pair in choices]])[:12])
    if answer_column:
        answer = read_gold(read_as, answer, choices, where)
    elif isinstance(reading := extract(read_as, choices, response), Reading):
        stated.setdefault(question_id, Counter())[reading.value] += 1
    else:
        found.skipped["no answer is stated"] += 1
        return
    record = {"id": question_id, "question": text, "answer": answer, "kind": read_as, "choices": [list(pair) for pair in choices]}
    before = found.questions.setdefault(question_id, record)
    if before != record:
        raise DataError(f"{where}: the question {question_id!r} stands before with other content; give it another id")
    style = str(row.get("style") or DEFAULT_STYLE)
    sample = found.num_samples[question_id, style]
    found.num_samples[question_id, style] += 1
    found.paths.append({"id": question_id, "style": style, "sample": sample, "response": response})


def _turns(row: Mapping[str, Any], where: str) -> list[tuple[str, str]]:
    """The turns of a row as (user | assistant, text), system turns left out."""
    listed = row.get("messages", row.get("conversations"))
    if isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        listed = [*row["prompt"], *row["completion"]]
    if isinstance(listed, list):
        turns = []
        for turn in listed:
            role = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
            text = turn.get("content", turn.get("value")) if isinstance(turn, dict) else None
            if not isinstance(text, str) or role not in _USERS | _ASSISTANTS | _SYSTEMS:
                raise DataError(f"{where}: the turn {shown(turn)} is not one of user, assistant or system with a text")
            if role not in _SYSTEMS:
                turns.append(("user" if role in _USERS else "assistant", text))
        return turns
    for asked, said in (("prompt", "completion"), ("instruction", "output"), ("question", "response"), ("query", "response")):
        if isinstance(row.get(asked), str) and isinstance(row.get(said), str):
            more = row.get("input") if asked == "instruction" else ""
            return [("user", f"{row[asked]}\n{more}" if more else row[asked]), ("assistant", row[said])]
    raise DataError(
        f"{where}: expected messages, conversations, prompt and completion, or instruction and output; "
        f"found the columns {', '.join(map(str, row))}"
    )


def _agree(found: Imported, stated: Mapping[str, Counter[str]]) -> None:
    for question_id, record in found.questions.items():
        record["answer"] = stated[question_id].most_common(1)[0][0]


def _recipe(found: Imported, file: Path, folder: Path) -> str:
    number = len(found.questions)
    num_test, num_validation = max(1, number // 10), max(1, number // 20)
    styles = list(dict.fromkeys(path["style"] for path in found.paths))
    own = [
        {"name": style, "template": "{question}\n{answer_form}", "why": "from the imported data"}
        for style in styles
        if style not in STYLES
    ]
    tree = {
        "name": "imported",
        "seed": 1,
        "questions": {
            "tasks": [{"kind": "jsonl", "name": "imported", "path": str(folder / "questions.jsonl")}],
            "num_train": number - num_test - num_validation,
            "num_validation": num_validation,
            "num_test": num_test,
        },
        "generate": {
            "teachers": [{"kind": "replay", "path": str(folder / "paths.jsonl")}],
            "styles": styles,
            **({"custom_styles": own} if own else {}),
            "samples": 1 + max(path["sample"] for path in found.paths),
        },
        "students": [{"name": "smollm2", "source": {"kind": "hub", "id": "HuggingFaceTB/SmolLM2-135M-Instruct"}}],
    }
    validate(tree, where=f"the recipe made of {file}")
    header = f"# Imported data: {number} questions, {len(found.paths)} recorded paths; change the students to yours\n"
    return header + yaml.safe_dump(tree, sort_keys=False, width=120)
