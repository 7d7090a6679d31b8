"""The filter stage: which paths may be trained on, and why not the others.

Rules in their order: the reply is whole, the question is not one of the test questions, the final answer is right, the text
is not a duplicate, the judge finds the steps sound. The first rule that fails names the drop, so counts add up.

Quality (METHOD section 4, "Pool"): grades 1 to 5 become 0.2 to 1, divided by the best of the question, so every question that
is kept counts fully. A judge that gives an *opinion* never empties a question: if it drops every right-answer path of one, the
best graded of them is kept with the unscaled, low quality and the reason "kept_last". A judge that gives a *proof* (the step
checker) may empty it; such questions are listed in the summary. Unclear findings are never trained on.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qrdistill.config import content_hash
from qrdistill.errors import DataError
from qrdistill.progress import SILENT, Progress
from qrdistill.quality.correctness import check_answers
from qrdistill.quality.judge import Judge, Work
from qrdistill.quality.registry import make_judge
from qrdistill.store import Run, export_records
from qrdistill.tasks.prompts import question_block
from qrdistill.tasks.reasoning.family import normalise
from qrdistill.tasks.registry import load_tasks
from qrdistill.teacher.collect import run_async
from qrdistill.types import AnswerVerdict, FilterDecision, JudgeVerdict, Question, ReasoningPath

BATCH_VERDICTS = 200
BATCH_S = 1.0
"""Findings are written when this many wait or the oldest has waited this long."""
BEST_GRADE = 5
LISTED_QUESTIONS = 50
"""At most so many emptied questions are named in the summary (all are in the decisions)."""


@dataclass(slots=True)
class _Pool:
    """Everything known about the paths under the filter."""

    questions: Mapping[str, Question]
    paths: Sequence[ReasoningPath]
    verdicts: Mapping[str, AnswerVerdict]
    dropped: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Path id -> reason and detail, of the rules so far."""

    def left(self) -> list[ReasoningPath]:
        """Paths no rule has dropped."""
        return [path for path in self.paths if path.id not in self.dropped]


def filter_paths(run: Run, *, progress: Progress | None = None) -> list[ReasoningPath]:
    """Decide on every path; resumes, and does nothing when it is done.

    Returns:
        The kept paths, in the order of their ids.

    Raises:
        UsageError: the generate stage is not finished.
        DataError: no path survives, or no training path does (the message is the funnel).
    """
    progress = progress or SILENT
    with run.owned():
        run.require("generate")
        if not run.is_done("filter"):
            _filter(run, progress)
        kept = {path_id for (path_id,) in run.ledger.execute("SELECT path_id FROM decisions WHERE is_kept = 1")}
        return [path for path in run.ledger.iterate(ReasoningPath) if path.id in kept]


def _filter(run: Run, progress: Progress) -> None:
    started_s = time.monotonic()
    run.begin("filter")
    config = run.config.filter
    tasks = load_tasks(run.config)
    questions = {question.id: question for question in run.ledger.iterate(Question)}
    paths = run.ledger.all(ReasoningPath)
    verdicts = {verdict.path_id: verdict for verdict in check_answers(tasks, questions, paths)}
    pool = _Pool(questions, paths, verdicts)
    _drop_unusable(pool)
    _drop_leaks(pool)
    if config.check_answers:
        _drop_wrong(pool)
    _drop_duplicates(pool)
    judge = make_judge(config.judge, run, tasks)
    findings = _judge(run, judge, pool, progress) if judge else {}
    decisions = _decide(pool, findings, judge)
    with run.ledger.transaction():
        for record_type in (AnswerVerdict, FilterDecision):
            run.ledger.delete(record_type)
        run.ledger.add(verdicts.values())
        run.ledger.add(decisions)
    _finish(run, pool, decisions, findings, time.monotonic() - started_s, progress)


# --- rules -------------------------------------------------------------------------------------------------------------------


def _drop_unusable(pool: _Pool) -> None:
    for path in pool.paths:
        if path.state != "done":
            pool.dropped[path.id] = (path.state, "the reply is not a whole path")


def _drop_leaks(pool: _Pool) -> None:
    """Training and validation questions that are also test questions."""
    tests = {_key(question): question.id for question in pool.questions.values() if question.split == "test"}
    for path in pool.left():
        if twin := tests.get(_key(pool.questions[path.question_id])):
            pool.dropped[path.id] = ("leak", f"the question is also the test question {twin}")


def _drop_wrong(pool: _Pool) -> None:
    for path in pool.left():
        verdict = pool.verdicts[path.id]
        if verdict.verdict != "match":
            pool.dropped[path.id] = (verdict.verdict, verdict.reason)


def _drop_duplicates(pool: _Pool) -> None:
    """The same text twice for one question: the first id stays."""
    first: dict[tuple[str, str], str] = {}
    for path in pool.left():
        original = first.setdefault((path.question_id, normalise(path.text)), path.id)
        if original != path.id:
            pool.dropped[path.id] = ("duplicate", f"the same text as {original}")


