"""What paid teachers and judges will cost: a bound from the prompts alone, or an estimate with an interval from a pilot.

The pilot asks the real teachers about a few questions, in memory: it writes nothing and its replies are not kept, because a
plan must not start the run it plans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from qrdistill.config import Config, LLMJudgeConfig, OpenAICompatibleTeacherConfig
from qrdistill.config.endpoints import EndpointConfig
from qrdistill.tasks.base import Task
from qrdistill.teacher.base import Reply
from qrdistill.teacher.client.capabilities import resolve
from qrdistill.teacher.client.desk import MemoryDesk
from qrdistill.teacher.client.money import cost_usd, likely_tokens
from qrdistill.teacher.client.openai_compatible import OpenAICompatibleTeacher
from qrdistill.teacher.collect import run_async
from qrdistill.teacher.styles import Style, render, styles_of
from qrdistill.types import PathRequest, Question

_JUDGE_PROMPT_TOKENS = 550
"""Tokens of the judge's rubric (its text divided by four bytes a token), beside question and path."""
_Z = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What one teacher or judge will be asked and paid. Money is -1 where its price is not known.

    From a pilot, `low_usd` to `high_usd` is a 95% interval around `usd`. Without one, `usd` is -1 and `high_usd` bounds the cost:
    every reply as long as max_tokens allows.
    """

    who: str
    num_calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    low_usd: float
    high_usd: float
    hours: float
    """At the pilot's pace and the limits of the recipe; -1 without a pilot."""
    num_pilot_calls: int = 0

    def line(self) -> str:
        """One line for people."""
        calls = f"{self.who}: {self.num_calls:,} calls, about {self.prompt_tokens:,} prompt and "
        if not self.num_pilot_calls:
            money = f"at most {self.high_usd:.2f} USD" if self.high_usd >= 0 else "price unknown"
            return f"{calls}at most {self.completion_tokens:,} completion tokens, {money}"
        money = f"{self.usd:.2f} USD ({self.low_usd:.2f} to {self.high_usd:.2f})" if self.usd >= 0 else "price unknown"
        return f"{calls}{self.completion_tokens:,} completion tokens, {money}, about {self.hours:.1f} hours"


def bounds(config: Config, questions: Sequence[Question]) -> list[Forecast]:
    """The most every paid teacher and judge of a recipe can cost, from a sample of its training questions. No calls."""
    found = []
    styles = _styles(config)
    for teacher in _paid(config):
        calls = num_cells(config, teacher.weight)
        per_prompt = fmean(likely_tokens(render(style, question)) for style in styles for question in questions)
        found.append(_bound(teacher, f"teacher {teacher.name}", calls, per_prompt))
    if isinstance(config.filter.judge, LLMJudgeConfig):
        paths = sum(num_cells(config, getattr(teacher, "weight", 1.0)) for teacher in config.generate.teachers)
        longest = max((teacher.max_tokens for teacher in _paid(config)), default=400)
        for judge in config.filter.judge.judges:
            calls = math.ceil(paths * (1 + config.filter.judge.control_frac))
            found.append(_bound(judge, f"judge {judge.model}", calls, _JUDGE_PROMPT_TOKENS + longest))
    return found


def _bound(endpoint: EndpointConfig, who: str, calls: int, per_prompt: float) -> Forecast:
    price = resolve(endpoint, where=who).price
    prompt, completion = round(calls * per_prompt), calls * endpoint.max_tokens
    return Forecast(
        who=who,
        num_calls=calls,
        prompt_tokens=prompt,
        completion_tokens=completion,
        usd=-1,
        low_usd=0 if price else -1,
        high_usd=cost_usd(price, prompt, completion) if price else -1,
        hours=-1,
    )


def pilot(config: Config, questions: Sequence[Question], tasks: Mapping[str, Task]) -> list[Forecast]:
    """Ask every paid teacher about these questions once per style, and project the whole run from it.

    Raises:
        AuthError, PausedError, ProviderError: from a teacher, as in a run.
    """
    found: list[Forecast] = []
    right_frac = {teacher.name: 1.0 for teacher in config.generate.teachers}
    path_tokens = 200.0
    for teacher in _paid(config):
        replies = _ask(config, teacher, questions)
        found.append(_project(config, teacher, replies))
        by_id = {question.id: question for question in questions}
        right_frac[teacher.name] = _right_frac(replies, by_id, tasks)
        path_tokens = fmean([reply.path.completion_tokens for reply in replies if reply.path] or [path_tokens])
    if isinstance(config.filter.judge, LLMJudgeConfig):
        cells = {teacher.name: num_cells(config, getattr(teacher, "weight", 1.0)) for teacher in config.generate.teachers}
        paths = sum(round(number * right_frac[name]) for name, number in cells.items())
        for judge in config.filter.judge.judges:
            calls = math.ceil(paths * (1 + config.filter.judge.control_frac))
            found.append(_bound(judge, f"judge {judge.model}", calls, _JUDGE_PROMPT_TOKENS + path_tokens))
    return found


