"""The equal-compute control: what the same students reach by plain training that may compute as much.

A gain over zero-shot says what training gives. What choosing paths gives is the difference to a control: the same questions
and students, plain SFT on all kept paths or on a random subset of them, no peers, and for every student the label tokens of this
run plus those that its peers and probes cost to read (`qrdistill.training.compute`). Such a run is found among those of the
report; where there is none, the report says so and how to make one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qrdistill.report.blocks import Block, Listing, Prose, Tables
from qrdistill.report.reading import metrics, student_names
from qrdistill.report.sections.results import Results, clear, paired, score_row
from qrdistill.report.sections.training import trained_tokens
from qrdistill.report.tables import NONE, Cell, Table, count, number, points, table
from qrdistill.store import Run
from qrdistill.training.compute import compute_factor

ARM = "equal-compute control"
PLAIN_POLICIES = ("random", "all", "single_path")
"""Policies that learn nothing about paths or students."""
SLACK_FRAC = 0.03
"""By so much fewer label tokens a control may have, since whole paths are trained on."""


def control_among(runs: Sequence[Run]) -> int | None:
    """The place of the first run's control among the runs, if one of them is it."""
    return next((place for place, other in enumerate(runs) if is_control_of(runs[0], other)), None)


def is_control_of(run: Run, other: Run) -> bool:
    """Whether `other` shows what plain training gives for the compute of `run`."""
    if is_plain(run) or not is_plain(other):
        return False
    if (other.config.questions, other.config.students) != (run.config.questions, run.config.students):
        return False
    mine, its = label_tokens(run), label_tokens(other)
    factor = (1 - SLACK_FRAC) * compute_factor(run.config)
    return bool(mine) and all(its.get(name, 0) >= factor * used for name, used in mine.items())


def is_plain(run: Run) -> bool:
    """Whether a run trains without router, peers and optional stages, so that it is itself what others are compared with."""
    method = run.config.method
    return method.policy.kind in PLAIN_POLICIES and method.peers.weight == 0 and not method.extras


def label_tokens(run: Run) -> dict[str, int]:
    """Label tokens each student of a run was trained on; without students that were not trained."""
    found = metrics(run)
    used = {name: trained_tokens(found, name) for name in student_names(run)}
    return {name: tokens for name, tokens in used.items() if tokens}


def control_rows(run: Run, results: Results, control: Results | None) -> list[list[Cell | str]]:
    """The control's rows of the score table; a run that has none beside it says so where they would stand."""
    trained = [name for name in student_names(run) if results.score("trained", name)]
    if is_plain(run):
        return []
    if control is None:
        return [["all tasks", name, ARM, Cell("not run", tone="muted"), *[NONE] * 5] for name in trained]
    return [score_row(score, ARM) for name in trained if (score := control.score("trained", name)) is not None]


def control_blocks(run: Run, results: Results, control: Run | None, its: Results | None) -> list[Block]:
    """The run minus its control; where there is none, how to make it."""
    if control is not None and its is not None:
        return [Tables((_difference_table(run, results, control, its),))]
    tokens = label_tokens(run)
    if is_plain(run) or not tokens:
        return []
    return [
        Prose(
            "No equal-compute control is set beside this run, so nothing here says what choosing paths is worth: the gain over "
            "zero-shot is what training on filtered paths gives. These commands train one on the same kept paths, without "
            "asking a teacher or judge again, and report on both (RUN is this run's folder):"
        ),
        Listing("How to make the equal-compute control", command(run, round(max(tokens.values()) * compute_factor(run.config)))),
    ]


def command(run: Run, tokens: int) -> str:
    """Shell commands that train a control on at least `tokens` label tokens for each student."""
    budget = float(getattr(run.config.method.policy, "budget", math.nan))
    policy = "{kind: all}" if math.isnan(budget) else f"{{kind: random, budget: {number(budget, 4)}}}"
    return (
        "cp -r RUN RUN-control\n"
        f"qrdistill run RUN-control --update --set 'method.policy={policy}' \\\n"
        f"  --set method.peers.weight=0 --set training.max_label_tokens={tokens}\n"
        "qrdistill report RUN RUN-control"
    )


def _difference_table(run: Run, results: Results, control: Run, its: Results) -> Table:
    mine, others = label_tokens(run), label_tokens(control)
    body: list[list[Cell | str]] = []
    for name in student_names(run):
        first, other = ([a for a in side.answers if (a.student, a.arm) == (name, "trained")] for side in (results, its))
        change = paired(other, first)
        if change is not None:
            span = f"{points(change.low)} to {points(change.high)}"
            tokens = [count(side.get(name, 0)) for side in (mine, others)]
            body.append([name, points(change.value), span, count(change.n), *tokens, clear(change)])
    kind = control.config.method.policy.kind
    return table(
        f"This run minus its equal-compute control ({kind}), after training, in points (paired by question)",
        ["Student", "Difference", "95% interval", "n", "Label tokens here", "Label tokens, control", "~Interval leaves out 0"],
        body,
        note="The control trains the same students on the same questions without router and peers, on "
        f"{compute_factor(run.config):.2f} times the label tokens or more: what peers and probes cost to read is counted.",
    )
