"""Intervals, paired tests and team rules against plain references."""

import itertools

import numpy as np
import pytest

from qrdistill.evaluation.score import score_predictions
from qrdistill.evaluation.stats import bootstrap_over_seeds, holm, paired_over_seeds, wilson
from qrdistill.evaluation.team import agreement, oracle, vote
from qrdistill.types import Prediction, Question


def answer(
    student: str, extracted: str, verdict: str, question: str = "q", arm: str = "trained", finish: str = "stop"
) -> Prediction:
    return Prediction(
        id=f"{arm}/{student}/{question}",
        arm=arm,
        student=student,
        question_id=question,
        text=extracted,
        finish=finish,
        num_tokens=3,
        verdict=verdict,
        extracted=extracted,
    )


@pytest.mark.parametrize(("k", "n"), [(0, 10), (5, 10), (10, 10), (37, 150)])
def test_wilson_bounds_solve_their_equation(k: int, n: int):
    """Reference: the bounds p satisfy |k/n - p| = z sqrt(p (1 - p) / n)."""
    for bound in wilson(k, n):
        assert (k / n - bound) ** 2 == pytest.approx(1.959963984540054**2 * bound * (1 - bound) / n, abs=1e-9)


def test_wilson_covers_at_about_its_level():
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        low, high = wilson(int(generator.binomial(150, 0.2)), 150)
        hits += low <= 0.2 <= high
    assert 0.93 < hits / 2000 < 0.97


def test_holm_never_rejects_more_than_the_closed_test():
    values = [0.01, 0.04, 0.03, 0.2]
    adjusted = holm(values)
    for index, value in enumerate(values):
        closed = max(
            min(1.0, len(subset) * min(values[i] for i in subset))
            for size in range(1, 5)
            for subset in itertools.combinations(range(4), size)
            if index in subset
        )
        assert adjusted[index] == pytest.approx(closed)
        assert adjusted[index] >= value


def test_vote_takes_the_majority_and_breaks_ties_by_order():
    assert vote([answer("a", "1", "differ"), answer("b", "2", "match"), answer("c", "2", "match")]).student == "b"
    assert vote([answer("a", "1", "differ"), answer("b", "2", "match")]).student == "a"
    assert vote([answer("a", "", "unparsed"), answer("b", "2", "match")]).student == "b"
    assert vote([answer("a", "", "unparsed"), answer("b", "", "unparsed")]).verdict == "unparsed"


def test_oracle_and_agreement():
    rows = [
        [answer("a", "1", "match"), answer("b", "2", "differ")],
        [answer("a", "1", "match"), answer("b", "1", "match")],
        [answer("a", "3", "differ"), answer("b", "2", "differ")],
    ]
    assert [oracle(row) for row in rows] == [True, True, False]
    assert agreement(rows) == [[1.0, pytest.approx(2 / 3)], [pytest.approx(2 / 3), 1.0]]


def test_scores_add_up_and_a_time_out_is_not_an_error():
    questions = {
        name: Question(id=name, task=task, split="test", text=name, kind="number", gold="1")
        for name, task in (("q1", "sums"), ("q2", "sums"), ("q3", "legs"))
    }
    predictions = [
        answer("a", "1", "match", "q1"),
        answer("a", "2", "differ", "q2"),
        answer("a", "1", "timeout", "q3"),
        answer("b", "", "unparsed", "q1", finish="length"),
        answer("b", "1", "match", "q2"),
        answer("b", "1", "match", "q3"),
    ]
    scores = {(s.student, s.task): s for s in score_predictions(predictions, questions, ["a", "b"])}
    assert (scores["a", "all"].n, scores["a", "all"].num_correct) == (2, 1)
    assert scores["b", "all"].accuracy == pytest.approx(2 / 3)
    assert scores["b", "all"].unparsed_frac == scores["b", "all"].truncated_frac == pytest.approx(1 / 3)
    assert scores["oracle", "all"].num_correct == 3
    assert sum(scores["b", task].n for task in ("sums", "legs")) == scores["b", "all"].n


def _plain_bootstrap(scores, num_resamples, seed):
    """Seeds with replacement, then questions: the same for all seeds where they are the same, else each seed's own."""
    import random

    draw = random.Random(seed)
    means = []
    is_crossed = len(scores) > 1 and all(column.keys() == scores[0].keys() for column in scores)
    for _ in range(num_resamples):
        chosen = [draw.choice(scores) for _ in scores]
        shared = draw.choices(list(scores[0]), k=len(scores[0]))
        picks = [shared if is_crossed else draw.choices(list(column), k=len(column)) for column in chosen]
        seed_means = [sum(column[q] for q in names) / len(names) for column, names in zip(chosen, picks, strict=True)]
        means.append(sum(seed_means) / len(seed_means))
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.parametrize("is_crossed", [True, False])
def test_bootstrap_over_seeds_is_the_one_with_plain_loops(is_crossed):
    generator = np.random.default_rng(4)
    scores = [
        {f"{'' if is_crossed else seed}q{n}": float(generator.random() < 0.4 + 0.1 * seed) for n in range(40)}
        for seed in range(3)
    ]
    found = bootstrap_over_seeds(scores)
    assert found.mean == pytest.approx(np.mean([list(column.values()) for column in scores]))
    assert found.n == 120
    np.testing.assert_allclose([found.low, found.high], _plain_bootstrap(scores, 4000, 1), atol=0.02)


def test_a_planted_difference_is_found_and_none_is_not():
    generator = np.random.default_rng(7)

    def arm(rate):
        return [{f"{seed}q{n}": float(generator.random() < rate) for n in range(150)} for seed in range(5)]

    low, high, same = arm(0.4), arm(0.55), arm(0.4)
    better = paired_over_seeds(high, low)
    assert better.low > 0
    assert better.p_value < 0.01
    none = paired_over_seeds(same, low)
    assert none.low < 0 < none.high
    assert none.p_value > 0.05
    lost = [dict(list(column.items())[:100]) for column in high]
    assert paired_over_seeds(lost, low).n == 500
    with pytest.raises(ValueError, match="zip"):
        paired_over_seeds(high[:4], low)
