"""A teacher in batch mode: submit the grid, wait, harvest. Or (mode `files`) leave the files to a program of the user's."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qrdistill.errors import PausedError, ProviderError
from qrdistill.progress import SILENT, Progress
from qrdistill.store import write_bytes
from qrdistill.teacher.base import Reply
from qrdistill.teacher.client.batch import POLL_S, BatchServer, Job, Jobs, new_job
from qrdistill.teacher.client.batch_files import Line, read_results, request_line, split_lines
from qrdistill.teacher.client.call import new_attempt
from qrdistill.teacher.client.classify import Failure
from qrdistill.teacher.client.desk import Desk
from qrdistill.teacher.client.endpoint import Endpoint
from qrdistill.teacher.client.openai_compatible import OpenAICompatibleTeacher, Work
from qrdistill.teacher.client.reply import Completion
from qrdistill.types import Attempt, Record

Cells = Mapping[str, Work]


class BatchTeacher:
    """The same teacher, asked through files; paths have the same identity as in a live run, so the modes can be mixed.

    Args:
        teacher: the live teacher it stands for.
        jobs: remembers what was submitted.
        folder: where request and result files lie in mode `files`; None submits them to the server.
        poll_s: seconds between two looks at a batch.
        progress: told how batches go.
    """

    def __init__(
        self,
        teacher: OpenAICompatibleTeacher,
        *,
        jobs: Jobs,
        folder: Path | None = None,
        poll_s: float = POLL_S,
        progress: Progress = SILENT,
    ) -> None:
        self.name, self.version = teacher.name, teacher.version
        self._teacher = teacher
        self._jobs = jobs
        self._folder = folder
        self._poll_s = poll_s
        self._progress = progress

    def sampling(self, style: str) -> str:
        """As in a live run."""
        return self._teacher.sampling(style)

    async def answer(self, work: Iterable[Work]) -> AsyncIterator[Reply]:
        """Harvest what earlier processes submitted, submit the rest as far as the caps allow, wait for it and harvest it.

        Raises:
            PausedError: a cap leaves no room, or (mode `files`) result files are still missing.
            ProviderError: the server refuses the batch.
        """
        desk = self._teacher.open_desk()
        endpoint = self._teacher.open_endpoint(desk)
        server = BatchServer(endpoint.wire, endpoint.config.limits, where=endpoint.where)
        cells = {item[0].id: item for item in work}
        try:
            pending = self._adopt(endpoint, desk, cells)
            covered = {path_id for job in pending for path_id in _path_ids(job)}
            left = [path_id for path_id in cells if path_id not in covered]
            while pending or left:
                jobs, left = await self._book(endpoint, desk, cells, left)
                if not jobs and not pending:  # no room under a cap for a single call: this says which
                    await desk.meter.reserve(endpoint.most_usd(self._teacher.call_of([cells[left[0]]])))
                for job in [*pending, *jobs]:
                    async for reply in self._finish(job, endpoint, server, desk, cells):
                        yield reply
                pending = []
        finally:
            await endpoint.close()
            await desk.flush()

    def _adopt(self, endpoint: Endpoint, desk: Desk, cells: Cells) -> list[Job]:
        """Jobs of earlier processes; their reservations are taken over."""
        pending = self._jobs.load(self.name)
        for job in pending:
            for path_id in _path_ids(job):
                if path_id in cells:
                    desk.meter.adopt(endpoint.most_usd(self._teacher.call_of([cells[path_id]])))
        return pending

    async def _book(self, endpoint: Endpoint, desk: Desk, cells: Cells, path_ids: Sequence[str]) -> tuple[list[Job], list[str]]:
        """Book as many cells as the caps leave room for, and cut them into jobs.

        Returns:
            The jobs, and the cells there was no room for.
        """
        attempts: list[Attempt] = []
        rows: list[Record] = []
        total_usd, room_usd = 0.0, desk.meter.room_usd
        for path_id in path_ids:
            call = self._teacher.call_of([cells[path_id]])
            most_usd = endpoint.most_usd(call)
            if total_usd + most_usd > room_usd:
                break
            total_usd += most_usd
            attempts.append(new_attempt(call, most_usd))
            rows += [*call.rows, attempts[-1]]
        if rows:
            await desk.out(rows, total_usd)
        lines = ((attempt.id, self._line(endpoint, cells, attempt.id)) for attempt in attempts)
        jobs = [new_job(self.name, [id_ for id_, _ in part]) for part in split_lines(lines)]
        for job in jobs:
            self._jobs.save(job)
            if self._folder is not None:
                write_bytes(self._asked(job), self._lines(endpoint, cells, job))
        return jobs, list(path_ids[len(attempts) :])

    def _line(self, endpoint: Endpoint, cells: Cells, attempt_id: str) -> bytes:
        call = self._teacher.call_of([cells[_path_id(attempt_id)]])
        return request_line(attempt_id, endpoint.body(call))

    def _lines(self, endpoint: Endpoint, cells: Cells, job: Job) -> bytes:
        """The job's request file; cells nobody asks for any more are left out."""
        return b"".join(self._line(endpoint, cells, id_) for id_ in job.attempts if _path_id(id_) in cells)

    async def _finish(self, job: Job, endpoint: Endpoint, server: BatchServer, desk: Desk, cells: Cells) -> AsyncIterator[Reply]:
        """Bring a job to its end and hand out its replies; what it left unanswered becomes a hole."""
        if self._folder is not None:
            status, batch, results = "ended", {}, [self._result_file(job, endpoint, cells)]
        else:
            if not job.batch_id and job.file_id and (found := await server.find(job.key)):
                job = server.adopt(job, found, self._jobs)
            if not job.batch_id:
                job = await server.submit(job, self._lines(endpoint, cells, job), self._jobs)
            batch = await server.wait(job, poll_s=self._poll_s, progress=self._progress)
            status = str(batch.get("status"))
            results = [data async for data in server.results(batch)]
        open_ids = {id_ for id_ in job.attempts if _path_id(id_) in cells}
        for line in _known(results, open_ids):
            open_ids.discard(line.custom_id)
            yield self._reply(line, endpoint, desk, cells)
        reason = Failure(kind="transient", message=f"the batch {status} before it answered this request")
        for id_ in sorted(open_ids):
            yield self._reply(Line(custom_id=id_, failure=reason), endpoint, desk, cells)
        await desk.flush()
        self._jobs.save(dataclasses.replace(job, is_harvested=True))
        if status == "failed":
            raise ProviderError(
                f"{endpoint.where}: the server refused a batch ({_why(batch)}); mend the recipe, then run it again"
            )

    def _reply(self, line: Line, endpoint: Endpoint, desk: Desk, cells: Cells) -> Reply:
        group = [cells[_path_id(line.custom_id)]]
        call = self._teacher.call_of(group)
        most_usd = endpoint.most_usd(call)
        result = line.failure or endpoint.read(line.body, call)
        started = dataclasses.replace(new_attempt(call, most_usd), id=line.custom_id)
        attempt = endpoint.ended(started, call, result)
        paths = self._teacher.paths_of(group, attempt, result) if isinstance(result, Completion) else []
        desk.back((attempt, *paths), most_usd)
        return Reply(request=group[0][0], path=paths[0] if paths else None, attempts=(attempt,))

    def _asked(self, job: Job) -> Path:
        assert self._folder is not None
        return self._folder / f"{self.name}-{job.key}.jsonl"

    def _result_file(self, job: Job, endpoint: Endpoint, cells: Cells) -> bytes:
        """The result file of a job in mode `files`; writes the request file when there is none yet.

        Raises:
            PausedError: there is no result file yet; says how to make one.
        """
        asked = self._asked(job)
        answered = asked.with_suffix(".results.jsonl")
        if answered.is_file():
            return answered.read_bytes()
        if not asked.is_file():
            write_bytes(asked, self._lines(endpoint, cells, job))
        raise PausedError(
            f"{endpoint.where}: {len(job.attempts)} requests are in {asked}; answer them, for instance with "
            f"`vllm run-batch -i {asked} -o {answered} --model {endpoint.target.model}`, then run the same command again"
        )


def _known(results: Iterable[bytes], wanted: set[str]) -> Iterator[Line]:
    """Result lines of attempts that are asked for, each once."""
    seen: set[str] = set()
    for data in results:
        for line in read_results(data):
            if line.custom_id in wanted and line.custom_id not in seen:
                seen.add(line.custom_id)
                yield line


def _path_id(attempt_id: str) -> str:
    return attempt_id.rpartition(".")[0]


def _path_ids(job: Job) -> list[str]:
    return [_path_id(attempt_id) for attempt_id in job.attempts]


def _why(batch: Mapping[str, Any]) -> str:
    errors = batch.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    first = data[0] if isinstance(data, list) and data else {}
    return str(first.get("message", "no reason given"))[:300] if isinstance(first, dict) else "no reason given"
