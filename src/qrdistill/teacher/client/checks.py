"""What can be said about a recipe's endpoints before any of them is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from qrdistill.config import Config, EndpointConfig, LLMJudgeConfig, OpenAICompatibleTeacherConfig
from qrdistill.errors import QRDistillError
from qrdistill.teacher.client.capabilities import resolve
from qrdistill.teacher.client.keys import Key
from qrdistill.teacher.client.money import Cap, Meter, require_price

PaidStage = Literal["generate", "filter"]


def paid_endpoints(config: Config) -> list[tuple[PaidStage, str, EndpointConfig]]:
    """(stage, how an error names it, endpoint) of every teacher and judge that is called."""
    found: list[tuple[PaidStage, str, EndpointConfig]] = [
        ("generate", f"teacher {teacher.name!r}", teacher)
        for teacher in config.generate.teachers
        if isinstance(teacher, OpenAICompatibleTeacherConfig)
    ]
    if isinstance(config.filter.judge, LLMJudgeConfig):
        found += [("filter", f"judge {judge.model!r}", judge) for judge in config.filter.judge.judges]
    return found


def caps_of(config: Config, stage: PaidStage) -> list[Cap]:
    """The caps that hold in a stage, nothing spent."""
    budget = config.budget
    own_usd = budget.generate_usd if stage == "generate" else budget.filter_usd
    return [Cap("budget.run_usd", budget.run_usd), Cap(f"budget.{stage}_usd", own_usd)]


def endpoint_problems(config: Config, stages: Iterable[str]) -> list[QRDistillError]:
    """Endpoints that cannot be asked: no address, no key, or a cap without a price."""
    found: list[QRDistillError] = []
    wanted = set(stages)
    for stage, where, endpoint in paid_endpoints(config):
        if stage not in wanted:
            continue
        try:
            target = resolve(endpoint, where=where)
            require_price(target.price, Meter(caps=caps_of(config, stage)), where=where)
            Key.of(target)
        except QRDistillError as error:
            found.append(error)
    return found
