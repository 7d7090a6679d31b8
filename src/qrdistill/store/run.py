"""A run: one folder that holds everything known about one execution of a recipe.

::

    RUN/
      config.yaml         the recipe as validated, every field written out
      manifest.json       versions, config hash, seed, hashes of code, data and outputs, stage fingerprints
      ledger.sqlite       every record (see ledger.py)
      lock                flock: one writer
      metrics.jsonl       one JSON object per optimizer step
      exports/            records as JSONL and Parquet, one pair a stage
      batches/            request and result files of teachers asked through files
      checkpoints/        training state, one folder a step
      students/NAME/      the trained adapters
      router.safetensors  the trained router
      report.html, report.md

Stages run in the order of `STAGES`. Each has a fingerprint: the hash of its version, of the config sections it reads, of the
versions of the tasks, teachers and judge they name, and of the fingerprints before it. A finished stage whose fingerprint is
unchanged and whose files are all there is skipped.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from qrdistill.config import Config, content_hash, differences, dump, parse_yaml, validate
from qrdistill.config.endpoints import CassetteTeacherConfig, is_operational, scientific
from qrdistill.config.questions import DatasetTaskConfig, JsonlTaskConfig
from qrdistill.config.tree import ReplayTeacherConfig
from qrdistill.errors import ConfigError, CorruptRunError, DataError, UnsafeConfigError, UsageError
from qrdistill.store import files
from qrdistill.store.components import component_versions
from qrdistill.store.ledger import Ledger
from qrdistill.store.lock import locked
from qrdistill.store.provenance import code_hash, data_hash, versions

Stage = Literal["generate", "filter", "train", "evaluate", "report"]
STAGES: tuple[Stage, ...] = ("generate", "filter", "train", "evaluate", "report")
STAGE_VERSIONS: dict[Stage, str] = {"generate": "1", "filter": "1", "train": "1", "evaluate": "1", "report": "1"}
"""Raised by hand when a stage's results change for the same config."""
_SECTIONS: dict[Stage, tuple[str, ...]] = {
    "generate": ("seed", "questions", "generate"),
    "filter": ("filter",),
    "train": ("students", "method", "training"),
    "evaluate": ("evaluation",),
    "report": ("report", "name"),
}
_OUTPUTS = ("exports/*", "students/**/*", "router.safetensors", "metrics.jsonl", "report.html", "report.md")
_LEFTOVERS = {"lock", ".config.yaml.tmp", "crash.txt"}
"""What a folder may hold before it has a config: a run that was killed at its very start."""
_CONFIG_HEADER = "# Change settings with --set and --update, not by hand. SHA-256 of what follows: "


