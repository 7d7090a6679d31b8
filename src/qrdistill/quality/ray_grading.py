"""Final answers checked by Ray actors, on one machine or many. Grading is pure: a chunk whose worker died is graded again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from qrdistill.quality.judge import Work
from qrdistill.tasks.base import Task
from qrdistill.teacher.client.ray_engine import start_ray
from qrdistill.types import AnswerVerdict, Question, ReasoningPath

Check = Callable[[Task, Question, ReasoningPath], AnswerVerdict]
CHUNK = 64
"""Paths a worker is handed at a time."""
_AHEAD = 2
"""Chunks a worker has waiting, so that it never idles while the driver is busy."""


class Grader:
    """An actor's inside: the check and the tasks of the run."""

    def __init__(self, check: Check, tasks: Mapping[str, Task]) -> None:
        self._check, self._tasks = check, tasks

    def grade(self, work: Sequence[Work]) -> list[AnswerVerdict]:
        """The verdicts on a chunk, in its order."""
        return [self._check(self._tasks[question.task], question, path) for question, path in work]


def grade_all(
    check: Check, tasks: Mapping[str, Task], work: Sequence[Work], *, num_workers: int
) -> Iterator[list[AnswerVerdict]]:
    """Grade every path once; chunks come in the order of the work.

    Args:
        check: the verdict on one path, a function that workers can import.
        tasks: by name; they travel to the workers.
        work: questions with their paths.
        num_workers: actors; each may run on another machine of the cluster.

    Raises:
        UsageError: Ray is not installed.
    """
    ray = start_ray()
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Grader)
    shared = ray.put(dict(tasks))
    workers = [actor.remote(check, shared) for _ in range(num_workers)]
    chunks = [work[start : start + CHUNK] for start in range(0, len(work), CHUNK)]
    asked: list[Any] = []
    try:
        for number in range(len(chunks)):
            while len(asked) < min(len(chunks), number + _AHEAD * num_workers):
                asked.append(workers[len(asked) % num_workers].grade.remote(chunks[len(asked)]))
            yield ray.get(asked[number])
            asked[number] = None  # its result may leave the object store
    finally:
        for worker in workers:
            ray.kill(worker)