def _key(question: Question) -> str:
    return normalise(question_block(question))


def _judge(run: Run, judge: Judge, pool: _Pool, progress: Progress) -> dict[str, JudgeVerdict]:
    """Findings on every path that is left; those of an earlier run are reused."""
    known = {finding.path_id: finding for finding in run.ledger.iterate(JudgeVerdict, "judge = ?", (judge.name,))}
    left = pool.left()
    work: list[Work] = [(pool.questions[path.question_id], path) for path in left if path.id not in known]
    if work:
        run_async(_collect(run, judge, work, known, progress))
    return {path.id: known[path.id] for path in left if path.id in known}


async def _collect(run: Run, judge: Judge, work: list[Work], known: dict[str, JudgeVerdict], progress: Progress) -> None:
    progress.start(len(work), f"judging with {judge.name}")
    waiting: list[JudgeVerdict] = []
    since_s = time.monotonic()
    try:
        async for finding in judge.judge(work):  # of every member, where a judge has several
            waiting.append(finding)
            if finding.judge == judge.name:
                known[finding.path_id] = finding
                progress.advance(1)
            if len(waiting) >= BATCH_VERDICTS or time.monotonic() - since_s >= BATCH_S:
                run.ledger.add(waiting)
                waiting, since_s = [], time.monotonic()
    finally:
        if waiting:
            run.ledger.add(waiting)
        progress.stop()


# --- decisions ---------------------------------------------------------------------------------------------------------------


def _decide(pool: _Pool, findings: Mapping[str, JudgeVerdict], judge: Judge | None) -> list[FilterDecision]:
    by_question: dict[str, list[ReasoningPath]] = defaultdict(list)
    for path in pool.paths:
        by_question[path.question_id].append(path)
    decisions = [decision for paths in by_question.values() for decision in _decide_question(pool, paths, findings, judge)]
    return sorted(decisions, key=lambda decision: decision.path_id)


def _decide_question(
    pool: _Pool, paths: Sequence[ReasoningPath], findings: Mapping[str, JudgeVerdict], judge: Judge | None
) -> Iterable[FilterDecision]:
    judged = [path for path in paths if path.id not in pool.dropped]
    reasons = {path.id: pool.dropped.get(path.id) or _judged(findings.get(path.id), judge) for path in paths}
    kept = {path.id for path in judged if reasons[path.id][0] == "kept"}
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


# --- the end -----------------------------------------------------------------------------------------------------------------


def _finish(
    run: Run,
    pool: _Pool,
    decisions: Sequence[FilterDecision],
    findings: Mapping[str, JudgeVerdict],
    took_s: float,
    progress: Progress,
) -> None:
    by_reason = Counter(decision.reason for decision in decisions)
    train = [decision for decision in decisions if decision.is_kept and pool.questions[decision.question_id].split == "train"]
    if not train:
        funnel = ", ".join(f"{reason} {count}" for reason, count in by_reason.most_common())
        raise DataError(
            f"no training path survives the filter ({len(decisions)} paths: {funnel}); look at some with `qrdistill explain`, "
            "then mend the teacher, the answers' kind or the filter's settings"
        )
    summary = _summary(pool, decisions, by_reason)
    if summary["num_emptied_questions"]:
        progress.note(f"{summary['num_emptied_questions']} questions keep no path and are not trained on")
    verdicts = sorted(pool.verdicts.values(), key=lambda verdict: verdict.path_id)
    export_records(run.exports, "verdicts", verdicts)
    export_records(run.exports, "judgements", sorted(findings.values(), key=lambda finding: finding.path_id))
    export_records(run.exports, "decisions", decisions)
    digest = content_hash([dataclasses.asdict(decision) for decision in decisions if decision.is_kept])
    run.finish("filter", summary | {"wall_s": round(took_s, 3)}, digest=digest)


def _summary(pool: _Pool, decisions: Sequence[FilterDecision], by_reason: Counter[str]) -> dict[str, Any]:
    funnel: dict[str, Counter[str]] = defaultdict(Counter)
    alive: dict[str, bool] = defaultdict(bool)
    for decision in decisions:
        funnel[decision.style][decision.reason] += 1
        alive[decision.question_id] |= decision.is_kept
    asked = [question.id for question in pool.questions.values() if question.split != "test"]
    emptied = sorted(question_id for question_id in asked if not alive[question_id])
    return {
        "num_paths": len(decisions),
        "num_kept": sum(decision.is_kept for decision in decisions),
        "by_reason": dict(sorted(by_reason.items())),
        "by_style": {style: dict(sorted(counts.items())) for style, counts in sorted(funnel.items())},
        "num_emptied_questions": len(emptied),
        "emptied_questions": emptied[:LISTED_QUESTIONS],
    }
