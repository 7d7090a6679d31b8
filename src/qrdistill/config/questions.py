"""Settings of the tasks: where questions come from. Each kind is one class in `qrdistill.tasks` and one entry in its registry."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from qrdistill.types import AnswerKind

SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=SAFE_NAME)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ReasoningTaskConfig(_Model):
    """Procedurally generated, verifiable questions (reasoning-gym)."""

    kind: Literal["reasoning"] = "reasoning"
    name: Name
    """A task family known to `qrdistill ls tasks`, e.g. leg_counting."""
    difficulty: dict[str, int | float | str | bool | list[int | float | str]] = {}
    """Generator parameters of the family (for example min_terms); unknown ones are refused by the task."""


class DatasetTaskConfig(_Model):
    """A published data set that `qrdistill ls tasks` names, with its own splits, prompt and answer form."""

    kind: Literal["dataset"] = "dataset"
    name: Name
    """A data set known to `qrdistill ls tasks`, e.g. gsm8k."""
    path: str = ""
    """Folder with its files (hub layout, or train/validation/test as .jsonl or .parquet); empty: downloaded from the hub.
    A data set without an official test split may also be one file."""
    revision: str = ""
    """Commit of the hub repository; empty: the pinned one."""


class RowsConfig(_Model):
    """How rows of the user's own data are read."""

    columns: dict[str, str] = {}
    """Maps our field names (id, question, answer, choices, kind, level, family) to the file's, where they differ."""
    answer_kind: AnswerKind | Literal["auto"] = "auto"
    """Kind of every answer; `auto` reads the row's `kind`, else "choice" where options exist, else number or math."""
    labels: dict[str, str] = {}
    """Maps the file's answers to ours, e.g. {"0": entailment, "1": neutral}; empty: answers are taken as they are."""


class JsonlTaskConfig(RowsConfig):
    """The user's own questions: a JSONL file (one JSON object a line) or a Parquet file."""

    kind: Literal["jsonl"] = "jsonl"
    name: Name
    path: str
    """File with the questions; relative paths are relative to the working directory."""
    test_path: str = ""
    """File with the test questions; empty: they are split off `path` by seed and hash."""


class HubTaskConfig(RowsConfig):
    """Any data set on the Hugging Face hub that holds Parquet or JSONL files."""

    kind: Literal["hub"] = "hub"
    name: Name
    id: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
    """The hub repository, owner/name."""
    revision: str = "main"
    """A commit hash pins the data."""
    files: tuple[str, ...] = ("data/train-*.parquet",)
    """Files of the repository with the training questions (patterns like data/train-*.parquet)."""
    test_files: tuple[str, ...] = ()
    """Files with the test questions; none: they are split off `files` by seed and hash."""


TaskConfig = Annotated[
    ReasoningTaskConfig | DatasetTaskConfig | JsonlTaskConfig | HubTaskConfig,
    Field(discriminator="kind"),
]
