"""An LLM judge: one or two models that read every step of a path. It can only remove.

A finding that is unclear is asked for again, at most twice, then it is `unknown` and the path is excluded. Planted controls are
read among the paths (see :mod:`qrdistill.quality.controls`), and a judge that accepts too many bad ones stops the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qrdistill.config import content_hash
from qrdistill.config.endpoints import EndpointConfig, LLMJudgeConfig, scientific
from qrdistill.errors import PausedError
from qrdistill.quality.controls import CONTROL, Audit, Control, audit, insist
from qrdistill.quality.rubric import MAX_PATH_CHARS, RUBRIC_VERSION, SCHEMA, Finding, read_finding, write_prompt
from qrdistill.teacher.client.call import Asker, Call
from qrdistill.teacher.client.desk import Desk, MemoryDesk
from qrdistill.teacher.client.endpoint import Endpoint
from qrdistill.teacher.client.limits import LimiterPool, loop_pool
from qrdistill.teacher.client.reply import Completion
from qrdistill.teacher.client.workers import stream
from qrdistill.types import Attempt, Decision, JudgeVerdict

if TYPE_CHECKING:
    import httpx2

MAX_ASKS = 3
"""One question and at most two repeats of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One path to judge, with what a judge needs to know."""

    id: str
    question: str
    gold: str
    text: str


@dataclass(slots=True)
class _Judge:
    """One model with its name and what it has said about controls."""

    name: str
    config: EndpointConfig
    endpoint: Asker
    on_controls: dict[str, Decision] = field(default_factory=dict)


class LLMJudge:
    """Judges paths with one or two models.

    Args:
        config: the models and the rules.
        desk: books calls; in memory unless a run's desk is given.
        pool: limiters shared with other users of the same endpoints; those of the running loop unless given.
        transport: replaces the network (tests).
        num_workers: make the calls in so many Ray actors; 0: here.
    """

    def __init__(
        self,
        config: LLMJudgeConfig,
        *,
        desk: Desk | None = None,
        pool: LimiterPool | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        num_workers: int = 0,
    ) -> None:
        self.config = config
        self.desk: Desk = desk or MemoryDesk()
        self._pool = pool
        self.name, self.names = judge_names(config)
        self.audits: dict[str, Audit] = {}
        """By judge, complete when `judge` has ended."""
        self._transport = transport
        self._num_workers = num_workers

    async def judge(
        self, paths: Sequence[Material], controls: Sequence[Control], *, known: Iterable[JudgeVerdict] = ()
    ) -> AsyncGenerator[JudgeVerdict, None]:
        """Judge every path and every control once; those with a `known` verdict of a judge are not asked about again.

        Yields:
            Each judge's verdict, and after them the one that counts (under `name`), for paths and controls alike.

        Raises:
            UnsafeConfigError: a judge accepted too many known-bad controls.
            PausedError: some paths could not be judged now (calls failed, or a cap was reached); running again goes on.
        """
        judges = [
            _Judge(name, endpoint, self._open(endpoint)) for name, endpoint in zip(self.names, self.config.judges, strict=True)
        ]
        before = {(verdict.path_id, verdict.judge): verdict for verdict in known}
        for judge in judges:
            judge.on_controls = {
                path_id: verdict.decision
                for (path_id, name), verdict in before.items()
                if name == judge.name and path_id.startswith(CONTROL)
            }
        missing: list[str] = []

        async def work(material: Material) -> list[JudgeVerdict]:
            own = await asyncio.gather(*[self._one(judge, material, before) for judge in judges])
            if any(verdict is None for verdict in own):
                missing.append(material.id)
                return []
            verdicts = [verdict for verdict in own if verdict is not None]
            self._watch(judges, verdicts)
            return [*verdicts, combine(verdicts, name=self.name)]

        try:
            results = stream(
                _interleave(paths, controls),
                work,
                stops=[judge.endpoint for judge in judges],
                places=2 * max(endpoint.limits.max_concurrency for endpoint in self.config.judges),
                grace_s=max(endpoint.limits.grace_s for endpoint in self.config.judges),
            )
            async with contextlib.aclosing(results):
                async for verdict in results:
                    yield verdict
        finally:
            self.audits = {judge.name: audit(judge.on_controls) for judge in judges}
            for judge in judges:
                await judge.endpoint.close()
            await self.desk.flush()
        if missing:
            raise PausedError(
                f"{len(missing)} of {len(paths)} paths could not be judged because calls failed; run the same command again"
            )

    def _open(self, config: EndpointConfig) -> Asker:
        where = f"judge {config.model!r}"
        if not self._num_workers:
            pool = self._pool or loop_pool()
            return Endpoint(config, where=where, desk=self.desk, pool=pool, transport=self._transport)
        from qrdistill.teacher.client.ray_engine import RayEndpoint

        return RayEndpoint(config, where=where, desk=self.desk, num_workers=self._num_workers)

    def _watch(self, judges: Sequence[_Judge], verdicts: Sequence[JudgeVerdict]) -> None:
        for judge, verdict in zip(judges, verdicts, strict=True):
            if verdict.path_id.startswith(CONTROL):
                judge.on_controls[verdict.path_id] = verdict.decision
                found = audit(judge.on_controls)
                insist(found, judge=judge.name, max_accepted_frac=self.config.max_accepted_frac)

    async def _one(self, judge: _Judge, material: Material, before: dict[tuple[str, str], JudgeVerdict]) -> JudgeVerdict | None:
        """One judge's verdict on one path; None when no call came through."""
        if known := before.get((material.id, judge.name)):
            return known
        if len(material.text) > MAX_PATH_CHARS:
            finding = Finding(decision="unknown", reason=f"longer than {MAX_PATH_CHARS} characters")
            return _verdict(material, judge.name, finding)
        finding = Finding(decision="unknown")
        for number in range(1, MAX_ASKS + 1):
            fence, code = secrets.token_hex(8), secrets.token_hex(4)
            call = _call(judge, material, fence=fence, code=code)

            def rows(attempt: Attempt, completion: Completion, code: str = code, number: int = number) -> list[JudgeVerdict]:
                found = self._find(completion, code)
                is_final = found.decision != "unknown" or number == MAX_ASKS
                return [_verdict(material, judge.name, found)] if is_final else []

            outcome = await judge.endpoint.ask(call, rows=rows)
            if outcome.completion is None:
                return None
            finding = self._find(outcome.completion, code)
            if finding.decision != "unknown":
                break
        return _verdict(material, judge.name, finding)

    def _find(self, completion: Completion, code: str) -> Finding:
        choice = completion.choices[0]
        if choice.state != "done":
            return Finding(decision="unknown", reason=f"the judge's reply is {choice.state} ({choice.detail})")
        return read_finding(choice.text, code=code, min_grade=self.config.min_grade)


