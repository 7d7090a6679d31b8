"""What the client's tests share: a teacher on a fault server, a grid, and running it to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from qrdistill.config.endpoints import LimitsConfig, OpenAICompatibleTeacherConfig, PriceConfig
from qrdistill.teacher.base import Reply
from qrdistill.teacher.client import Desk, OpenAICompatibleTeacher
from qrdistill.types import PathRequest, Question

KEY = "sk-canary-0123456789abcdef"
VARIABLE = "QRDISTILL_TEST_KEY"
PRICE = PriceConfig(prompt_usd_per_million=1000, completion_usd_per_million=2000)


def limits(**changes: Any) -> LimitsConfig:
    quick = {"max_concurrency": 8, "deadline_s": 2.0, "backoff_s": 0.01, "backoff_cap_s": 0.05, "retry_after_cap_s": 0.3}
    return LimitsConfig.model_validate({**quick, "grace_s": 2.0, "down_after_s": 5.0, **changes})


def config(url: str, **changes: Any) -> OpenAICompatibleTeacherConfig:
    base = {"name": "toy", "base_url": url, "model": "toy", "api_key_env": VARIABLE, "max_tokens": 64, "price": PRICE}
    return OpenAICompatibleTeacherConfig.model_validate({**base, "limits": limits(), **changes})


def grid(num_cells: int, *, samples: int = 1, first: int = 0) -> list[tuple[PathRequest, Question]]:
    return [cell(i, sample) for i in range(first, first + num_cells) for sample in range(samples)]


def cell(i: int, sample: int = 0) -> tuple[PathRequest, Question]:
    question = Question(id=f"q{i}", task="toy", split="train", text=f"What is {i} plus nothing?", kind="number", gold=str(i))
    request = PathRequest(
        id=f"p{i}-{sample}",
        question_id=question.id,
        teacher="toy",
        style="cot",
        sample=sample,
        template_version="1",
        sampling="{}",
    )
    return request, question


def teacher(url: str, desk: Desk | None = None, **changes: Any) -> OpenAICompatibleTeacher:
    return OpenAICompatibleTeacher(config(url, **changes), prompt=lambda _, question: question.text, desk=desk)


async def collect(one: OpenAICompatibleTeacher, work: Iterable[Any], into: list[Reply]) -> None:
    async for reply in one.answer(work):
        into.append(reply)


def run(one: OpenAICompatibleTeacher, work: Iterable[Any]) -> tuple[list[Reply], BaseException | None]:
    """All replies, and what ended the run early (None: nothing)."""
    replies: list[Reply] = []
    try:
        asyncio.run(collect(one, work, replies))
    except Exception as error:
        return replies, error
    return replies, None
