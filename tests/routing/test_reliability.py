"""kappa tells a good router from a bad one, and a bad one ends as a random subset."""

import itertools

import pytest
import torch

from qrdistill.config.method import QRDistillPolicyConfig
from qrdistill.routing.learned import QRDistillPolicy
from qrdistill.routing.policy import Setting, budget_share
from qrdistill.routing.reliability import equal_bins, kappa, trusted


def test_kappa_is_spearmans_rank_correlation():
    scipy = pytest.importorskip("scipy.stats")
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        score, drop = torch.randn(6, generator=generator), torch.randint(0, 4, (6,), generator=generator).float()
        assert kappa(score, drop) == pytest.approx(float(scipy.spearmanr(score, drop).statistic), abs=1e-6)


def test_kappa_says_zero_where_nothing_can_be_said():
    assert kappa(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])) == 0.0
    assert kappa(torch.ones(5), torch.arange(5.0)) == 0.0
    assert kappa(torch.arange(5.0), torch.ones(5)) == 0.0


def test_bins_are_equal_and_in_order_of_score():
    score = torch.randn(23, generator=torch.Generator().manual_seed(1))
    bins = equal_bins(score, 5)
    assert sorted(row for rows in bins for row in rows.tolist()) == list(range(23))
    assert {len(rows) for rows in bins} == {4, 5}
    assert all(score[low].max() <= score[high].min() for low, high in itertools.pairwise(bins))


@pytest.mark.parametrize(("trust", "share"), [(1.0, 1.0), (0.4, 0.4), (0.0, 0.0), (-0.7, 0.0)])
def test_an_unreliable_router_fades_into_random_subsets(trust: float, share: float):
    prob = torch.rand(6, 2, generator=torch.Generator().manual_seed(2))
    rho0 = torch.full((6,), 0.5)
    mixed = trusted(prob, rho0, torch.tensor([trust, 1.0]))
    assert torch.allclose(mixed[:, 0], share * prob[:, 0] + (1 - share) * 0.5)
    assert torch.equal(mixed[:, 1], prob[:, 1])


def test_a_policy_with_negative_kappa_routes_at_the_budgets_rate():
    from tests.routing.test_objective import view

    policy = QRDistillPolicy(QRDistillPolicyConfig(hidden=8, budget=2.0), Setting(students=("a", "b"), embed_dim=8, seed=3))
    with torch.no_grad():
        policy.router.outer.weight.mul_(100)
    seen = view()
    assert policy.route(seen).prob_PS.std() > 0.1
    policy.kappa_S = torch.tensor([-0.3, 0.0])
    prob = policy.route(seen).prob_PS
    assert torch.allclose(prob, budget_share(seen.question_of_P, 2.0)[:, None].expand_as(prob))
