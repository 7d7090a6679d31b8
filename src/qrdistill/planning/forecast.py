"""What paid teachers and judges will be asked and paid; without a pilot, bounds from the prompts alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from qrdistill.config import Config, EndpointConfig, LLMJudgeConfig, OpenAICompatibleTeacherConfig
from qrdistill.planning.estimate import Estimate, add_bounds, exact
from qrdistill.quality.controls import num_controls
from qrdistill.quality.llm_judge import MAX_ASKS
from qrdistill.teacher.client.capabilities import resolve
from qrdistill.teacher.client.checks import PaidStage
from qrdistill.teacher.client.money import cost_usd, likely_tokens
from qrdistill.teacher.styles import render, styles_of
from qrdistill.teacher.templates import Style
from qrdistill.types import Question

TOTAL = "total"
_JUDGE_PROMPT_TOKENS = 550
"""Tokens of the judge's rubric (its text divided by four bytes a token), beside question and path."""
_FREE_PATH_TOKENS = 400
"""Longest path expected of a teacher that is not paid, for the bound of a judge who reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What one teacher or judge, or all together, will be asked and paid in the whole run.

    From a pilot: estimates with their 95% intervals. Without one (`is_measured` is false): the highs bound the calls, the
    tokens that are written and the money; the tokens of prompts are a guess, and times are not known.
    """

    who: str
    stage: PaidStage | Literal[""]
    """"" for all together."""
    is_measured: bool
    calls: Estimate
    prompt_tokens: Estimate
    completion_tokens: Estimate
    usd: Estimate | None
    """None where a price is not known."""
    seconds: Estimate | None = None
    """Of the clock on the wall, with the recipe's limits; None without a pilot."""

    def row(self) -> tuple[str, str, str, str, str, str]:
        """Who, calls, prompt tokens, completion tokens, money and time, for people."""
        if not self.is_measured:
            calls, completion = (f"at most {part.high:,.0f}" for part in (self.calls, self.completion_tokens))
            usd = f"at most {_money(self.usd.high)}" if self.usd else "price unknown"
            return self.who, calls, f"about {self.prompt_tokens.value:,.0f}", completion, usd, "not known without --pilot"
        counts = [_spread(part, "{:,.0f}".format) for part in (self.calls, self.prompt_tokens, self.completion_tokens)]
        usd = _spread(self.usd, _money) if self.usd else "price unknown"
        return self.who, counts[0], counts[1], counts[2], usd, _spread(self.seconds, _duration) if self.seconds else ""


def _spread(part: Estimate, written: Callable[[float], str]) -> str:
    value, low, high = (written(number) for number in (part.value, part.low, part.high))
    return value if low == high else f"{value} ({low} to {high})"


def _money(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 1 or usd == 0 else f"{usd:.2g}"


def _duration(seconds: float) -> str:
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h"


def bounds(config: Config, questions: Sequence[Question]) -> tuple[Forecast, ...]:
    """The most every paid teacher and judge of a recipe can cost, then all of them, from a sample of its questions. No calls."""
    found = []
    paid = [teacher for teacher in config.generate.teachers if isinstance(teacher, OpenAICompatibleTeacherConfig)]
    per_prompt = fmean(likely_tokens(render(style, question)) for style in _styles(config) for question in questions)
    for teacher in paid:
        where = f"teacher {teacher.name}"
        most_a_call = max(1, resolve(teacher, where=where).capabilities.n)
        cells, calls = _cells(config, teacher.weight), _cells(config, teacher.weight, most_a_call)
        found.append(_bound(teacher, where, "generate", calls, calls * per_prompt, cells * teacher.max_tokens))
    if isinstance(config.filter.judge, LLMJudgeConfig):
        paths = sum(_cells(config, getattr(teacher, "weight", 1.0)) for teacher in config.generate.teachers)
        longest = max((teacher.max_tokens for teacher in paid), default=_FREE_PATH_TOKENS)
        for judge in config.filter.judge.judges:
            calls = MAX_ASKS * (paths + 2 * num_controls(paths, config.filter.judge.control_frac))
            prompt = calls * (_JUDGE_PROMPT_TOKENS + longest)
            found.append(_bound(judge, f"judge {judge.model}", "filter", calls, prompt, calls * judge.max_tokens))
    return (*found, total_bound(found))


def total_bound(parts: Sequence[Forecast]) -> Forecast:
    """Everybody's bounds together."""
    money = [part.usd for part in parts if part.usd is not None]
    return Forecast(
        who=TOTAL,
        stage="",
        is_measured=False,
        calls=add_bounds([part.calls for part in parts]),
        prompt_tokens=add_bounds([part.prompt_tokens for part in parts]),
        completion_tokens=add_bounds([part.completion_tokens for part in parts]),
        usd=add_bounds(money) if len(money) == len(parts) else None,
    )


def _bound(
    endpoint: EndpointConfig, who: str, stage: PaidStage, calls: int, prompt_tokens: float, completion_tokens: int
) -> Forecast:
    price = resolve(endpoint, where=who).price
    most_usd = cost_usd(price, round(prompt_tokens), completion_tokens)
    return Forecast(
        who=who,
        stage=stage,
        is_measured=False,
        calls=Estimate(value=calls, low=0, high=calls),
        prompt_tokens=exact(round(prompt_tokens)),
        completion_tokens=Estimate(value=completion_tokens, low=0, high=completion_tokens),
        usd=Estimate(value=most_usd, low=0, high=most_usd) if price else None,
    )


def _cells(config: Config, weight: float, most_a_call: int = 1) -> int:
    """The most cells a teacher of this weight is asked for, or calls when one brings several samples; all rounds are counted."""
    sizes = config.questions
    asked = (sizes.num_train + sizes.num_validation) * len(sizes.tasks)
    each = math.ceil(config.generate.samples / most_a_call) + config.generate.resample_rounds
    everything = asked * len(config.generate.styles) * each
    chance = 4 * math.sqrt(everything * weight * (1 - weight))  # a share of the cells is drawn by hash
    return min(everything, math.ceil(everything * weight + chance))


def _styles(config: Config) -> list[Style]:
    known = styles_of(config.generate)
    return [known[name] for name in config.generate.styles]
