"""The router's gradient is the exact gradient of the expected utility, and its controller holds the budget."""

from itertools import product

import pytest
import torch

from qrdistill.config.method import QRDistillPolicyConfig, RandomPolicyConfig
from qrdistill.routing.features import FEATURES, standardise_within
from qrdistill.routing.fixed import RandomPolicy
from qrdistill.routing.learned import QRDistillPolicy
from qrdistill.routing.objective import budget_bias_step, router_loss
from qrdistill.routing.policy import Evidence, Setting, StepView, budget_share


def view(paths: int = 6, questions: int = 4, step: int = 0, seed: int = 0, progress: float = 0.5) -> StepView:
    generator = torch.Generator().manual_seed(seed)
    question_of_P = torch.arange(questions).repeat_interleave(paths)
    total = len(question_of_P)
    return StepView(
        step=step,
        progress=progress,
        styles=tuple(f"style{row % paths}" for row in range(total)),
        question_of_P=question_of_P,
        question_PE=torch.randn(total, 8, generator=generator),
        path_PE=torch.randn(total, 8, generator=generator),
        state_PSF=torch.randn(total, 2, len(FEATURES), generator=generator),
    )


def policy(**settings: float) -> QRDistillPolicy:
    return QRDistillPolicy(QRDistillPolicyConfig(hidden=8, **settings), Setting(students=("a", "b"), embed_dim=8, seed=3))


def showing(utility_PS: torch.Tensor) -> Evidence:
    ones = torch.ones_like(utility_PS)
    return Evidence(utility_PS=utility_PS, nll_PS=ones, tokens_PS=ones, quality_P=ones[:, 0])


def test_router_gradient_equals_the_enumeration_of_all_gates():
    logits = torch.tensor([[0.3], [-0.7], [1.2]], dtype=torch.float64, requires_grad=True)
    advantage = torch.tensor([[1.1], [-0.4], [-0.7]], dtype=torch.float64)
    router_loss(logits, logits.sigmoid(), advantage, weight_penalty=0.0).backward()
    analytic = logits.grad.clone()

    again = logits.detach().clone().requires_grad_()
    expected = 0.0
    for gates in product([0.0, 1.0], repeat=3):
        gate = torch.tensor(gates, dtype=torch.float64)[:, None]
        prob = again.sigmoid()
        chance = (gate * prob + (1 - gate) * (1 - prob)).prod()
        expected = expected + chance * (gate * advantage).sum()
    (-expected / 3).backward()
    assert torch.allclose(analytic, again.grad, atol=1e-6)


def test_closing_every_gate_gains_nothing():
    utility = torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    advantage = standardise_within(utility, torch.arange(2).repeat_interleave(4))
    for prob in (0.0, 0.3, 1.0):
        loss = router_loss(torch.zeros(8, 2), torch.full((8, 2), prob), advantage, weight_penalty=0.0)
        assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_unmeasured_utilities_have_no_say():
    logits = torch.zeros(4, 1, requires_grad=True)
    advantage = torch.tensor([[1.0], [-1.0], [float("nan")], [float("nan")]])
    router_loss(logits, logits.sigmoid(), advantage, weight_penalty=0.0).backward()
    assert torch.equal(logits.grad[2:], torch.zeros(2, 1))
    assert logits.grad[0] < 0 < logits.grad[1]


def test_every_router_parameter_moves_in_the_first_step():
    mine, seen = policy(), view()
    before = {name: value.clone() for name, value in mine.router.named_parameters()}
    mine.learn(seen, showing(torch.randn(24, 2, generator=torch.Generator().manual_seed(2))))
    for name, parameter in mine.router.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
        assert not torch.equal(before[name], parameter), name


def test_gates_follow_a_planted_utility_per_student():
    """Style 1 helps student 0, style 4 helps student 1: the gates find both."""
    mine = policy(budget=2.0, learning_rate=3e-2)
    planted = torch.zeros(6, 2)
    planted[1, 0] = planted[4, 1] = 1.0
    style_PE = torch.eye(6, 8)
    for step in range(150):
        seen = view(seed=step, step=step)
        seen = StepView(**{n: getattr(seen, n) for n in seen.__slots__} | {"path_PE": style_PE.repeat(4, 1)})
        noise = 0.3 * torch.randn(24, 2, generator=torch.Generator().manual_seed(step))
        mine.learn(seen, showing(planted.repeat(4, 1) + noise))
    prob = mine.route(seen).prob_PS.reshape(4, 6, 2).mean(dim=0)
    assert prob[:, 0].argmax() == 1
    assert prob[:, 1].argmax() == 4
    assert prob[1, 0] > 0.8
    assert prob[4, 1] > 0.8


def test_budget_bias_equalises_loads_whatever_the_size_of_the_utilities():
    """One student's utilities times ten: both loads within 0.03 of rho0 after 200 steps."""
    mine = policy(budget=3.0)
    loads = []
    for step in range(200):
        seen = view(seed=step, step=step)
        utility = torch.randn(24, 2, generator=torch.Generator().manual_seed(step)) * torch.tensor([1.0, 10.0])
        mine.learn(seen, showing(utility))
        loads.append(mine.route(seen).prob_PS.mean(dim=0))
    assert (torch.stack(loads[-20:]).mean(dim=0) - 0.5).abs().max() < 0.03


def test_bias_moves_against_the_load():
    bias = budget_bias_step(torch.zeros(2), torch.tensor([[0.9, 0.1]] * 3), torch.full((3,), 0.5), step=0.01)
    assert torch.allclose(bias, torch.tensor([-0.01, 0.01]))


def test_random_subsets_have_the_budget_and_are_fresh():
    mine = RandomPolicy(RandomPolicyConfig(budget=2.5), Setting(students=("a", "b"), seed=1))
    drawn = [mine.route(view(step=step, questions=50)).gate_PS.reshape(50, 6, 2) for step in range(4)]
    sizes = torch.stack(drawn).sum(dim=2)
    assert set(sizes.unique().tolist()) == {2, 3}
    assert sizes.float().mean() == pytest.approx(2.5, abs=0.1)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[1], mine.route(view(step=1, questions=50)).gate_PS.reshape(50, 6, 2))


def test_a_question_with_fewer_paths_than_the_budget_uses_them_all():
    assert budget_share(torch.tensor([0, 0, 1, 1, 1, 1]), 2.0).tolist() == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5]


def test_policy_state_survives_a_round_trip_bit_for_bit():
    one, other = policy(), policy()
    utilities = [torch.randn(24, 2, generator=torch.Generator().manual_seed(step)) for step in range(4)]
    for step in range(2):
        one.learn(view(seed=step), showing(utilities[step]))
    other.load_state(one.state())
    for mine in (one, other):
        for step in range(2, 4):
            mine.learn(view(seed=step), showing(utilities[step]))
    left, right = one.state(), other.state()
    assert left.keys() == right.keys()
    assert all(torch.allclose(left[name], right[name], rtol=0, atol=0, equal_nan=True) for name in left)
