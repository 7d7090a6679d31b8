"""How well the students answer, before and after: scores with intervals, paired gains, and the one-sentence summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qrdistill.report.blocks import Block, Fact, Facts, Figure, Figures, Heading, Prose, Section, Tables
from qrdistill.report.figures import Range, range_chart
from qrdistill.report.reading import MAX_TRUNCATED, TEAM, Answer, answers, has_ledger, in_order, place, student_names, task_names
from qrdistill.report.statistics import Difference, paired_difference
from qrdistill.report.tables import NONE, Cell, Table, count, interval, percent, points, table
from qrdistill.store import Run
from qrdistill.types import Score

ARMS = {"zero_shot": "zero-shot", "trained": "trained"}


@dataclass(frozen=True, slots=True)
class Results:
    """The scores of a run and each student's paired gain over its own zero-shot answers."""

    scores: tuple[Score, ...]
    by_key: Mapping[tuple[str, str, str], Score]
    gains: dict[str, Difference]
    answers: tuple[Answer, ...]

    def score(self, arm: str, student: str, task: str = "all") -> Score | None:
        """The score of a student on a task, if there is one."""
        return self.by_key.get((arm, student, task))


def read_results(run: Run) -> Results:
    """Scores and answers as the evaluation left them."""
    found = run.ledger.all(Score) if has_ledger(run) else []
    students, tasks, arms = [*student_names(run), *TEAM], ["all", *task_names(run)], list(ARMS)
    scores = tuple(sorted(found, key=lambda s: (place(s.task, tasks), place(s.student, students), place(s.arm, arms))))
    given = tuple(answers(run))
    gains = {student: gain for student in student_names(run) if (gain := gain_of(given, student)) is not None}
    return Results(scores, {(s.arm, s.student, s.task): s for s in scores}, gains, given)


def gain_of(given: Sequence[Answer], student: str, task: str = "all") -> Difference | None:
    """Trained minus zero-shot accuracy over the questions both arms answered and whose checks finished."""
    mine = [a for a in given if a.student == student and task in ("all", a.task)]
    return paired([a for a in mine if a.arm == "zero_shot"], [a for a in mine if a.arm == "trained"])


def paired(first: Sequence[Answer], second: Sequence[Answer]) -> Difference | None:
    """Second minus first accuracy over the questions both answered and whose checks finished; None where there are none."""
    before = {a.question_id: a.is_right for a in first if a.is_right is not None}
    after = {a.question_id: a.is_right for a in second if a.is_right is not None}
    both = sorted(before.keys() & after.keys())
    return paired_difference([before[q] for q in both], [after[q] for q in both]) if both else None


def headline(run: Run, results: Results) -> str:
    """The run in one sentence, with intervals."""
    said = []
    for student in student_names(run):
        score = results.score("trained", student)
        if score is None:
            continue
        span = f"95% interval {interval(score.low, score.high)}"
        sentence = f"{student} answers {percent(score.accuracy)} of {count(score.n)} held-out questions ({span})"
        gain = results.gains.get(student)
        if gain is not None:
            direction = "above" if gain.value >= 0 else "below"
            moved = f"{abs(100 * gain.value):.1f} points {direction} its own zero-shot accuracy"
            sentence += f", {moved} ({points(gain.low)} to {points(gain.high)})"
        said.append(sentence)
    if not said:
        return "The students have not been scored after training yet, so there is no result to state."
    return "After training, " + "; ".join(said) + "."


def results_section(
    run: Run, results: Results, *, rows: Sequence[Sequence[Cell | str]] = (), more: Sequence[Block] = ()
) -> Section:
    """The results of one run.

    Args:
        run: the run.
        results: its scores.
        rows: more rows of the score table (those of a control).
        more: what follows the tables.
    """
    if not results.scores:
        return Section("results", "Results", (Prose("No scores yet: the evaluate stage has not finished.", "warning"),))
    blocks: list[Block | Heading] = [_facts(run, results)]
    if cut := [s for s in results.scores if s.truncated_frac > MAX_TRUNCATED and s.student not in TEAM and s.task == "all"]:
        names = ", ".join(f"{s.student} {ARMS.get(s.arm, s.arm)} ({percent(s.truncated_frac)})" for s in cut)
        blocks.append(
            Prose(f"Not comparable: more than 2% of the answers hit the token limit and may be cut off: {names}.", "warning")
        )
    blocks.append(Figures(_charts(run, results)))
    blocks.append(Tables((_score_table(run, results, rows),)))
    blocks.append(Tables((_gain_table(run, results),)))
    return Section("results", "Results", (*blocks, *more))


