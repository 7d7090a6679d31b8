"""The router's gradient is the exact gradient of the expected utility, and its gates keep the budget."""

import math
from itertools import product

import pytest
import torch

from qrdistill.config.method import QRDistillPolicyConfig, RandomPolicyConfig
from qrdistill.routing.features import FEATURES, standardise_within
from qrdistill.routing.fixed import RandomPolicy
from qrdistill.routing.learned import QRDistillPolicy
from qrdistill.routing.objective import router_loss, within_share
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


def test_every_question_keeps_its_budget_however_fast_the_router_learns():
    """Utilities of one student times ten, lr 0.1: at every step each question's gate probabilities sum to its budget."""
    mine = policy(budget=2.0, learning_rate=0.1)
    for step in range(60):
        seen = view(seed=step, step=step)
        utility = torch.randn(24, 2, generator=torch.Generator().manual_seed(step)) * torch.tensor([1.0, 10.0])
        mine.learn(seen, showing(utility))
        prob = mine.route(seen).prob_PS.reshape(4, 6, 2)
        assert torch.allclose(prob.sum(dim=1), torch.full((4, 2), 2.0), atol=1e-4)
    assert prob.std() > 0.05, "the router has not learned anything, so its budget was easily kept"


@pytest.mark.parametrize("budget", [0.5, 2.0, 6.0])
def test_the_shift_of_a_question_is_the_root_of_its_budget(budget):
    logits = 4 * torch.randn(9, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    question = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2])
    mine = within_share(logits, budget_share(question, budget), question)
    for number, student in product(range(3), range(2)):
        block = logits[question == number, student].tolist()
        if budget >= len(block):
            assert (mine[question == number, student] == 1).all()
            continue
        low, high = -60.0, 60.0
        while high - low > 1e-12:
            middle = (low + high) / 2
            open_paths = sum(1 / (1 + math.exp(-value - middle)) for value in block)
            low, high = (middle, high) if open_paths < budget else (low, middle)
        wanted = [1 / (1 + math.exp(-value - low)) for value in block]
        assert mine[question == number, student].tolist() == pytest.approx(wanted, abs=1e-6)


def test_the_gradient_counts_what_other_paths_of_the_question_lose():
    """Finite differences of the whole function, whose shift is solved anew."""
    logits = torch.randn(5, 1, generator=torch.Generator().manual_seed(6), dtype=torch.float64, requires_grad=True)
    question, advantage = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([[1.0], [-0.5], [0.2], [0.7], [-0.7]], dtype=torch.float64)

    def gain(value):
        return (within_share(value, torch.tensor([0.4, 0.4, 0.4, 0.6, 0.6]), question) * advantage).sum()

    gain(logits).backward()
    for row in range(5):
        step = torch.zeros(5, 1, dtype=torch.float64)
        step[row] = 1e-5
        numeric = (gain(logits.detach() + step) - gain(logits.detach() - step)) / 2e-5
        assert float(logits.grad[row]) == pytest.approx(float(numeric), abs=1e-6)
    assert float(logits.grad[:3].sum()) == pytest.approx(0, abs=1e-9)


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
