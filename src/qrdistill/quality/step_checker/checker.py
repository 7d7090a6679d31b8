"""The step checker: everything in a path that can be re-computed is re-computed.

It reads text only and knows nothing of how the text was made. A false statement is proof that a step is unsound, so the path
is dropped and the statement quoted. What cannot be re-computed is no evidence either way: such a path is kept with a lower
grade.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable

from qrdistill.quality.judge import Work
from qrdistill.quality.step_checker.arithmetic import check_arithmetic
from qrdistill.quality.step_checker.claims import check_claims
from qrdistill.quality.step_checker.equations import check_equations
from qrdistill.quality.step_checker.finding import Finding
from qrdistill.quality.step_checker.programs import check_program, find_programs, without_programs
from qrdistill.quality.step_checker.restated import check_restated
from qrdistill.tasks.verify import grade_response
from qrdistill.types import JudgeVerdict, Question

VERSION = "1"
"""Changes whenever a rule does; part of the judge's name, so old findings are not reused."""
GRADE_VERIFIED, GRADE_NOTHING = 5, 3
"""Grades of kept paths: something verified and nothing false; nothing in it can be re-computed."""
_FLAWED = 1


class StepChecker:
    """A judge that re-computes arithmetic, facts and programs. Exact: what it drops is false."""

    name = f"step_checker-{VERSION}"
    is_exact = True

    async def judge(self, work: Iterable[Work]) -> AsyncIterator[JudgeVerdict]:
        """Judge every path."""
        for question, path in work:
            yield self.verdict(question, path.id, path.text)

    def verdict(self, question: Question, path_id: str, text: str) -> JudgeVerdict:
        """The finding on one path."""
        findings = check_text(question, text)
        false = [finding for finding in findings if not finding.is_true]
        if false:
            return JudgeVerdict(
                path_id=path_id, judge=self.name, decision="drop", grade=_FLAWED, step=false[0].quote, reason=false[0].reason
            )
        if not findings:
            reason = "nothing in it can be re-computed"
            return JudgeVerdict(path_id=path_id, judge=self.name, decision="keep", grade=GRADE_NOTHING, reason=reason)
        reason = f"{len(findings)} statement{'s' if len(findings) > 1 else ''} verified"
        return JudgeVerdict(path_id=path_id, judge=self.name, decision="keep", grade=GRADE_VERIFIED, reason=reason)


def check_text(question: Question, text: str) -> list[Finding]:
    """Every statement of a path that could be checked, in no particular order."""
    answer = grade_response(question.kind, question.gold, question.choices or None, text).extracted
    programs = find_programs(text)
    prose = without_programs(text, programs)
    findings = [*check_arithmetic(prose), *check_claims(prose), *check_equations(question.text, prose)]
    findings += check_restated(question, prose)
    ran = [finding for program in programs if (finding := check_program(text, program, answer))]
    final = None if ran else _check_answer(question, prose, answer, findings)
    return [*findings, *ran, *([final] if final else [])]


def _check_answer(question: Question, prose: str, answer: str, findings: list[Finding]) -> Finding | None:
    """A numeric answer must be one of the values that were computed; None when nothing was computed."""
    if question.kind != "number" or not findings or not re.fullmatch(r"-?\d[\d,]*(?:\.\d+)?", answer):
        return None
    numbers = {
        _number(text) for finding in findings for text in re.findall(r"-?\d[\d,]*(?:\.\d+)?", finding.quote + finding.reason)
    }
    spoken = {_number(text) for text in re.findall(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?", prose[: _last_answer(prose)])}
    if _number(answer) in numbers | spoken:
        return None
    return Finding(quote=f"The answer is {answer}", is_true=False, reason=f"{answer} is computed nowhere in the path")


def _number(text: str) -> float:
    return abs(float(text.replace(",", "")))


def _last_answer(prose: str) -> int:
    position = prose.lower().rfind("answer")
    return position if position >= 0 else len(prose)
