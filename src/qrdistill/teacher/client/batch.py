"""Batch mode: the whole grid as request files, for servers that answer them at half price within a day.

Every job is noted in the run before it is created, and found again by its key in the server's list if the process ended in
between; so a job is never submitted twice, and an interrupted run goes on with polling. Results of a job that expired or was
cancelled half-way are kept; what is missing stays a hole that the next pass submits again.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol
from urllib.parse import quote

from qrdistill.config.endpoints import LimitsConfig
from qrdistill.errors import AuthError, PausedError, ProviderError, QRDistillError
from qrdistill.progress import SILENT, Progress
from qrdistill.store import Ledger
from qrdistill.teacher.client.classify import Failure
from qrdistill.teacher.client.retry import wait_s
from qrdistill.teacher.client.wire import Exchange, Wire

POLL_S = 30.0
MAX_RESULT_BYTES = 1_000_000_000
_ENDED = {"completed", "failed", "expired", "cancelled"}
_TAG = "qrdistill_job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One batch: the attempts it carries and how far it is. `key` marks it in the server's list."""

    key: str
    teacher: str
    attempts: tuple[str, ...]
    file_id: str = ""
    batch_id: str = ""
    is_harvested: bool = False


class Jobs(Protocol):
    """Where jobs are remembered."""

    def load(self, teacher: str) -> list[Job]:
        """Jobs of a teacher that are not harvested."""

    def save(self, job: Job) -> None:
        """Remember a job's new state; durable when this returns."""


class LedgerJobs:
    """Remembers jobs as notes in a run's ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def load(self, teacher: str) -> list[Job]:
        """See `Jobs.load`."""
        keys = self._ledger.noted("batch_jobs", [])
        jobs = [_from_note(self._ledger.noted(f"batch_job/{key}")) for key in keys]
        return [job for job in jobs if job.teacher == teacher and not job.is_harvested]

    def save(self, job: Job) -> None:
        """See `Jobs.save`."""
        with self._ledger.transaction():
            keys = self._ledger.noted("batch_jobs", [])
            if job.key not in keys:
                self._ledger.note("batch_jobs", [*keys, job.key])
            self._ledger.note(f"batch_job/{job.key}", asdict(job))


def new_job(teacher: str, attempts: Sequence[str]) -> Job:
    """A job that nobody knows of yet."""
    return Job(key=secrets.token_hex(8), teacher=teacher, attempts=tuple(attempts))


def _from_note(tree: dict[str, Any]) -> Job:
    return Job(**{**tree, "attempts": tuple(tree["attempts"])})


class BatchServer:
    """The calls of OpenAI's batch interface, each tried again where that is safe.

    Args:
        wire: to the server.
        limits: deadlines and waits.
        where: how a user would name the teacher in an error.
    """

    def __init__(self, wire: Wire, limits: LimitsConfig, *, where: str) -> None:
        self._wire = wire
        self._limits = limits
        self._where = where
        self._dice = random.Random()

    async def submit(self, job: Job, lines: bytes, jobs: Jobs) -> Job:
        """Upload the request file and create the batch; both are noted at once."""
        if not job.file_id:
            named = {"file": (f"{job.key}.jsonl", lines, "application/jsonl")}
            job = replace(job, file_id=_text(await self._call("POST", "/files", files=named, data={"purpose": "batch"}), "id"))
            jobs.save(job)
        body = {
            "input_file_id": job.file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {_TAG: job.key},
        }
        # A reply that got lost may have created the batch: look before asking again.
        created = await self._call("POST", "/batches", json=body, is_found=lambda: self.find(job.key))
        return self.adopt(job, created, jobs)

    def adopt(self, job: Job, batch: dict[str, Any], jobs: Jobs) -> Job:
        """Note which batch carries a job."""
        job = replace(job, batch_id=_text(batch, "id"))
        jobs.save(job)
        return job

    async def find(self, key: str) -> dict[str, Any] | None:
        """A batch by the key of its job, among the latest ones of the account."""
        listed = await self._call("GET", "/batches?limit=100")
        for batch in listed.get("data", []):
            if isinstance(batch, dict) and isinstance(batch.get("metadata"), dict) and batch["metadata"].get(_TAG) == key:
                return batch
        return None

    async def wait(self, job: Job, *, poll_s: float, progress: Progress = SILENT) -> dict[str, Any]:
        """Poll until the batch has ended, well or not."""
        told = ""
        while True:
            batch = await self._call("GET", f"/batches/{quote(job.batch_id, safe='')}")
            status, counts = str(batch.get("status")), batch.get("request_counts") or {}
            line = f"batch {job.batch_id}: {status}, {counts.get('completed', 0)} of {counts.get('total', len(job.attempts))}"
            if line != told:
                progress.note(line)
                told = line
            if status in _ENDED:
                return batch
            await asyncio.sleep(poll_s)

    async def results(self, batch: dict[str, Any]) -> AsyncIterator[bytes]:
        """The result files of a batch that has ended: replies and errors."""
        for name in ("output_file_id", "error_file_id"):
            if isinstance(file_id := batch.get(name), str) and file_id:
                yield await self._bytes("GET", f"/files/{quote(file_id, safe='')}/content")

    async def _call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        files: Any = None,
        data: Any = None,
        is_found: Callable[[], Awaitable[dict[str, Any] | None]] | None = None,
    ) -> dict[str, Any]:
        body = await self._bytes(method, path, json=json, files=files, data=data, is_found=is_found)
        tree = _parse(body)
        if tree is None:
            raise ProviderError(f"{self._where}: {method} {path.split('?')[0]} gave no JSON object; check base_url")
        return tree

    async def _bytes(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        files: Any = None,
        data: Any = None,
        is_found: Callable[[], Awaitable[dict[str, Any] | None]] | None = None,
    ) -> bytes:
        failure = Failure(kind="lost", message="")
        for number in range(1, self._limits.max_attempts + 1):
            if number > 1:
                await asyncio.sleep(wait_s(failure, number - 1, self._limits, dice=self._dice))
                if failure.kind in {"lost", "transient"} and is_found is not None and (found := await is_found()) is not None:
                    return _dump(found)
            request = self._wire.request(method, path, json=json, files=files, data=data)
            exchange: Exchange = await self._wire.exchange(
                request, deadline_s=self._limits.deadline_s, max_bytes=MAX_RESULT_BYTES
            )
            if exchange.failure is None:
                return exchange.body
            failure = exchange.failure
            if not failure.is_retried:
                break
        raise self._error(failure)

    def _error(self, failure: Failure) -> QRDistillError:
        kinds: dict[str, type[QRDistillError]] = {"auth": AuthError, "quota": PausedError, "rate": PausedError}
        return kinds.get(failure.kind, ProviderError)(
            f"{self._where}: the batch interface failed ({failure.message}); jobs that were submitted go on, "
            "run the same command again to harvest them"
        )


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


def _dump(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree).encode("ascii")


def _text(tree: dict[str, Any], name: str) -> str:
    value = tree.get(name)
    if not isinstance(value, str) or not value.replace("-", "").replace("_", "").isalnum():
        raise ProviderError(f"the batch interface gave no usable {name!r}; it may not speak OpenAI's batch format")
    return value
