"""Utilities rank paths by held-out evidence; sketches have the geometry of the real gradient."""

from collections.abc import Sequence

import torch
from torch import nn

from qrdistill.config.method import SketchUtilityConfig, ValueUtilityConfig
from qrdistill.routing.features import PathState, path_state, standardise_within
from qrdistill.routing.seen import Seen
from qrdistill.routing.sketch import GradientSketch
from qrdistill.routing.utility import SketchUtility, ValueUtility
from qrdistill.routing.values import answer_determining_spans

GROUPS = [(style, "sums") for style in ("good", "bad", "new")]


def seen(styles: list[str], right: list[list[int]], tokens: list[int]) -> Seen:
    def state(right_P: list[int]) -> PathState:
        ones = torch.ones(len(styles))
        return PathState(
            nll_P=ones,
            rank_P=ones,
            brier_P=ones,
            num_tokens_P=ones,
            value_right_P=torch.tensor(right_P, dtype=torch.float),
            value_tokens_P=torch.tensor(tokens, dtype=torch.float),
        )

    return Seen(
        styles=tuple(styles),
        families=("sums",) * len(styles),
        path_ids=tuple(map(str, range(len(styles)))),
        states=[state(row) for row in right],
    )


def test_value_prefers_the_style_whose_values_come_out_right_per_student():
    utility = ValueUtility(ValueUtilityConfig(), num_students=2, groups=GROUPS)
    for _ in range(5):
        utility.witness(seen(["good", "bad"], [[4, 1], [2, 4]], [4, 4]))
    score = utility.score(seen(["good", "bad", "new"], [[0, 0, 0], [0, 0, 0]], [4, 4, 4]))
    assert score[0, 0] > score[1, 0]
    assert score[1, 1] > score[0, 1]
    assert torch.isnan(score[2]).all()


def test_value_tells_styles_apart_before_any_whole_path_is_right():
    utility = ValueUtility(ValueUtilityConfig(), num_students=1, groups=GROUPS)
    utility.witness(seen(["good", "bad"], [[3, 1]], [4, 4]))
    score = utility.score(seen(["good", "bad"], [[0, 0]], [4, 4]))
    assert score[0, 0] > 2 * score[1, 0]


def test_old_evidence_fades():
    utility = ValueUtility(ValueUtilityConfig(decay=0.5), num_students=1, groups=GROUPS)
    utility.witness(seen(["good"] * 20, [[0] * 20], [2] * 20))
    for _ in range(8):
        utility.advance()
    utility.witness(seen(["good"] * 20, [[2] * 20], [2] * 20))
    assert utility.rates()[0, 0] > 0.9


def test_sketch_cosines_are_those_of_the_true_last_layer_gradient():
    """Reference: autograd's gradient of each path's loss with respect to the output matrix.

    Random paths are the hardest case (all cosines are small). The hash noise falls with the width: the correlation is 0.72 at 64,
    0.88 at 128 and 0.97 at 256.
    """
    generator = torch.Generator().manual_seed(0)
    width, vocabulary, num_paths, length = 24, 40, 12, 6
    head = nn.Linear(width, vocabulary, bias=False)
    nn.init.normal_(head.weight, std=0.2, generator=generator)
    hidden = torch.randn(num_paths * length, width, generator=generator)
    label = torch.randint(vocabulary, (num_paths * length,), generator=generator)
    path_of = torch.arange(num_paths).repeat_interleave(length)
    truth = []
    for path in range(num_paths):
        mine = path_of == path
        loss = nn.functional.cross_entropy(head(hidden[mine]), label[mine], reduction="sum")
        truth.append(torch.autograd.grad(loss, head.weight)[0].reshape(-1))
    sketch = GradientSketch(hidden_dim=width, vocabulary=vocabulary, dim=256, top_tokens=40, seed=1)
    with torch.no_grad():
        prob = head(hidden).softmax(dim=1)
        top, column = prob.topk(sketch.top_tokens, dim=1)
        gold = prob.gather(1, label[:, None]).squeeze(1)
        rows = sketch.paths(*sketch.tokens(column, top, gold, label, hidden), path_of, num_paths)
    normal = nn.functional.normalize
    real = (normal(torch.stack(truth), dim=1) @ normal(torch.stack(truth), dim=1).T).flatten()
    ours = (normal(rows, dim=1) @ normal(rows, dim=1).T).flatten()
    off_diagonal = ~torch.eye(num_paths, dtype=torch.bool).flatten()
    correlation = torch.corrcoef(torch.stack([real[off_diagonal], ours[off_diagonal]]))[0, 1]
    assert correlation > 0.8


def test_sketch_utility_scores_paths_by_their_agreement_with_validation():
    utility = SketchUtility(SketchUtilityConfig(dim=8), num_students=1, groups=GROUPS)
    direction = torch.randn(64, generator=torch.Generator().manual_seed(0))
    base = seen(["good", "bad"], [[0, 0]], [1, 1])
    fields = {name: getattr(base, name) for name in base.__slots__}
    utility.witness(Seen(**fields | {"sketches": [direction.repeat(2, 1)]}))
    score = utility.score(Seen(**fields | {"sketches": [torch.stack([direction, -direction])]}))
    assert torch.allclose(score[:, 0], torch.tensor([1.0, -1.0]), atol=1e-5)


