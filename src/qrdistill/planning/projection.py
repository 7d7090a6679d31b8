"""From the attempts of a pilot to calls, tokens, money and time of the whole run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from qrdistill.config import Config, EndpointConfig, LLMJudgeConfig, OpenAICompatibleTeacherConfig
from qrdistill.planning.estimate import Estimate, add, add_bounds, greatest, project
from qrdistill.planning.forecast import TOTAL, Forecast
from qrdistill.quality.controls import CONTROL, num_controls
from qrdistill.quality.llm_judge import judge_names
from qrdistill.store import Run
from qrdistill.teacher.client.capabilities import resolve
from qrdistill.teacher.client.checks import PaidStage
from qrdistill.teacher.client.classify import MAYBE_BILLED, UNSENT
from qrdistill.types import Attempt, PathRequest

STAGES: tuple[PaidStage, ...] = ("generate", "filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The questions of a pilot among those of the run."""

    questions: tuple[str, ...]
    num_of: int
    judged: Mapping[str, int]
    """Paths that judges read, by question (the missing ones: 0)."""

    def num_controls(self, config: Config) -> int:
        """Planted controls, of both sorts, that each judge will read in the whole run."""
        if not isinstance(config.filter.judge, LLMJudgeConfig):
            return 0
        paths = project([self.judged.get(question, 0) for question in self.questions], self.num_of)
        return 2 * num_controls(round(paths.value), config.filter.judge.control_frac)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one teacher or judge did for the pilot's questions."""

    who: str
    stage: PaidStage
    endpoint: EndpointConfig
    by_question: Mapping[str, Sequence[Attempt]]
    by_control: Mapping[str, Sequence[Attempt]]

    @property
    def latency_s(self) -> float:
        """Mean time of an attempt."""
        attempts = [attempt for group in (*self.by_question.values(), *self.by_control.values()) for attempt in group]
        return fmean([_busy_s(attempt) for attempt in attempts] or [0.0])


def shares_of(run: Run, requests: Sequence[PathRequest]) -> list[Share]:
    """Every paid teacher and judge of a run with its attempts at these cells, whichever process made them."""
    cells = {request.id: request for request in requests}
    by_question: dict[str, dict[str, list[Attempt]]] = defaultdict(lambda: defaultdict(list))
    by_control: dict[str, dict[str, list[Attempt]]] = defaultdict(lambda: defaultdict(list))
    for attempt in run.ledger.iterate(Attempt, "outcome != ?", (UNSENT,)):
        if attempt.path_id in cells:
            cell = cells[attempt.path_id]
            by_question[cell.teacher][cell.question_id].append(attempt)
        elif attempt.path_id.startswith("judge/"):
            for_judge, path_id = _split(attempt.path_id)
            if path_id in cells:
                by_question[for_judge][cells[path_id].question_id].append(attempt)
            elif path_id.startswith(CONTROL):
                by_control[for_judge][path_id].append(attempt)

    def share(who: str, stage: PaidStage, endpoint: EndpointConfig, name: str) -> Share:
        return Share(who=who, stage=stage, endpoint=endpoint, by_question=by_question[name], by_control=by_control[name])

    config = run.config
    paid = [teacher for teacher in config.generate.teachers if isinstance(teacher, OpenAICompatibleTeacherConfig)]
    shares = [share(f"teacher {teacher.name}", "generate", teacher, teacher.name) for teacher in paid]
    if isinstance(config.filter.judge, LLMJudgeConfig):
        _, names = judge_names(config.filter.judge)
        shares += [
            share(f"judge {judge.model}", "filter", judge, f"judge/{name}")
            for judge, name in zip(config.filter.judge.judges, names, strict=True)
        ]
    return shares


def _split(path_id: str) -> tuple[str, str]:
    """What "judge/NAME/PATH" says: the judge ("judge/NAME", which may hold slashes) and the path ("control/..." or a hash)."""
    head, mark, tail = path_id.partition(f"/{CONTROL}")
    if mark:
        return head, CONTROL + tail
    head, _, tail = path_id.rpartition("/")
    return head, tail


def forecasts_of(shares: Sequence[Share], pilot: Sample, config: Config) -> tuple[Forecast, ...]:
    """What each teacher and judge, and last all of them together, will be asked and paid in the whole run."""
    controls = pilot.num_controls(config)
    each = [_forecast([share], pilot, controls, who=share.who, stage=share.stage) for share in shares]
    return (*each, _forecast(shares, pilot, controls, who=TOTAL, stage=""))


def _forecast(shares: Sequence[Share], pilot: Sample, controls: int, *, who: str, stage: PaidStage | Literal[""]) -> Forecast:
    def total(of: Callable[[Attempt], float], among: Sequence[Share] = shares) -> Estimate:
        per_question = [sum(of(a) for share in among for a in share.by_question.get(id_, ())) for id_ in pilot.questions]
        per_control = [[sum(map(of, attempts)) for attempts in share.by_control.values()] for share in among]
        return add([project(per_question, pilot.num_of), *(project(values, controls) for values in per_control if values)])

    def busy(limiter: Sequence[Share]) -> Estimate:
        """Seconds until one limiter is through: its slots, its requests and its tokens a minute, whichever takes longest."""
        limits = [share.endpoint.limits for share in limiter]
        slots = min(limit.max_concurrency for limit in limits)
        parts = [total(_busy_s, limiter).map(lambda seconds: seconds / slots)]
        if requests := _least([limit.requests_per_minute for limit in limits]):
            parts.append(total(lambda _: 1, limiter).map(lambda calls: 60 * calls / requests))
        if tokens := _least([limit.tokens_per_minute for limit in limits]):
            parts.append(total(lambda a: a.prompt_tokens + a.completion_tokens, limiter).map(lambda n: 60 * n / tokens))
        alone_s = max(share.latency_s for share in limiter)  # the first call goes alone, and the last ones end one by one
        return greatest(parts).map(lambda seconds: seconds + 2 * alone_s)

    billed, most = total(lambda a: 0 if a.outcome in MAYBE_BILLED else a.cost_usd), total(lambda a: a.cost_usd)
    has_price = all(resolve(share.endpoint, where=share.who).price is not None for share in shares)
    stages = [_by_limiter([share for share in shares if share.stage == name]) for name in STAGES]
    return Forecast(
        who=who,
        stage=stage,
        is_measured=True,
        calls=total(lambda _: 1),
        prompt_tokens=total(lambda a: a.prompt_tokens),
        completion_tokens=total(lambda a: a.completion_tokens),
        usd=Estimate(value=billed.value, low=billed.low, high=most.high) if has_price else None,
        seconds=add_bounds([greatest([busy(group) for group in groups]) for groups in stages if groups]),
    )


def _by_limiter(shares: Sequence[Share]) -> list[list[Share]]:
    """Those who use the same address and key share its limits."""
    groups: dict[tuple[str, str], list[Share]] = defaultdict(list)
    for share in shares:
        groups[resolve(share.endpoint, where=share.who).account].append(share)
    return list(groups.values())


def _least(rates: Sequence[float]) -> float:
    """The tightest of some rates, where 0 is no limit."""
    return min((rate for rate in rates if rate), default=0.0)


def _busy_s(attempt: Attempt) -> float:
    return max(0.0, attempt.finished_s - attempt.started_s)
