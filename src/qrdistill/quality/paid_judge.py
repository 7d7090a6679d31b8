"""The LLM judge of a run: paid from its budget, watched by planted controls, every finding in the ledger."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterable, Sequence

from qrdistill.config.endpoints import LLMJudgeConfig
from qrdistill.quality.controls import CONTROL, Audit, audit, insist, make_controls, num_controls
from qrdistill.quality.judge import Work
from qrdistill.quality.llm_judge import LLMJudge, Material, disagreements, judge_names
from qrdistill.store import Run
from qrdistill.tasks.prompts import question_block
from qrdistill.teacher.client.capabilities import resolve
from qrdistill.teacher.client.money import require_price
from qrdistill.teacher.client.opening import meter_of, num_workers, open_desk
from qrdistill.types import JudgeVerdict

LISTED = 500
"""At most so many disagreements are listed in the note (all are in the ledger)."""


class PaidJudge:
    """An LLM judge as the filter stage uses it.

    Findings on controls stay in the ledger under ids that start with "control/"; how each model did on them, and where two
    models disagree, is noted under "judge_audit".

    Raises:
        ConfigError: an address or key variable is not given, or a cap is set and a price is not known.
        UnsafeConfigError: a model has accepted too many known-bad controls in an earlier process; it is asked nothing more, and
            what it found is not used.
    """

    is_exact = False

    def __init__(self, config: LLMJudgeConfig, run: Run) -> None:
        self._config = config
        self._run = run
        self.name, self._names = judge_names(config)
        for judge in config.judges:
            where = f"judge {judge.model!r}"
            require_price(resolve(judge, where=where).price, meter_of(run, "filter"), where=where)
        for name, found in self._audits(self._known()).items():
            insist(found, judge=name, max_accepted_frac=config.max_accepted_frac)

    async def judge(self, work: Iterable[Work]) -> AsyncIterator[JudgeVerdict]:
        """Judge every path once; see `Judge.judge`. Each model's own verdict comes before the one that counts.

        Raises:
            UnsafeConfigError: a model accepted too many known-bad controls.
            AuthError, PausedError, ProviderError: what was judged so far is saved.
        """
        paths = [
            Material(id=path.id, question=question_block(question), gold=question.gold, text=path.text) for question, path in work
        ]
        known = self._known()
        controls = make_controls(
            [(path.question, path.gold, path.text) for path in paths],
            **self._missing_controls(len(paths), known),
            seed=self._run.config.seed,
        )
        judge = LLMJudge(self._config, desk=open_desk(self._run, "filter"), num_workers=num_workers(self._run))
        try:
            async with contextlib.aclosing(judge.judge(paths, controls, known=known)) as verdicts:
                async for verdict in verdicts:
                    if not verdict.path_id.startswith(CONTROL):
                        yield verdict
        finally:
            self._note(judge.audits)

    def _known(self) -> list[JudgeVerdict]:
        """What the models found in earlier processes, on paths and on controls."""
        return [verdict for verdict in self._run.ledger.iterate(JudgeVerdict) if verdict.judge in self._names]

    def _audits(self, known: Sequence[JudgeVerdict]) -> dict[str, Audit]:
        return {
            name: audit({verdict.path_id: verdict.decision for verdict in known if verdict.judge == name}) for name in self._names
        }

    def _missing_controls(self, num_paths: int, known: Sequence[JudgeVerdict]) -> dict[str, int]:
        """Controls that every model still has to read, given those it has read in earlier processes."""
        audits = self._audits(known).values()
        before = self._run.ledger.count(JudgeVerdict, "judge = ? AND path_id NOT GLOB 'control/*'", (self.name,))
        wanted = num_controls(num_paths + before, self._config.control_frac)
        return {
            "num_bad": max(0, wanted - min(found.num_bad for found in audits)),
            "num_good": max(0, wanted - min(found.num_good for found in audits)),
        }

    def _note(self, audits: dict[str, Audit]) -> None:
        found = disagreements(self._run.ledger.iterate(JudgeVerdict), self._names)
        self._run.ledger.note(
            "judge_audit",
            {
                "judge": self.name,
                "controls": {name: dataclasses.asdict(one) for name, one in audits.items()},
                "num_disagreements": len(found),
                "disagreements": sorted(found)[:LISTED],
            },
        )
