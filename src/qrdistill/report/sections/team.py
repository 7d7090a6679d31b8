"""The students as a team: what the vote and an oracle would reach, and how much the students differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from qrdistill.report.blocks import Block, Heading, Prose, Section, Tables
from qrdistill.report.reading import TEAM, Answer, few, student_names
from qrdistill.report.sections.results import ARMS, Results
from qrdistill.report.tables import NONE, Cell, Table, count, interval, percent, table
from qrdistill.store import Run


def team_section(run: Run, results: Results) -> Section:
    """Vote, oracle and agreement of the students."""
    students = few([a.student for a in results.answers], student_names(run))
    if len(students) < 2:
        text = "The team page needs the test answers of at least two students."
        return Section("team", "Team", (Prose(text, "warning" if not results.answers else ""),))
    blocks: list[Block | Heading] = [
        Prose(
            "The oracle counts a question as right when any student is right: the room that routing questions or voting "
            "could still win. Students that agree on everything have taught each other nothing new."
        )
    ]
    if team := _team_table(results, students):
        blocks.append(Tables((team,)))
    for arm in few([a.arm for a in results.answers], list(ARMS)):
        given = [a for a in results.answers if a.arm == arm]
        title = ARMS.get(arm, arm)
        blocks += [Heading(f"Agreement, {title}"), Tables((_agreement(given, students, title), _pairs(given, students, title)))]
    return Section("team", "Team", tuple(blocks))


def _team_table(results: Results, students: Sequence[str]) -> Table | None:
    body: list[list[Cell | str]] = []
    for arm in ARMS:
        singles = [score for name in students if (score := results.score(arm, name)) is not None]
        if not singles:
            continue
        best = max(singles, key=lambda score: score.accuracy)
        for label, score in (("best student: " + best.student, best), *((name, results.score(arm, name)) for name in TEAM)):
            if score is not None:
                body.append([ARMS[arm], label, percent(score.accuracy), interval(score.low, score.high), count(score.n)])
    return (
        table("Team against its best student, all tasks", ["Arm", "Who", "Accuracy", "95% interval, %", "n"], body, num_headers=2)
        if body
        else None
    )


def _by_question(given: Sequence[Answer], student: str) -> dict[str, Answer]:
    return {a.question_id: a for a in given if a.student == student}


def _agreement(given: Sequence[Answer], students: Sequence[str], arm: str) -> Table:
    by_student = {name: _by_question(given, name) for name in students}
    body: list[list[Cell | str]] = []
    for a in students:
        row: list[Cell | str] = [a]
        for b in students:
            both = by_student[a].keys() & by_student[b].keys()
            same = sum(_is_same(by_student[a][q], by_student[b][q]) for q in both)
            row.append(Cell(percent(same / len(both), 0), heat=same / len(both)) if both and a != b else NONE)
        body.append(row)
    return table(
        f"Share of questions with the same answer, {arm}",
        ["Student", *students],
        body,
        note="Answers that could not be read agree with nothing.",
    )


def _is_same(a: Answer, b: Answer) -> bool:
    return bool(a.is_right and b.is_right) or bool(a.said and a.said == b.said)


def _pairs(given: Sequence[Answer], students: Sequence[str], arm: str) -> Table:
    body: list[list[Cell | str]] = []
    for a, b in combinations(students, 2):
        mine, yours = _by_question(given, a), _by_question(given, b)
        both = [(bool(mine[q].is_right), bool(yours[q].is_right)) for q in mine.keys() & yours.keys()]
        parts = [(True, True), (True, False), (False, True), (False, False)]
        body.append(
            [f"{a} and {b}", *(percent(both.count(part) / len(both)) if both else NONE for part in parts), count(len(both))]
        )
    return table(f"Who is right, {arm}", ["Pair", "Both", "Only the first", "Only the second", "Neither", "n"], body)