class Run:
    """A run folder, opened for reading or (inside `owned`) for writing.

    Args:
        folder: the run folder; created, with its parents, when a config is given.
        config: the recipe; may be left out for a folder that has one.
        is_update: accept a config that differs from the folder's: the stages that depend on the change run again.

    Raises:
        UsageError: the folder holds no run and no config was given.
        UnsafeConfigError: stages were run here with another config (each difference is named).
    """

    def __init__(self, folder: str | Path, config: Config | None = None, *, is_update: bool = False) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{folder} is a file, not a folder; choose another place with -o")
        saved = self._saved_config()
        if config is None and saved is None:
            raise UsageError(f"{folder} holds no run (no config.yaml); start one with: qrdistill run RECIPE -o {folder}")
        if saved is None and self.folder.is_dir() and any(path.name not in _LEFTOVERS for path in self.folder.iterdir()):
            raise UsageError(f"{folder} is not empty and holds no run (no config.yaml); choose another folder with -o")
        if config is not None and saved is not None and config != saved:
            self._refuse_or_update(saved, config, is_update)
        self.config: Config = config or saved  # type: ignore[assignment]
        self._is_new_config = config is not None and config != saved
        self._ledger: Ledger | None = None
        self._is_owned = False
        self._versions: Mapping[str, Any] | None = None

    def _saved_config(self) -> Config | None:
        path = self.folder / "config.yaml"
        if not path.is_file():
            return None
        header, _, text = path.read_text(encoding="utf-8", errors="replace").partition("\n")
        if header != _config_header(text):
            raise CorruptRunError(
                f"{path} was edited by hand or damaged; restore it, and change settings with --set a.b=c --update instead"
            )
        try:
            return validate(parse_yaml(text), where=str(path))
        except ConfigError as error:
            raise CorruptRunError(f"{error}; this run was made by another version of qrdistill, use that one") from error

    def _refuse_or_update(self, saved: Config, config: Config, is_update: bool) -> None:
        changed = [line for line in differences(saved, config) if not is_operational(line.partition(":")[0])]
        if changed and not is_update and self._has_begun():
            raise UnsafeConfigError(
                f"{self.folder} was made with another config ({'; '.join(changed[:8])}{' ...' if len(changed) > 8 else ''}); "
                "add --update to run again the stages that depend on the change, or choose another folder with -o"
            )

    def _has_begun(self) -> bool:
        """Whether a stage began here; a folder that holds a pilot only has nothing that another config could spoil."""
        path = self.folder / "ledger.sqlite"
        if not path.is_file():
            return False
        ledger = Ledger(path, is_read_only=True)
        try:
            return bool(ledger.execute("SELECT 1 FROM notes WHERE key GLOB 'begun/*' OR key GLOB 'stage/*' LIMIT 1"))
        finally:
            ledger.close()

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
        with locked(self.folder):
            self._is_owned = True
            self.use_current_versions()
            self.close()
            try:
                if self._is_new_config:
                    text = dump(self.config)
                    files.write_text(self.folder / "config.yaml", f"{_config_header(text)}\n{text}")
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

    def use_current_versions(self) -> None:
        """Judge what is done by today's versions of tasks, teachers and judge; a run that is only read goes by its own."""
        self._versions = component_versions(self.config)

    def fingerprint(self, stage: Stage) -> str:
        """Hash of everything the stage's result depends on."""
        return self._hash(stage, has_test_size=stage != "train")

    def _hash(self, stage: Stage, *, has_test_size: bool) -> str:
        """More test questions do not change the students, unless one of them leaks: `has_test_size` leaves their number out."""
        tree = self.config.model_dump(mode="json")
        if not tree["method"]["extras"]:  # what is off changes nothing: runs made before it existed stay done
            del tree["method"]["extras"]
        if not has_test_size:
            del tree["questions"]["num_test"]
        before = STAGES[: STAGES.index(stage) + 1]
        versions = self._noted("versions") if self._versions is None else self._versions
        parts = []
        for name in before:
            settings = {section: scientific(tree[section], section) for section in _SECTIONS[name]}
            parts.append([name, STAGE_VERSIONS[name], versions.get(name, {}), settings])
        return content_hash([parts, self.data_hashes()])

    def overrides(self) -> list[str]:
        """Settings that switch a safeguard off, in words; their results do not compare with others'."""
        allowed = self.config.filter.allow_leaks
        return ["filter.allow_leaks: questions and paths that give test questions away are trained on"] if allowed else []

    def data_hashes(self) -> dict[str, str]:
        """SHA-256 of every input file or folder the config names (a missing one hashes to "")."""
        paths = [
            path
            for task in self.config.questions.tasks
            if isinstance(task, JsonlTaskConfig | DatasetTaskConfig)
            for path in (task.path, getattr(task, "test_path", ""))
            if path
        ]
        paths += [teacher.path for teacher in self.config.generate.teachers if isinstance(teacher, ReplayTeacherConfig)]
        paths += [f"{t.run}/ledger.sqlite" for t in self.config.generate.teachers if isinstance(t, CassetteTeacherConfig)]
        return {path: data_hash(path) for path in paths}

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage finished with today's fingerprint and every file it left is still there."""
        note = self._stage_note(stage)
        return note.get("fingerprint") == self.fingerprint(stage) and all(
            (self.folder / name).is_file() for name in note["files"]
        )

    def _stage_note(self, stage: Stage) -> dict[str, Any]:
        return self._noted(f"stage/{stage}")

    def _noted(self, name: str) -> dict[str, Any]:
        has_ledger = (self.folder / "ledger.sqlite").is_file()
        return dict(self.ledger.noted(name, {})) if has_ledger else {}

    def summary(self, stage: Stage) -> dict[str, Any]:
        """What the stage noted when it finished (counts, seconds); empty when it has not."""
        return dict(self._stage_note(stage).get("summary", {})) if self.is_done(stage) else {}

    def begin(self, stage: Stage) -> bool:
        """Whether the stage has partial results for today's fingerprint that it may continue from.

        When it has none, it is about to write over what it left for another config: it and the stages after it are not done.
        """
        today = {"fingerprint": self.fingerprint(stage), "pool": self._hash(stage, has_test_size=False)}
        begun = self.ledger.noted(f"begun/{stage}", {})
        with self.ledger.transaction():
            self.ledger.note(f"begun/{stage}", today)
            self.ledger.note("versions", self._versions or {})
            if begun.get("fingerprint") != today["fingerprint"]:
                self._undo([stage])
            if begun.get("pool") != today["pool"]:
                self._undo(STAGES[STAGES.index(stage) :])
        return bool(begun.get("fingerprint") == today["fingerprint"])

    def _undo(self, stages: Sequence[Stage]) -> None:
        for name in stages:
            self.ledger.forget(f"stage/{name}")

    def finish(self, stage: Stage, summary: dict[str, Any], *, digest: str = "") -> None:
        """Mark the stage as done with today's fingerprint; what it left in the folder is hashed.

        Args:
            stage: the stage that ends.
            summary: counts and seconds worth showing.
            digest: hash of what later stages read of this one. When it differs from the last time, they are no longer done.
        """
        earlier: dict[str, str] = {}
        for name in STAGES[: STAGES.index(stage)]:
            earlier |= self._stage_note(name).get("files", {})
        outputs = {path: files.sha256(self.folder / path) for path in self._outputs()}
        note = {
            "fingerprint": self.fingerprint(stage),
            "summary": summary,
            "files": {path: hashed for path, hashed in outputs.items() if earlier.get(path) != hashed},
            "finished_s": round(time.time(), 3),
        }
        with self.ledger.transaction():
            self.ledger.note(f"stage/{stage}", note)
            self.ledger.note("versions", self._versions or {})
            if digest and digest != self.ledger.noted(f"digest/{stage}"):
                self.ledger.note(f"digest/{stage}", digest)
                self._undo(STAGES[STAGES.index(stage) + 1 :])
        self._write_manifest()

    def _outputs(self) -> list[str]:
        found = {path for pattern in _OUTPUTS for path in self.folder.glob(pattern) if path.is_file()}
        return sorted(str(path.relative_to(self.folder)) for path in found if not path.name.startswith("."))

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
    def batches(self) -> Path:
        """Folder of request and result files of teachers that are asked through files."""
        return self.folder / "batches"

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints."""
        return self.folder / "checkpoints"

    @property
    def router(self) -> Path:
        """File of what the policy had learned when training ended (absent when it does not learn)."""
        return self.folder / "router.safetensors"

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
            CorruptRunError: it cannot be read, or does not match its own checksum.
        """
        path = self.folder / "manifest.json"
        try:
            manifest = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise CorruptRunError(f"{path} cannot be read ({error}); run the pipeline again to rewrite it") from error
        if manifest.pop("checksum", "") != content_hash(manifest):
            raise CorruptRunError(f"{path} does not match its checksum; run the pipeline again to rewrite it")
        return manifest

    def verify(self) -> None:
        """Compare everything the run left with what was recorded about it.

        Raises:
            CorruptRunError: names every file that is damaged or missing.
        """
        self.manifest()
        self.ledger.verify()
        recorded: dict[str, str] = {}
        for stage in STAGES:
            note = self._stage_note(stage)
            recorded |= note["files"] if note.get("fingerprint") == self.fingerprint(stage) else {}
        wrong = [
            f"{name} is {'damaged' if path.is_file() else 'missing'}"
            for name, digest in recorded.items()
            for path in [self.folder / name]
            if not path.is_file() or files.sha256(path) != digest
        ]
        if wrong:
            raise CorruptRunError(f"{self.folder}: {', '.join(wrong)}; delete the damaged files and run the pipeline again")

    def _write_manifest(self) -> None:
        done = [stage for stage in STAGES if self.is_done(stage)]
        manifest = {
            "name": self.config.name,
            "seed": self.config.seed,
            "config_hash": content_hash(self.config),
            "code_sha256": code_hash(),
            "overrides": self.overrides(),
            "data_sha256": self.data_hashes(),
            "stages": {stage: self.fingerprint(stage) for stage in done},
            "files_sha256": {name: digest for stage in done for name, digest in self._stage_note(stage)["files"].items()},
            "versions": {"python": platform.python_version(), **versions()},
        }
        files.write_json(self.folder / "manifest.json", {**manifest, "checksum": content_hash(manifest)})


def _config_header(text: str) -> str:
    return _CONFIG_HEADER + hashlib.sha256(text.encode("utf-8")).hexdigest()
