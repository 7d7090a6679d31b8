"""A pilot: the generate and filter stages of a run, paid parts only, for a few of its questions; and what that says of the rest.

The questions are drawn at random, so what each of them cost in all (every style, sample, retry and further round, every finding
of a judge) is a random part of what the run will cost. The intervals are Student's t over questions; planted controls, which
belong to no question, are projected apart, by their number.

A pilot writes into the run's own ledger and under its caps. Its cells are cells of the run's grid, so the run finds them
answered, judged and paid.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from qrdistill.config import Config, LLMJudgeConfig, OpenAICompatibleTeacherConfig
from qrdistill.errors import UnsafeConfigError, UsageError
from qrdistill.planning.forecast import Forecast
from qrdistill.planning.projection import Sample, forecasts_of, shares_of
from qrdistill.progress import SILENT, Progress
from qrdistill.quality.filter import judge_left, sift
from qrdistill.quality.registry import make_judge
from qrdistill.store import Run
from qrdistill.tasks.base import Task
from qrdistill.tasks.reasoning.family import unit_hash
from qrdistill.tasks.registry import load_tasks
from qrdistill.teacher.client.checks import PaidStage, caps_of, paid_endpoints
from qrdistill.teacher.client.costs import Spent, spent_before
from qrdistill.teacher.generate import draw_questions
from qrdistill.teacher.layout import ASKED, lay_out, requests_of
from qrdistill.types import PathRequest, Question, ReasoningPath

MIN_QUESTIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """What a pilot asked and paid, and what the whole run will, the pilot's share included."""

    num_questions: int
    num_of: int
    """Questions the run asks about."""
    num_calls: int
    """Made now; 0 when the ledger held everything already."""
    paid_usd: float
    """Certain, now."""
    maybe_usd: float
    """The most that calls without a whole reply may have cost, now."""
    folder: str
    forecasts: tuple[Forecast, ...]
    """Teachers, judges, and last all of them together; without judges and sum where a judge was stopped."""
    problem: str = ""
    """Why a judge was stopped, or empty."""
    warnings: tuple[str, ...]
    """Caps that the run will probably reach."""


def run_pilot(run: Run, num_questions: int, *, progress: Progress = SILENT) -> Pilot:
    """Ask a run's teachers and judges about a few of its questions and project the whole run from that.

    Args:
        run: the run that is to follow; its folder is made, and what is asked is kept there.
        num_questions: how many; a larger pilot holds every question of a smaller one.
        progress: told how it goes.

    Raises:
        UsageError: too few questions for an interval, nothing that is paid, or a teacher that is asked in batches.
        AuthError, PausedError, ProviderError: as in the run; what came in before is saved.
    """
    _insist_on_sense(run, num_questions)
    tasks = load_tasks(run.config)
    with run.owned():
        before = _spent(run)
        drawn = draw_questions(run, tasks)
        asked = [question for question in drawn if question.split in ASKED]
        chosen = {question.id: question for question in choose(asked, num_questions, seed=run.config.seed)}
        layout = lay_out(run, tasks)
        run.ledger.add(chosen.values())
        run.ledger.add(requests_of(layout.first(chosen.values())))
        requests = layout.fill(run, chosen, tasks, progress)
        problem = ""
        judged: Mapping[str, int] = {}
        try:
            judged = _judge(run, tasks, drawn, requests, progress)
        except UnsafeConfigError as fooled:  # what the teachers' part showed is paid and stands
            problem = str(fooled)
        after = _spent(run)
        pilot = Sample(questions=tuple(chosen), num_of=len(asked), judged=judged)
        forecasts = forecasts_of(shares_of(run, requests), pilot, run.config)
        if problem:
            forecasts = tuple(forecast for forecast in forecasts if forecast.stage == "generate")
    return Pilot(
        num_questions=len(chosen),
        num_of=len(asked),
        num_calls=after.num_attempts - before.num_attempts,
        paid_usd=after.billed_usd - before.billed_usd,
        maybe_usd=after.maybe_usd - before.maybe_usd,
        folder=str(run.folder),
        forecasts=forecasts,
        problem=problem,
        warnings=_warnings(run.config, forecasts),
    )


def choose(questions: Sequence[Question], number: int, *, seed: int) -> list[Question]:
    """Questions drawn at random without replacement, the tasks in turn.

    The order is by hash: the same seed draws the same questions, and more of them holds fewer of them.
    """
    by_task: dict[str, list[Question]] = defaultdict(list)
    for question in sorted(questions, key=lambda question: unit_hash("pilot", seed, question.id)):
        by_task[question.task].append(question)
    mixed = [question for row in zip_longest(*by_task.values()) for question in row if question is not None]
    return mixed[:number]


def _insist_on_sense(run: Run, num_questions: int) -> None:
    paid = paid_endpoints(run.config)
    if not paid:
        raise UsageError("no teacher or judge of this recipe is paid for, so there is nothing to pilot; leave --pilot out")
    if num_questions < MIN_QUESTIONS:
        raise UsageError(
            f"a pilot of {num_questions} has no interval; ask for at least {MIN_QUESTIONS} questions, better 5 or more"
        )
    for _, where, endpoint in paid:
        if isinstance(endpoint, OpenAICompatibleTeacherConfig) and endpoint.mode != "live":
            raise UsageError(
                f"{where}: mode is {endpoint.mode}, which no pilot can time; pilot it with mode: live and the live price "
                "(its paths are the same), or leave --pilot out"
            )


def _judge(
    run: Run, tasks: Mapping[str, Task], questions: Sequence[Question], requests: Sequence[PathRequest], progress: Progress
) -> dict[str, int]:
    """Let the LLM judges read what the run's filter would give them; how many paths of each question that was."""
    if not isinstance(run.config.filter.judge, LLMJudgeConfig):
        return {}
    ours = {request.id for request in requests}
    paths = [path for path in run.ledger.iterate(ReasoningPath) if path.id in ours]
    pool, _ = sift(run, tasks, {question.id: question for question in questions}, paths, progress)
    judge = make_judge(run.config.filter.judge, run, tasks)
    assert judge is not None
    judge_left(run, judge, pool, progress)
    return Counter(path.question_id for path in pool.left())


def _spent(run: Run) -> Spent:
    teachers, judges = spent_before(run.ledger), spent_before(run.ledger, owner="*")
    return Spent(
        billed_usd=teachers.billed_usd + judges.billed_usd,
        maybe_usd=teachers.maybe_usd + judges.maybe_usd,
        num_attempts=teachers.num_attempts + judges.num_attempts,
    )


def _warnings(config: Config, forecasts: Sequence[Forecast]) -> tuple[str, ...]:
    """Caps that lie below what the run may need, the pilot's share included."""
    run_cap, *_ = caps_of(config, "generate")
    stages: tuple[PaidStage, ...] = ("generate", "filter")
    needs = [(run_cap, [part for part in forecasts if not part.stage])]
    needs += [(caps_of(config, stage)[1], [part for part in forecasts if part.stage == stage]) for stage in stages]
    found = []
    for cap, parts in needs:
        needed_usd = sum(part.usd.high for part in parts if part.usd is not None)
        if 0 < cap.limit_usd < needed_usd:
            found.append(f"{cap.name} is {cap.limit_usd:.4f} USD and the run may need {needed_usd:.4f}: it would pause there")
    return tuple(found)
