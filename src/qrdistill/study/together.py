"""What the students of an arm are together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qrdistill.evaluation.stats import bootstrap_over_seeds


def team_figures(answers: Sequence[Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> dict[str, Any]:
    """What the students of an arm are together: per seed student -> question -> answer.

    Returns:
        `oracle`, the share of questions any student is right on (with an interval over seeds and questions), `agreement`, the
        share on which all are right or all are wrong, and `error_overlap`, of the questions anyone gets wrong the share that all
        get wrong (1: students make the same mistakes, so neither routing nor voting can win anything).
    """
    columns: list[dict[str, float]] = []
    alike, missed_by_any, missed_by_all, total = 0, 0, 0, 0
    for by_student in answers:
        shared = set.intersection(*(set(column) for column in by_student.values()))
        column: dict[str, float] = {}
        for question in sorted(shared):
            marks = [student[question]["verdict"] for student in by_student.values()]
            if "timeout" in marks:
                continue
            right = marks.count("match")
            column[question] = float(right > 0)
            alike += right in (0, len(marks))
            missed_by_any += right < len(marks)
            missed_by_all += right == 0
            total += 1
        columns.append(column)
    found = bootstrap_over_seeds(columns)
    return {
        "oracle": round(found.mean, 6),
        "low": round(found.low, 6),
        "high": round(found.high, 6),
        "agreement": round(alike / total, 4),
        "error_overlap": round(missed_by_all / missed_by_any, 4) if missed_by_any else None,
    }
