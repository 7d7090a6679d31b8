"""A study's finer tables: the students of each arm together, and the questions on which two arms differ most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrdistill.report.blocks import Section, Tables
from qrdistill.report.tables import NONE, Cell, count, interval, percent, points, table

MAX_QUESTIONS = 8
"""Questions shown at each end of a comparison."""


def team_section(study: Mapping[str, Any]) -> Section:
    """Oracle, agreement and error overlap of every arm with several students."""
    body: list[list[Cell | str]] = []
    for name in study["variants"]:
        if team := study["arms"][name].get("team"):
            best = max(study["arms"][name]["students"].items(), key=lambda item: item[1]["mean"])
            body.append(
                [
                    name,
                    f"{best[0]} {percent(best[1]['mean'])}",
                    percent(team["oracle"]),
                    interval(team["low"], team["high"]),
                    percent(team["agreement"]),
                    NONE if team["error_overlap"] is None else percent(team["error_overlap"]),
                ]
            )
    shown = table(
        "The students of each arm together",
        ["Arm", "Best student", "Oracle", "95% interval, %", "Agreement", "Error overlap"],
        body,
        note="Oracle: any student is right. Agreement: all right or all wrong. Error overlap: of the questions anyone gets wrong "
        "the share all get wrong; at 100% students make the same mistakes, and routing or voting has nothing left to win.",
    )
    return Section("team", "Students as a team", (Tables((shown,)),))


def questions_section(study: Mapping[str, Any], first: str) -> Section:
    """Where the first arm differs from each other one, question by question: both ends of the sorted differences."""
    tables = []
    for name in study["variants"]:
        shares = {q: found["arms"] for q, found in study["questions"].items() if {first, name} <= found["arms"].keys()}
        if name == first or not shares:
            continue
        rows = sorted((arms[name] - arms[first], question) for question, arms in shares.items())
        better, worse = [row for row in rows if row[0] < 0], [row for row in rows if row[0] > 0]
        body: list[list[Cell | str]] = [
            [
                question,
                study["questions"][question]["task"],
                percent(shares[question][first], 0),
                percent(shares[question][name], 0),
                points(-gap),
            ]
            for gap, question in [*better[:MAX_QUESTIONS], *worse[-MAX_QUESTIONS:]]
        ]
        tables.append(
            table(
                f"{first} and {name}: the questions they differ most on",
                ["Question", "Task", first, name, "Difference, points"],
                body,
                note=f"Of {count(len(rows))} questions {first} answers {count(len(better))} better, {count(len(worse))} worse. "
                "Shares are over students and seeds; single questions are noisy: they say where to look, not which is better.",
            )
        )
    return Section("questions", "Question by question", tuple(Tables((one,)) for one in tables))
