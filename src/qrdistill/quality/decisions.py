"""From rules and findings to one decision per path.

Quality (METHOD section 4, "Pool"): grades 1 to 5 become 0.2 to 1, divided by the best of the question, so every question that
is kept counts fully. A judge that gives an *opinion* never empties a question: if it drops every right-answer path of one, the
best graded of them is kept with the unscaled, low quality and the reason "kept_last". A judge that gives a *proof* (the step
checker) may empty it; such questions are listed in the summary. Unclear findings are never trained on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from qrdistill.quality.judge import Judge
from qrdistill.quality.rules import Pool
from qrdistill.types import FilterDecision, JudgeVerdict, ReasoningPath

BEST_GRADE = 5


def decide(pool: Pool, findings: Mapping[str, JudgeVerdict], judge: Judge | None, *, top_m: int = 0) -> list[FilterDecision]:
    """Decide on every path of a pool, in the order of their ids; `top_m` keeps at most so many a question (0: all)."""
    by_question: dict[str, list[ReasoningPath]] = defaultdict(list)
    for path in pool.paths:
        by_question[path.question_id].append(path)
    decisions = [decision for paths in by_question.values() for decision in _decide_question(pool, paths, findings, judge, top_m)]
    return sorted(decisions, key=lambda decision: decision.path_id)


def _decide_question(
    pool: Pool, paths: Sequence[ReasoningPath], findings: Mapping[str, JudgeVerdict], judge: Judge | None, top_m: int
) -> Iterable[FilterDecision]:
    judged = [path for path in paths if path.id not in pool.dropped]
    reasons = {path.id: pool.dropped.get(path.id) or _judged(findings.get(path.id), judge) for path in paths}
    ranked = sorted((path.id for path in judged if reasons[path.id][0] == "kept"), key=lambda id: (-_worth(findings.get(id)), id))
    kept = set(ranked[: top_m or None])
    reasons.update({id: ("judge_top_m", f"{top_m} paths with better grades are kept") for id in ranked if id not in kept})
    if not kept and judge is not None and not judge.is_exact and (last := _least_bad(judged, findings)):
        kept, reasons[last] = {last}, ("kept_last", "the judge dropped every path of this question")
        best = 1.0
    else:
        best = max((_worth(findings.get(id)) for id in kept), default=1.0)
    for path in paths:
        reason, detail = reasons[path.id]
        is_kept = path.id in kept
        yield FilterDecision(
            path_id=path.id,
            question_id=path.question_id,
            style=path.style,
            is_kept=is_kept,
            reason=reason,
            detail=detail,
            quality=_worth(findings.get(path.id)) / best if is_kept else 0.0,
        )


def _judged(finding: JudgeVerdict | None, judge: Judge | None) -> tuple[str, str]:
    if judge is None:
        return "kept", ""
    if finding is None:
        return "judge_missing", "the judge gave no finding"
    if finding.decision == "keep":
        return "kept", ""
    reason = "judge" if finding.decision == "drop" else "judge_unknown"
    return reason, f"{finding.step}: {finding.reason}" if finding.step else finding.reason


def _least_bad(judged: Sequence[ReasoningPath], findings: Mapping[str, JudgeVerdict]) -> str:
    """The best graded dropped path of a question ("" if none was dropped by an opinion)."""
    dropped = [findings[path.id] for path in judged if path.id in findings and findings[path.id].decision == "drop"]
    return max(dropped, key=lambda finding: (finding.grade, finding.path_id)).path_id if dropped else ""


def _worth(finding: JudgeVerdict | None) -> float:
    """A grade as a quality in (0, 1]; ungraded counts as the best."""
    return (finding.grade or BEST_GRADE) / BEST_GRADE if finding else 1.0
