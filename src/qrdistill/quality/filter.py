"""The filter stage: which paths may be trained on, and why not the others.

Rules in their order: the reply is whole, the question is not one of the test questions, the final answer is right, the text
is not a duplicate, the judge finds the steps sound. The first rule that fails names the drop, so counts add up.

How decisions and qualities follow from the findings is in `decisions.py`.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from qrdistill.config import content_hash
from qrdistill.config.endpoints import LLMJudgeConfig
from qrdistill.errors import DataError
from qrdistill.progress import SILENT, Progress
from qrdistill.quality.correctness import check_answers
from qrdistill.quality.decisions import decide
from qrdistill.quality.judge import Judge, Work
from qrdistill.quality.registry import make_judge
from qrdistill.quality.rules import Pool, drop_duplicates, drop_leaks, drop_unusable, drop_wrong, find_leaks
from qrdistill.store import Run, export_records
from qrdistill.tasks.base import Task
from qrdistill.tasks.registry import load_tasks
from qrdistill.teacher.client.opening import num_workers
from qrdistill.teacher.collect import run_async
from qrdistill.teacher.streams import asked
from qrdistill.types import AnswerVerdict, FilterDecision, JudgeVerdict, Question, ReasoningPath

BATCH_VERDICTS = 200
BATCH_S = 1.0
"""Findings are written when this many wait or the oldest has waited this long."""
LISTED_QUESTIONS = 50
"""At most so many emptied questions are named in the summary (all are in the decisions)."""


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


def filter_again(run: Run, *, progress: Progress | None = None) -> list[ReasoningPath]:
    """Decide on every path again with today's grader; findings of the judge are reused. Returns and raises as `filter_paths`.

    When other paths are kept now, the stages after this one are to be done again.
    """
    with run.owned():
        run.require("filter")
        run.ledger.forget("stage/filter")
        return filter_paths(run, progress=progress)


def _filter(run: Run, progress: Progress) -> None:
    started_s = time.monotonic()
    run.begin("filter")
    config = run.config.filter
    tasks = load_tasks(run.config)
    questions = {question.id: question for question in run.ledger.iterate(Question)}
    paths = run.ledger.all(ReasoningPath)
    pool, num_leaks = sift(run, tasks, questions, paths, progress)
    judge = make_judge(config.judge, run, tasks)
    findings = judge_left(run, judge, pool, progress) if judge else {}
    top_m = config.judge.top_m if isinstance(config.judge, LLMJudgeConfig) else 0
    decisions = decide(pool, findings, judge, top_m=top_m)
    with run.ledger.transaction():
        for record_type in (AnswerVerdict, FilterDecision):
            run.ledger.delete(record_type)
        run.ledger.add(pool.verdicts.values())
        run.ledger.add(decisions)
    _finish(run, pool, decisions, findings, time.monotonic() - started_s, progress, num_leaks=num_leaks)


def sift(
    run: Run, tasks: Mapping[str, Task], questions: Mapping[str, Question], paths: Sequence[ReasoningPath], progress: Progress
) -> tuple[Pool, int]:
    """Apply every rule that needs no judge.

    Returns:
        The pool, and how many leaks were let through because the recipe allows them.
    """
    config = run.config.filter
    verdicts = check_answers(tasks, questions, paths, progress, num_workers=num_workers(run))
    pool = Pool(questions, paths, verdicts)
    drop_unusable(pool)
    num_leaks = 0
    if config.allow_leaks:
        num_leaks = len(find_leaks(pool))
        progress.note(f"filter.allow_leaks is set: {num_leaks} paths that give a test question away are not dropped for it")
    else:
        drop_leaks(pool)
    if config.check_answers:
        drop_wrong(pool)
    drop_duplicates(pool)
    return pool, num_leaks


def judge_left(run: Run, judge: Judge, pool: Pool, progress: Progress) -> dict[str, JudgeVerdict]:
    """Findings on every path that is left; those of an earlier run are reused."""
    known = {finding.path_id: finding for finding in run.ledger.iterate(JudgeVerdict, "judge = ?", (judge.name,))}
    left = pool.left()
    wanted = [asked(pool.questions[path.question_id], path, "") for path in left if path.id not in known]
    work: list[Work] = [(what.question, what.path) for what in wanted]
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


# --- the end -----------------------------------------------------------------------------------------------------------------


def _finish(
    run: Run,
    pool: Pool,
    decisions: Sequence[FilterDecision],
    findings: Mapping[str, JudgeVerdict],
    took_s: float,
    progress: Progress,
    *,
    num_leaks: int,
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
    if run.config.filter.allow_leaks:
        summary["num_leaks_allowed"] = num_leaks
    if summary["num_emptied_questions"]:
        progress.note(f"{summary['num_emptied_questions']} questions keep no path and are not trained on")
    verdicts = sorted(pool.verdicts.values(), key=lambda verdict: verdict.path_id)
    export_records(run.exports, "verdicts", verdicts)
    export_records(run.exports, "judgements", sorted(findings.values(), key=lambda finding: finding.path_id))
    export_records(run.exports, "decisions", decisions)
    digest = content_hash([dataclasses.asdict(decision) for decision in decisions if decision.is_kept])
    run.finish("filter", summary | {"wall_s": round(took_s, 3)}, digest=digest)


def _summary(pool: Pool, decisions: Sequence[FilterDecision], by_reason: Counter[str]) -> dict[str, Any]:
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