def test_standardise_compares_within_the_question_only():
    value = torch.tensor([[1.0], [2.0], [100.0], [101.0], [5.0]])
    result = standardise_within(value, torch.tensor([0, 0, 1, 1, 2]))
    assert torch.allclose(result, torch.tensor([[-1.0], [1.0], [-1.0], [1.0], [0.0]]))


def test_path_state_sums_tokens_in_plain_loops():
    generator = torch.Generator().manual_seed(4)
    owner = torch.tensor([0, 0, 1, 1, 1])
    nll, brier = torch.rand(5, generator=generator), torch.rand(5, generator=generator)
    rank = torch.tensor([1, 7, 1, 500, 2])
    is_value = torch.tensor([True, True, False, True, True])
    state = path_state(nll, rank, brier, is_value, owner, 2)
    for path in range(2):
        rows = [row for row in range(5) if owner[row] == path]
        assert torch.isclose(state.nll_P[path], sum(nll[row] for row in rows))
        assert state.rank_P[path] == sum(min(int(rank[row]), 100) for row in rows)
        assert state.value_tokens_P[path] == sum(bool(is_value[row]) for row in rows)
        assert state.value_right_P[path] == sum(bool(is_value[row]) and rank[row] == 1 for row in rows)


def spans_of(question: str, path: str, answer: str) -> list[str]:
    start = path.rindex(answer)
    return [path[a:b] for a, b in answer_determining_spans(question, path, start, start + len(answer))]


def test_dropped_branches_givens_and_copies_do_not_count_as_values():
    path = "Maybe 12 + 6 = 18, but no. 12 + 5 = 17, then 17 - 3 = 14. The answer is 14."
    assert spans_of("What is 12 + 5 - 3?", path, "14") == ["17", "14"]


def test_a_value_that_was_worked_out_silently_counts_where_it_first_appears():
    assert spans_of("What is 30 - 4 - 5?", "26 - 5 = 21. The answer is 21.", "21") == ["26", "21"]


def test_an_answer_nobody_worked_out_in_the_text_counts_at_its_place():
    assert spans_of("What is 30 - 4 - 5?", "The answer is 21.", "21") == ["21"]
    assert spans_of("Which one?", "It has 3 sides. The answer is B.", "B") == ["B"]


def pooled_world(pooling: float) -> tuple[ValueUtility, list[tuple[str, str]]]:
    groups = [(style, family) for style in ("good", "bad") for family in ("rich", "poor", "other")]
    return ValueUtility(ValueUtilityConfig(pooling=pooling, decay=1.0), num_students=1, groups=groups), groups


def shown(style: str, family: str, right: Sequence[bool]) -> Seen:
    count = len(right)
    ones = torch.ones(count)
    state = PathState(
        nll_P=ones,
        rank_P=ones,
        brier_P=ones,
        num_tokens_P=ones,
        value_right_P=torch.tensor([float(is_right) for is_right in right]),
        value_tokens_P=ones,
    )
    names = tuple(map(str, range(count)))
    return Seen(styles=(style,) * count, families=(family,) * count, path_ids=names, states=[state])


def test_a_style_seen_twice_in_a_family_is_judged_by_its_other_families():
    """Plant: `good` is right in 90% of 40 paths of two families, `bad` in 10%; in the third, two paths each say the opposite."""
    ranks = {}
    for pooling in (0.0, 20.0):
        utility, _ = pooled_world(pooling)
        for family in ("rich", "other"):
            utility.witness(shown("good", family, [True] * 36 + [False] * 4))
            utility.witness(shown("bad", family, [True] * 4 + [False] * 36))
        utility.witness(shown("good", "poor", [False, False]))
        utility.witness(shown("bad", "poor", [True, True]))
        good, bad = utility.expect(("good", "bad"), ("poor", "poor"))[:, 0].tolist()
        ranks[pooling] = good > bad
    assert ranks == {0.0: False, 20.0: True}


def test_much_evidence_in_a_family_stands_against_all_others():
    utility, _ = pooled_world(20.0)
    for family in ("rich", "other"):
        utility.witness(shown("good", family, [True] * 36 + [False] * 4))
        utility.witness(shown("bad", family, [True] * 4 + [False] * 36))
    utility.witness(shown("good", "poor", [False] * 300))
    utility.witness(shown("bad", "poor", [True] * 300))
    good, bad = utility.expect(("good", "bad"), ("poor", "poor"))[:, 0].tolist()
    assert bad > good + 0.3


def test_with_one_family_pooling_changes_nothing():
    rates = []
    for pooling in (0.0, 20.0):
        utility = ValueUtility(ValueUtilityConfig(pooling=pooling), num_students=1, groups=[("good", "rich"), ("bad", "rich")])
        utility.witness(shown("good", "rich", [True, False, True]))
        utility.witness(shown("bad", "rich", [False]))
        rates.append(utility.rates())
    assert torch.allclose(rates[0], rates[1])
