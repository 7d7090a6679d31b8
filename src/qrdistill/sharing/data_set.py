"""Kept paths as a data set folder: rows by split, a card, the recipe that made them, and the notes other trainers need.

::

    FOLDER/
      README.md             the card
      data/train.jsonl      one kept path a line (see messages.py); validation.jsonl where validation paths were kept
      recipe.yaml           the whole recipe: `qrdistill run recipe.yaml` makes the data anew
      provenance.json       versions, hashes and counts
      dataset_info.json     LLaMA-Factory's description of the same files
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qrdistill.config import dump
from qrdistill.errors import DataError
from qrdistill.sharing.card import escaped, front_matter, markdown_table
from qrdistill.sharing.messages import as_lines, message_rows
from qrdistill.store import Run, write_json, write_text
from qrdistill.store.provenance import versions

SPLITS = ("train", "validation")
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_data_set(run: Run, folder: Path) -> dict[str, int]:
    """Write the folder; returns the number of rows of each split.

    Raises:
        UsageError: the filter stage is not done.
        DataError: no path was kept.
    """
    rows = {split: list(message_rows(run, split)) for split in SPLITS}
    sizes = {split: len(found) for split, found in rows.items() if found}
    if not sizes:
        raise DataError(f"{run.folder} has no kept path to export; see why with: qrdistill report {run.folder}")
    for split in sizes:
        write_text(folder / "data" / f"{split}.jsonl", as_lines(rows[split]))
    write_text(folder / "recipe.yaml", dump(run.config))
    write_json(folder / "provenance.json", _provenance(run, sizes))
    write_json(folder / "dataset_info.json", {_table_name(run, split): _llama_factory(split) for split in sizes})
    write_text(folder / "README.md", _card(run, sizes))
    return sizes


def _table_name(run: Run, split: str) -> str:
    return run.config.name if split == "train" else f"{run.config.name}-{split}"


def _llama_factory(split: str) -> dict[str, Any]:
    return {
        "file_name": f"data/{split}.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }


def _provenance(run: Run, sizes: dict[str, int]) -> dict[str, Any]:
    manifest = run.manifest()
    kept = ("seed", "config_hash", "code_sha256", "data_sha256", "versions")
    return {
        "made_by": f"qrdistill {versions()['qrdistill']}",
        "rows": sizes,
        "filter": run.summary("filter"),
        **{key: manifest[key] for key in kept if key in manifest},
    }


def _card(run: Run, sizes: dict[str, int]) -> str:
    config = run.config
    number = sum(sizes.values())
    fields: dict[str, Any] = {
        "pretty_name": config.name,
        "task_categories": ["text-generation"],
        "tags": ["qrdistill", "distillation", "reasoning", "synthetic"],
        "size_categories": [next((name for limit, name in _SIZES if number < limit), "n>1M")],
        "configs": [
            {"config_name": "default", "data_files": [{"split": split, "path": f"data/{split}.jsonl"} for split in sizes]}
        ],
    }
    teachers = ", ".join(f"{escaped(teacher.name)} ({escaped(_model(teacher))})" for teacher in config.generate.teachers)
    tasks = ", ".join(escaped(task.name) for task in config.questions.tasks)
    by_reason: dict[str, int] = run.summary("filter").get("by_reason", {})
    outcomes: list[tuple[str, int]] = sorted(by_reason.items(), key=_most)
    funnel = markdown_table(("outcome", "paths"), outcomes)
    return f"""{front_matter(fields)}
# {escaped(config.name)}

Reasoning paths for the tasks {tasks}, written by {teachers} in the styles {", ".join(map(escaped, config.generate.styles))},
filtered and exported by qrdistill. {", ".join(f"{n} rows in {s}" for s, n in sizes.items())}.

State the licence of the questions, and of what the teacher may be used for, before you publish this.

## Columns

`messages` holds the plain test-time prompt and the path. `question`, `answer`, `kind` and `choices` are the question's own;
`style`, `teacher` and `path_id` say which path it is; `quality` in (0, 1] is the filter's weight, 1 for the best path of a
question. The split `validation` holds paths of questions that were kept out of training; it is not a test set.

## What the filter did

{funnel}
Only paths with the outcome `kept` or `kept_last` are here. `recipe.yaml` makes them anew; `provenance.json` has
versions and hashes.

## Use

TRL:

```python
from datasets import load_dataset

train = load_dataset("json", data_files="data/train.jsonl", split="train")  # SFTTrainer reads the column messages
```

LLaMA-Factory (`dataset_info.json` is here): `dataset: {config.name}` and `dataset_dir:` this folder.
ms-swift: `swift sft --dataset data/train.jsonl ...`
axolotl:

```yaml
datasets:
  - {{path: data/train.jsonl, ds_type: json, type: chat_template, field_messages: messages}}
```

qrdistill itself: `qrdistill import data/train.jsonl -o replay` makes questions, recorded paths and a recipe of it.
"""


def _most(item: tuple[str, int]) -> int:
    return -item[1]


def _model(teacher: Any) -> str:
    return str(getattr(teacher, "model", teacher.kind))
