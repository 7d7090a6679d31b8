"""Fill a grid: all teachers at once, replies saved as they come, failed calls tried again in later passes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qrdistill.errors import PausedError
from qrdistill.progress import Progress
from qrdistill.store import STAGES, Ledger
from qrdistill.tasks.base import Task
from qrdistill.teacher.base import Reply, Teacher
from qrdistill.teacher.client.classify import RETRIED
from qrdistill.teacher.panel import Panel
from qrdistill.types import PathRequest, Question, Record

BATCH_REPLIES = 200
BATCH_S = 1.0
"""Replies are written when this many wait or the oldest has waited this long."""
PASSES = 3
"""A request whose attempts all failed for passing reasons is asked for again in so many passes in all."""
PANEL_S = 15.0

Grid = tuple[Teacher, Sequence[PathRequest]]
_FRESH_STATES = ("wrong_model",)
"""States that are asked for again when the stage runs again: the setting that caused them may have been mended."""


def fill_grid(
    ledger: Ledger, grids: Sequence[Grid], questions: Mapping[str, Question], tasks: Mapping[str, Task], progress: Progress
) -> None:
    """Ask for every path of the grids that the ledger lacks.

    Args:
        ledger: open for writing; holds the requests already.
        grids: each teacher with its requests.
        questions: by id.
        tasks: grade answers for the live panel.
        progress: told how it goes.

    Raises:
        AuthError, PausedError, ProviderError: from a teacher, after the other teachers are through.
        PausedError: requests are left whose attempts all failed for reasons that pass.
    """
    again = {path_id for (path_id,) in ledger.execute("SELECT id FROM paths WHERE state IN (?)", _FRESH_STATES)}
    for number in range(PASSES):
        present = {path_id for (path_id,) in ledger.execute("SELECT id FROM paths")} - (again if number == 0 else set())
        failed = _failed_for_passing_reasons(ledger)
        jobs = []
        for teacher, requests in grids:
            missing = [request for request in requests if request.id not in present and (number == 0 or request.id in failed)]
            if number == 0 and len(missing) < len(requests):
                progress.note(f"{teacher.name}: {len(requests) - len(missing)} of {len(requests)} paths are already there")
            if missing:
                jobs.append((teacher, [(request, questions[request.question_id]) for request in missing]))
        if not jobs:
            return
        for stage in STAGES[1:]:  # new paths under an unchanged config (refilled holes): what was made of them is out of date
            ledger.forget(f"stage/{stage}")
        run_async(_collect_all(jobs, ledger, tasks, progress))
    present = {path_id for (path_id,) in ledger.execute("SELECT id FROM paths")}
    holes = {request.id for _, requests in grids for request in requests} - present
    if left := holes & _failed_for_passing_reasons(ledger).keys():
        last = _failed_for_passing_reasons(ledger)[min(left)]
        raise PausedError(
            f"{len(left)} requests have no path because every attempt failed (for instance: {last}); "
            "what came in is saved, run the same command again to ask for the rest"
        )


def _failed_for_passing_reasons(ledger: Ledger) -> dict[str, str]:
    """Path id -> message of the last attempt, where that one failed for a reason that may pass."""
    rows = ledger.execute("SELECT path_id, outcome, message, max(finished_s) FROM attempts GROUP BY path_id")
    return {path_id: message or outcome for path_id, outcome, message, _ in rows if outcome in RETRIED}


async def _collect_all(
    jobs: Sequence[tuple[Teacher, list[tuple[PathRequest, Question]]]],
    ledger: Ledger,
    tasks: Mapping[str, Task],
    progress: Progress,
) -> None:
    """All teachers at once; when one fails the others go on, then the first failure is raised."""
    questions = {question.id: question for _, work in jobs for _, question in work}
    panel = Panel(total=sum(len(work) for _, work in jobs), is_right=lambda reply: _is_right(reply, questions, tasks))
    progress.start(panel.total, "paths from " + ", ".join(teacher.name for teacher, _ in jobs))
    try:
        running = [_collect(teacher, work, ledger, panel, progress) for teacher, work in jobs]
        ends = await asyncio.gather(*running, return_exceptions=True)
    finally:
        progress.stop()
    if panel.spent_usd or panel.failures:
        progress.note(panel.line())
    for end in ends:
        if end is not None:
            raise end


async def _collect(
    teacher: Teacher,
    work: list[tuple[PathRequest, Question]],
    ledger: Ledger,
    panel: Panel,
    progress: Progress,
) -> None:
    """Save a teacher's replies in batches as they come; on any error what has come in is saved first."""
    waiting: list[Record] = []
    num_waiting, since_s, told_s = 0, time.monotonic(), time.monotonic()
    replies: AsyncIterator[Reply] = teacher.answer(work)
    try:
        async with contextlib.AsyncExitStack() as stack:
            if hasattr(replies, "aclose"):
                stack.push_async_callback(replies.aclose)
            async for reply in replies:
                waiting += [record for record in (reply.path, *reply.attempts, reply.planted) if record is not None]
                num_waiting += 1
                panel.add(reply)
                progress.advance(1)
                now_s = time.monotonic()
                if num_waiting >= BATCH_REPLIES or now_s - since_s >= BATCH_S:
                    ledger.add(waiting)
                    waiting, num_waiting, since_s = [], 0, now_s
                if now_s - told_s >= PANEL_S:
                    progress.note(panel.line())
                    told_s = now_s
    finally:
        if waiting:
            ledger.add(waiting)


def _is_right(reply: Reply, questions: Mapping[str, Question], tasks: Mapping[str, Task]) -> bool | None:
    """A cheap look for the panel; formulas may take seconds to compare and are left to the filter."""
    question = questions[reply.request.question_id]
    if question.kind == "math" or reply.path is None or reply.planted is not None or question.task not in tasks:
        return None
    return tasks[question.task].grade(question, reply.path.text).verdict == "match"


def run_async(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, also where a loop is already running (notebooks)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="qrdistill") as executor:
        executor.submit(asyncio.run, work).result()
