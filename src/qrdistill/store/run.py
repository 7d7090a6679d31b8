"""A run: one folder that holds everything known about one execution of a recipe.

::

    RUN/
      config.yaml         the recipe as validated, every field written out
      manifest.json       versions, config hash, seed, data hashes, stage fingerprints
      ledger.sqlite       every record (see ledger.py)
      lock                flock: one writer
      metrics.jsonl       one JSON object per optimizer step
      exports/            records as JSONL and Parquet, one pair a stage
      checkpoints/        training state, one folder a step
      students/NAME/      the trained adapters
      report.html, report.md

Stages run in the order of `STAGES`. Each has a fingerprint: the hash of its version, of the config sections it reads and of
the fingerprints before it. A finished stage whose fingerprint is unchanged is skipped.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from qrdistill.config import Config, content_hash, differences, dump, parse_yaml, validate
from qrdistill.config.tree import JsonlTaskConfig, ReplayTeacherConfig
from qrdistill.errors import CorruptRunError, DataError, RunInUseError, StorageError, UnsafeConfigError, UsageError
from qrdistill.store import files
from qrdistill.store.ledger import Ledger

Stage = Literal["generate", "filter", "train", "evaluate", "report"]
STAGES: tuple[Stage, ...] = ("generate", "filter", "train", "evaluate", "report")
STAGE_VERSIONS: dict[Stage, str] = {"generate": "1", "filter": "1", "train": "1", "evaluate": "1", "report": "1"}
"""Raised by hand when a stage's results change for the same config."""
_SECTIONS: dict[Stage, tuple[str, ...]] = {
    "generate": ("seed", "questions", "generate"),
    "filter": ("filter",),
    "train": ("students", "method", "training"),
    "evaluate": ("evaluation",),
    "report": ("report",),
}
_PACKAGES = ("numpy", "pydantic", "reasoning-gym", "math-verify", "torch", "transformers", "peft", "sentence-transformers")