def num_cells(config: Config, weight: float) -> int:
    """Cells of the grid that a teacher of this weight is asked for."""
    sizes = config.questions
    asked = (sizes.num_train + sizes.num_validation) * len(sizes.tasks)
    return round(asked * len(config.generate.styles) * config.generate.samples * weight)


def _ask(config: Config, teacher: OpenAICompatibleTeacherConfig, questions: Sequence[Question]) -> list[Reply]:
    styles = {style.name: style for style in _styles(config)}
    client = OpenAICompatibleTeacher(
        teacher,
        prompt=lambda request, question: render(styles[request.style], question),
        seed=config.seed,
        desk=MemoryDesk(),
    )
    work = [(_request(teacher.name, style, question), question) for question in questions for style in styles.values()]
    replies: list[Reply] = []

    async def collect() -> None:
        async for reply in client.answer(work):
            replies.append(reply)

    run_async(collect())
    return replies


def _request(teacher: str, style: Style, question: Question) -> PathRequest:
    return PathRequest(
        id=f"pilot/{question.id}/{style.name}",
        question_id=question.id,
        teacher=teacher,
        style=style.name,
        sample=0,
        template_version=style.template_version,
        sampling="",
    )


def _project(config: Config, teacher: OpenAICompatibleTeacherConfig, replies: Sequence[Reply]) -> Forecast:
    """Stratified by style: the run has the same number of cells in each."""
    calls = num_cells(config, teacher.weight)
    by_style: dict[str, list[Reply]] = {}
    for reply in replies:
        by_style.setdefault(reply.request.style, []).append(reply)
    per_style = calls / max(1, len(by_style))

    def total(of: Callable[[Reply], float]) -> tuple[float, float]:
        """(projected total, its standard error)."""
        values = [[of(reply) for reply in group] for group in by_style.values()]
        pooled = stdev([value for group in values for value in group]) if sum(map(len, values)) > 1 else 0.0
        means = [fmean(group) * per_style for group in values]
        errors = [per_style * (stdev(group) if len(group) > 1 else pooled) / math.sqrt(len(group)) for group in values]
        return sum(means), math.sqrt(sum(error**2 for error in errors))

    prompt, _ = total(lambda reply: sum(attempt.prompt_tokens for attempt in reply.attempts))
    completion, _ = total(lambda reply: sum(attempt.completion_tokens for attempt in reply.attempts))
    usd, error_usd = total(lambda reply: sum(attempt.cost_usd for attempt in reply.attempts))
    has_price = resolve(teacher, where=teacher.name).price is not None
    attempts = [attempt for reply in replies for attempt in reply.attempts]
    latency_s = fmean([attempt.finished_s - attempt.started_s for attempt in attempts] or [0.0])
    limits = teacher.limits
    seconds = calls * latency_s / limits.max_concurrency
    if limits.requests_per_minute:
        seconds = max(seconds, 60 * calls / limits.requests_per_minute)
    if limits.tokens_per_minute:
        seconds = max(seconds, 60 * (prompt + completion) / limits.tokens_per_minute)
    return Forecast(
        who=f"teacher {teacher.name}",
        num_calls=calls,
        prompt_tokens=round(prompt),
        completion_tokens=round(completion),
        usd=usd if has_price else -1,
        low_usd=max(0.0, usd - _Z * error_usd) if has_price else -1,
        high_usd=usd + _Z * error_usd if has_price else -1,
        hours=seconds / 3600,
        num_pilot_calls=len(attempts),
    )


def _right_frac(replies: Sequence[Reply], questions: Mapping[str, Question], tasks: Mapping[str, Task]) -> float:
    right = 0
    for reply in replies:
        question = questions[reply.request.question_id]
        if reply.path is not None and reply.path.state == "done":
            right += tasks[question.task].grade(question, reply.path.text).verdict == "match"
    return right / max(1, len(replies))


def _paid(config: Config) -> list[OpenAICompatibleTeacherConfig]:
    return [teacher for teacher in config.generate.teachers if isinstance(teacher, OpenAICompatibleTeacherConfig)]


def _styles(config: Config) -> list[Style]:
    known = styles_of(config.generate)
    return [known[name] for name in config.generate.styles]