def _facts(run: Run, results: Results) -> Facts:
    facts = []
    for student in (*student_names(run), *TEAM):
        score = results.score("trained", student) or results.score("zero_shot", student)
        if score is None:
            continue
        gain = results.gains.get(student)
        detail = f"{interval(score.low, score.high)}, n = {count(score.n)}"
        if gain is not None:
            detail += f"; gain {points(gain.value)} points"
        name = {"vote": "majority vote"}.get(student, student)
        if student == "oracle":
            detail = f"any student right; {detail}"
        facts.append(Fact(f"{name}, {ARMS.get(score.arm, score.arm)}", percent(score.accuracy), detail))
    return Facts(tuple(facts))


def _charts(run: Run, results: Results) -> tuple[Figure, ...]:
    names = in_order([s.student for s in results.scores], [*student_names(run), *TEAM])
    tasks = in_order([s.task for s in results.scores], ["all", *task_names(run)])
    charts = []
    for task in tasks if len(tasks) > 2 else tasks[:1]:
        found = []
        for name in names:
            pair = [results.score(arm, name, task) for arm in ("zero_shot", "trained")]
            ranges = [Range(s.accuracy, s.low, s.high, s.arm == "zero_shot") for s in pair if s is not None]
            if ranges:
                found.append((name, ranges))
        if found:
            title = "Accuracy on all tasks" if task == "all" else f"Accuracy on {task}"
            charts.append(range_chart(title, found, before="zero-shot", after="trained"))
    return tuple(charts)


def _score_table(run: Run, results: Results, more: Sequence[Sequence[Cell | str]]) -> Table:
    tasks = in_order([s.task for s in results.scores], ["all", *task_names(run)])
    names = in_order([s.student for s in results.scores], [*student_names(run), *TEAM])
    body: list[Sequence[Cell | str]] = []
    for task in tasks:
        for name in names:
            for arm in in_order([s.arm for s in results.scores], list(ARMS)):
                score = results.score(arm, name, task)
                if score is not None:
                    body.append(score_row(score, ARMS.get(arm, arm)))
        if task == "all":
            body += more
    return table(
        "Accuracy with 95% Wilson interval",
        ["Task", "Student", "Arm", "Accuracy", "95% interval, %", "Right", "n", "Unparsed", "Truncated"],
        body,
        num_headers=3,
        note="Unparsed: no final answer could be read. Truncated: the answer hit the token limit. Both count as not right.",
    )


def truncated(score: Score) -> Cell:
    """The share of cut-off answers, with a warning where it makes the score not comparable."""
    if score.truncated_frac > MAX_TRUNCATED:
        return Cell(f"{percent(score.truncated_frac)}, not comparable", tone="warning")
    return Cell(percent(score.truncated_frac))


def score_row(score: Score, arm: str) -> list[Cell | str]:
    """A score as a row of the score table, under the name of an arm."""
    is_team = score.student in TEAM
    return [
        "all tasks" if score.task == "all" else score.task,
        score.student,
        arm,
        percent(score.accuracy),
        interval(score.low, score.high),
        count(score.num_correct),
        count(score.n),
        NONE if is_team else percent(score.unparsed_frac),
        NONE if is_team else truncated(score),
    ]


def clear(change: Difference) -> Cell | str:
    """Whether an interval leaves out 0, in words."""
    return Cell("clear", tone="good") if change.low > 0 else Cell("worse", tone="warning") if change.high < 0 else "not clear"


def _gain_table(run: Run, results: Results) -> Table:
    body: list[list[Cell | str]] = []
    for student in student_names(run):
        for task in ("all", *task_names(run)):
            gain = results.gains.get(student) if task == "all" else gain_of(results.answers, student, task)
            if gain is None:
                continue
            span = f"{points(gain.low)} to {points(gain.high)}"
            name = "all tasks" if task == "all" else task
            body.append(
                [
                    student,
                    name,
                    points(gain.value),
                    span,
                    count(gain.num_gained),
                    count(gain.num_lost),
                    count(gain.n),
                    clear(gain),
                ]
            )
    return table(
        "Gain over the student's own zero-shot answers, in points (paired by question)",
        ["Student", "Task", "Gain", "95% interval", "Newly right", "Newly wrong", "n", "~Interval leaves out 0"],
        body,
        num_headers=2,
        note="Questions whose check did not finish in either arm are left out of the pairing.",
    )