class Run:
    """A run folder, opened for reading or (inside `owned`) for writing.

    Args:
        folder: the run folder; created, with its parents, when a config is given.
        config: the recipe; may be left out for a folder that has one.
        is_update: accept a config that differs from the folder's: the stages that depend on the change run again.

    Raises:
        UsageError: the folder holds no run and no config was given.
        UnsafeConfigError: the folder was made with another config (each difference is named).
    """

    def __init__(self, folder: str | Path, config: Config | None = None, *, is_update: bool = False) -> None:
        self.folder = Path(folder)
        saved = self._saved_config()
        if config is None and saved is None:
            raise UsageError(f"{folder} holds no run (no config.yaml); start one with: qrdistill run RECIPE -o {folder}")
        if saved is None and self.folder.is_dir() and any(p.name != "lock" for p in self.folder.iterdir()):
            raise UsageError(f"{folder} is not empty and holds no run (no config.yaml); choose another folder with -o")
        if config is not None and saved is not None and config != saved:
            self._refuse_or_update(saved, config, is_update)
        self.config: Config = config or saved  # type: ignore[assignment]
        self._is_new_config = config is not None and config != saved
        self._ledger: Ledger | None = None
        self._is_owned = False

    def _saved_config(self) -> Config | None:
        path = self.folder / "config.yaml"
        if not path.is_file():
            return None
        return validate(parse_yaml(path.read_text(encoding="utf-8")), where=str(path))

    def _refuse_or_update(self, saved: Config, config: Config, is_update: bool) -> None:
        changed = [line for line in differences(saved, config) if not line.startswith("runtime.")]
        if changed and not is_update:
            raise UnsafeConfigError(
                f"{self.folder} was made with another config ({'; '.join(changed[:8])}{' ...' if len(changed) > 8 else ''}); "
                "add --update to run again the stages that depend on the change, or choose another folder with -o"
            )

    def __repr__(self) -> str:
        done = [stage for stage in STAGES if self.is_done(stage)]
        todo = [stage for stage in STAGES if stage not in done]
        return f"Run({str(self.folder)!r}, done: {', '.join(done) or 'nothing'}; not done: {', '.join(todo) or 'nothing'})"

    # --- ownership -------------------------------------------------------------------------------------------------------

    @contextmanager
    def owned(self) -> Iterator[Run]:
        """Own the folder for writing (re-entrant); every other process that tries is refused at once.

        Raises:
            RunInUseError: another process owns it (its pid is named).
            StorageError: the folder cannot be made.
        """
        if self._is_owned:
            yield self
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = (self.folder / "lock").open("a+")
        except OSError as error:
            raise StorageError(f"cannot make {self.folder}: {error.strerror}; choose another folder with -o") from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                handle.seek(0)
                owner = handle.read().strip() or "unknown"
                raise RunInUseError(
                    f"{self.folder} is in use by process {owner}; wait for it or choose another folder with -o"
                ) from error
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            self._is_owned = True
            self.close()
            try:
                if self._is_new_config:
                    files.write_text(self.folder / "config.yaml", dump(self.config))
                    self._is_new_config = False
                self._write_manifest()
                yield self
            finally:
                self.close()
                self._is_owned = False

    @property
    def ledger(self) -> Ledger:
        """The run's ledger; writable only inside `owned`."""
        if self._ledger is None:
            path = self.folder / "ledger.sqlite"
            if not self._is_owned and not path.is_file():
                raise DataError(f"{self.folder} has no ledger yet; run: qrdistill generate {self.folder}")
            self._ledger = Ledger(path, is_read_only=not self._is_owned)
        return self._ledger

    def close(self) -> None:
        """Close the ledger; it opens again when needed."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    # --- stages ----------------------------------------------------------------------------------------------------------

    def fingerprint(self, stage: Stage) -> str:
        """Hash of everything the stage's result depends on."""
        tree = self.config.model_dump(mode="json")
        before = STAGES[: STAGES.index(stage) + 1]
        parts = [[name, STAGE_VERSIONS[name], {section: tree[section] for section in _SECTIONS[name]}] for name in before]
        return content_hash([parts, self.data_hashes()])

    def data_hashes(self) -> dict[str, str]:
        """SHA-256 of every input file the config names (a missing file hashes to "")."""
        paths = [
            path
            for task in self.config.questions.tasks
            if isinstance(task, JsonlTaskConfig)
            for path in (task.path, task.test_path)
            if path
        ]
        paths += [teacher.path for teacher in self.config.generate.teachers if isinstance(teacher, ReplayTeacherConfig)]
        return {path: files.sha256(Path(path)) if Path(path).is_file() else "" for path in paths}

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage finished with today's fingerprint."""
        if not (self.folder / "ledger.sqlite").is_file():
            return False
        return bool(self.ledger.noted(f"stage/{stage}", {}).get("fingerprint") == self.fingerprint(stage))

    def summary(self, stage: Stage) -> dict[str, Any]:
        """What the stage noted when it finished (counts, seconds); empty when it has not."""
        return dict(self.ledger.noted(f"stage/{stage}", {}).get("summary", {})) if self.is_done(stage) else {}

    def begin(self, stage: Stage) -> bool:
        """Whether the stage has partial results for today's fingerprint that it may continue from."""
        begun = self.ledger.noted(f"begun/{stage}")
        self.ledger.note(f"begun/{stage}", self.fingerprint(stage))
        return bool(begun == self.fingerprint(stage))

    def finish(self, stage: Stage, summary: dict[str, Any]) -> None:
        """Mark the stage as done with today's fingerprint."""
        self.ledger.note(
            f"stage/{stage}", {"fingerprint": self.fingerprint(stage), "summary": summary, "finished_s": round(time.time(), 3)}
        )
        self._write_manifest()

    def require(self, stage: Stage) -> None:
        """Insist that an earlier stage is done.

        Raises:
            UsageError: it is not; says which command to run.
        """
        if not self.is_done(stage):
            folder = self.folder
            raise UsageError(f"{folder}: the {stage} stage is not finished for this config; run: qrdistill {stage} {folder}")

    # --- files -----------------------------------------------------------------------------------------------------------

    @property
    def exports(self) -> Path:
        """Folder of the JSONL and Parquet exports."""
        return self.folder / "exports"

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints."""
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        """File of the training metrics, one JSON object a line."""
        return self.folder / "metrics.jsonl"

    def student_folder(self, name: str) -> Path:
        """Folder of a trained student's adapter."""
        return self.folder / "students" / name

    def manifest(self) -> dict[str, Any]:
        """The manifest as last written.

        Raises:
            CorruptRunError: it cannot be read.
        """
        path = self.folder / "manifest.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise CorruptRunError(f"{path} cannot be read ({error}); run the pipeline again to rewrite it") from error

    def _write_manifest(self) -> None:
        versions = {}
        for package in ("qrdistill", *_PACKAGES):
            try:
                versions[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                versions[package] = "absent"
        manifest = {
            "name": self.config.name,
            "seed": self.config.seed,
            "config_hash": content_hash(self.config),
            "data_sha256": self.data_hashes(),
            "stages": {stage: self.fingerprint(stage) for stage in STAGES if self.is_done(stage)},
            "versions": {"python": platform.python_version(), **versions},
        }
        files.write_json(self.folder / "manifest.json", manifest)