def judge_names(config: LLMJudgeConfig) -> tuple[str, list[str]]:
    """The name of the verdict that counts, and of each model's own. They change with everything that shapes a finding."""

    def name(*parts: EndpointConfig) -> str:
        asked = [scientific(part.model_dump(mode="json"), "filter.judge") for part in parts]
        return content_hash([RUBRIC_VERSION, config.min_grade, asked])[:8]

    judges = config.judges
    own = [f"llm:{judge.model}@{name(judge)}" for judge in judges]
    return f"llm:{'+'.join(judge.model for judge in judges)}={name(*judges)}", own


def combine(verdicts: Sequence[JudgeVerdict], *, name: str) -> JudgeVerdict:
    """The verdict that counts: `drop` if anyone drops, `keep` if all keep, else `unknown`; the lowest grade."""
    decisions = {verdict.decision for verdict in verdicts}
    decision: Decision = "drop" if "drop" in decisions else "keep" if decisions == {"keep"} else "unknown"
    telling = min((v for v in verdicts if v.decision == decision), key=lambda v: v.grade)
    grades = [verdict.grade for verdict in verdicts if verdict.grade]
    return JudgeVerdict(
        path_id=telling.path_id,
        judge=name,
        decision=decision,
        grade=min(grades, default=0),
        step=telling.step,
        reason=telling.reason,
    )


def disagreements(verdicts: Iterable[JudgeVerdict], names: Sequence[str]) -> dict[str, tuple[JudgeVerdict, ...]]:
    """Path id -> the verdicts of the judges `names`, where one keeps what another drops."""
    by_path: dict[str, list[JudgeVerdict]] = {}
    for verdict in verdicts:
        if verdict.judge in names and not verdict.path_id.startswith(CONTROL):
            by_path.setdefault(verdict.path_id, []).append(verdict)
    return {
        path_id: tuple(group) for path_id, group in by_path.items() if {"keep", "drop"} <= {verdict.decision for verdict in group}
    }


def _call(judge: _Judge, material: Material, *, fence: str, code: str) -> Call:
    config = judge.config
    return Call(
        id=f"judge/{judge.name}/{material.id}",
        messages=write_prompt(question=material.question, gold=material.gold, path=material.text, fence=fence, code=code),
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        json_schema=SCHEMA,
    )


def _verdict(material: Material, judge: str, finding: Finding) -> JudgeVerdict:
    return JudgeVerdict(
        path_id=material.id,
        judge=judge,
        decision=finding.decision,
        grade=finding.grade,
        step=finding.step,
        reason=finding.reason,
    )


def _interleave(paths: Sequence[Material], controls: Sequence[Control]) -> list[Material]:
    """Controls spread evenly among the paths, the first of them near the start: a fooled judge is found early."""
    hidden = [Material(id=control.id, question=control.question, gold=control.gold, text=control.text) for control in controls]
    keyed = [((index + 0.5) / len(paths), 1, material) for index, material in enumerate(paths)]
    keyed += [(0.5 * index / len(hidden), 0, material) for index, material in enumerate(hidden)]
    return [material for _, _, material in sorted(keyed, key=lambda item: item[:2])]
