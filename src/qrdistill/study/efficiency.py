"""Sample efficiency: at which share of the training questions a method reaches plain SFT's accuracy on all of them.

Every point is an arm of the same study, so all are trained on the same number of label tokens and differ only in how many
different questions those come from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_NAME = re.compile(r"^(?:(?P<base>.+)\+)?fraction_(?P<percent>\d+)$")
METHOD, CONTROL = "qrdistill", "all"

Scores = Sequence[Mapping[str, float]]
"""Per seed: question -> score."""


def curves(arms: Sequence[str]) -> dict[str, dict[float, str]]:
    """Arms by method and share of the questions; an arm without a share stands at 1.

    >>> curves(["all", "fraction_30", "qrdistill", "random"])
    {'qrdistill': {0.3: 'fraction_30', 1.0: 'qrdistill'}, 'all': {1.0: 'all'}}
    """
    found: dict[str, dict[float, str]] = {}
    for arm in arms:
        if match := _NAME.match(arm):
            found.setdefault(match["base"] or METHOD, {})[int(match["percent"]) / 100] = arm
    for base in (*found, METHOD, CONTROL):
        if base in arms:
            found.setdefault(base, {}).setdefault(1.0, base)
    return {base: dict(sorted(points.items())) for base, points in found.items()}


def crossing(shares: Sequence[float], means: Sequence[float], target: float) -> float:
    """The smallest share at which the curve, straight between its points, is at the target; infinity if it never is.

    Before its first point a curve is not known: one that begins at or above the target gives that point's share.

    >>> crossing([0.1, 0.5, 1.0], [0.2, 0.4, 0.5], 0.3)
    0.3
    """
    if means[0] >= target:
        return shares[0]
    for left in range(len(shares) - 1):
        low, high = means[left], means[left + 1]
        if low < target <= high:
            return round(shares[left] + (shares[left + 1] - shares[left]) * (target - low) / (high - low), 12)
    return float("inf")


def sample_efficiency(scores: Mapping[str, Scores], *, num_resamples: int = 2000, seed: int = 0) -> dict[str, Any] | None:
    """Where the method's curve meets the control on all questions, with a 95% interval over seeds and questions.

    Args:
        scores: per arm and seed, question -> score; all arms answered the same questions under a seed.
        num_resamples: bootstrap samples; seeds are drawn with replacement, then each seed's questions, jointly for all arms.
        seed: of the resampling.

    Returns:
        `share` with `low` and `high` (None: never reached), `reached_frac` of the samples that reach it, `target`, and the points
        of every curve as [share, mean]; None where the study has no such curve.
    """
    found = curves(list(scores))
    points, controls = found.get(METHOD, {}), found.get(CONTROL, {})
    if len(points) < 2 or 1.0 not in controls:
        return None
    names = [*points.values(), controls[1.0]]
    score_KAQ = []
    for number in range(len(scores[names[0]])):
        shared = sorted(set.intersection(*(set(scores[name][number]) for name in names)))
        score_KAQ.append(np.array([[scores[name][number][question] for question in shared] for name in names]))
    shares = list(points)
    whole_A = np.mean([score_AQ.mean(axis=1) for score_AQ in score_KAQ], axis=0)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(num_resamples):
        chosen = generator.integers(len(score_KAQ), size=len(score_KAQ))
        mean_A = np.mean([_resampled(score_KAQ[k], generator) for k in chosen], axis=0)
        drawn.append(crossing(shares, mean_A[:-1].tolist(), float(mean_A[-1])))
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    return {
        "share": _finite(crossing(shares, whole_A[:-1].tolist(), float(whole_A[-1]))),
        "low": _finite(float(low)),
        "high": _finite(float(high)),
        "reached_frac": round(float(np.mean(np.isfinite(drawn))), 4),
        "target": round(float(whole_A[-1]), 6),
        "curves": {base: [[share, arm] for share, arm in arms.items()] for base, arms in found.items() if len(arms) > 1},
    }


def _resampled(score_AQ: Any, generator: np.random.Generator) -> Any:
    n = score_AQ.shape[1]
    return score_AQ[:, generator.integers(n, size=n)].mean(axis=1)


def _finite(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None
