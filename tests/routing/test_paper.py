"""The paper's router learns through the task loss; the released one cannot; and the paper's two errors, kept as controls."""

import pytest
import torch

from qrdistill.config.method import PaperPolicyConfig, ReleasedPolicyConfig
from qrdistill.routing.paper import PaperPolicy, ReleasedPolicy, balance_entropy, routed_loss, straight_through_gates
from qrdistill.routing.policy import Evidence, Setting, StepView, step_generator

SETTING = Setting(students=("a", "b"), embed_dim=6, seed=2)


def view(step: int = 0, paths: int = 12) -> StepView:
    generator = torch.Generator().manual_seed(step)
    return StepView(
        step=step,
        progress=0.5,
        styles=("x",) * paths,
        question_of_P=torch.arange(paths) // 6,
        question_PE=torch.zeros(paths, 6),
        path_PE=torch.eye(6).repeat(paths // 6, 1) + 0.01 * torch.randn(paths, 6, generator=generator),
    )


def evidence(nll_PS: torch.Tensor) -> Evidence:
    tokens = torch.full_like(nll_PS, 10.0)
    return Evidence(utility_PS=nll_PS * torch.nan, nll_PS=nll_PS, tokens_PS=tokens, quality_P=torch.ones(len(nll_PS)))


def test_gates_are_open_with_the_sigmoids_probability_and_pass_the_relaxed_gradient():
    logits = torch.tensor([-1.5, 0.0, 2.0]).repeat(20000, 1).requires_grad_()
    gates = straight_through_gates(logits, temperature=1.0, generator=torch.Generator().manual_seed(0))
    assert set(gates.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(gates.detach().mean(dim=0), torch.tensor([-1.5, 0.0, 2.0]).sigmoid(), atol=0.02)
    (gradient,) = torch.autograd.grad(gates.sum(), logits)
    assert (gradient > 0).all()


def test_routed_loss_has_the_gradient_of_the_students_own_loss():
    """Reference: autograd through per-token losses, as a framework would do it."""
    generator = torch.Generator().manual_seed(1)
    counts = [3, 5, 2, 4]
    losses = [torch.rand(count, generator=generator) for count in counts]
    gate = torch.tensor([[1.0], [0.0], [1.0], [1.0]], requires_grad=True)
    quality = torch.tensor([1.0, 0.8, 0.6, 1.0])
    weights = torch.cat([gate[p] * quality[p] * torch.ones(count) for p, count in enumerate(counts)])
    reference = (weights * torch.cat(losses)).sum() / weights.sum()
    (wanted,) = torch.autograd.grad(reference, gate)
    shown = Evidence(
        utility_PS=torch.full((4, 1), torch.nan),
        nll_PS=torch.stack([loss.sum() for loss in losses])[:, None],
        tokens_PS=torch.tensor(counts, dtype=torch.float)[:, None],
        quality_P=quality,
    )
    ours = routed_loss(gate, shown)
    assert ours.item() == pytest.approx(reference.item(), abs=1e-6)
    (gradient,) = torch.autograd.grad(ours, gate)
    assert torch.allclose(gradient, wanted, atol=1e-6)
    assert wanted[1].abs() > 0.001, "a closed gate has a gradient too"


def test_every_parameter_of_the_papers_router_gets_a_gradient_through_the_task_loss():
    policy = PaperPolicy(PaperPolicyConfig(hidden=8, entropy_weight=0.0), SETTING)
    policy.learn(view(), evidence(torch.rand(12, 2, generator=torch.Generator().manual_seed(3)) * 30))
    for name, parameter in policy.router.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_gates_drawn_for_learning_are_those_that_routed():
    policy = PaperPolicy(PaperPolicyConfig(hidden=8), SETTING)
    for step in range(5):
        routed = policy.route(view(step)).gate_PS
        learned = policy._gates(policy.router(view(step).path_PE), view(step)) > 0.5
        assert torch.equal(routed, learned)


def test_entropy_is_maximised_and_the_papers_sign_would_minimise_it():
    """METHOD section 2: eq 9 adds lambda1 L_entropy to what is minimised; the text wants balance."""
    ends = {}
    for sign in (1.0, -1.0):
        logits = torch.full((12, 2), 0.4, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.05)
        for step in range(300):
            gates = straight_through_gates(logits, temperature=1.0, generator=step_generator(0, "gates", step))
            loss = -sign * balance_entropy(gates)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends[sign] = float(logits.detach().sigmoid().mean())
    assert ends[1.0] == pytest.approx(0.5, abs=0.1)
    assert min(ends[-1.0], 1 - ends[-1.0]) < 0.1


def test_a_softmax_over_students_makes_the_entropy_constant():
    """METHOD section 2: with one-hot rows the mean gate is 1 / S whatever the router says, so eq 4 has no gradient."""
    logits = torch.randn(12, 2, generator=torch.Generator().manual_seed(4), requires_grad=True)
    one_hot = torch.nn.functional.gumbel_softmax(logits, hard=True, dim=1)
    (gradient,) = torch.autograd.grad(balance_entropy(one_hot), logits)
    assert gradient.abs().max() < 1e-6
    independent = straight_through_gates(logits, temperature=1.0, generator=torch.Generator().manual_seed(5))
    (gradient,) = torch.autograd.grad(balance_entropy(independent), logits)
    assert gradient.abs().max() > 1e-3


def test_the_papers_router_sends_every_student_what_is_easy():
    """Negative control of the default's utility: through its own training loss a router learns "low loss", for everybody."""
    policy = PaperPolicy(PaperPolicyConfig(hidden=16, learning_rate=3e-2), SETTING)
    loss = torch.full((6, 2), 20.0)
    loss[4] = 1.0  # the trivial style
    for step in range(300):
        policy.learn(view(step), evidence(loss.repeat(2, 1)))
    prob = policy.route(view(0)).prob_PS[:6]
    assert (prob[4] > 0.9).all()
    assert (prob[:4] < prob[4]).all()


def test_the_released_router_gets_no_gradient():
    """METHOD section 2, the claim: gates used as boolean masks cut the graph, and routing is a random drop of about a quarter."""
    policy = ReleasedPolicy(ReleasedPolicyConfig(hidden=8), SETTING)
    before = policy.state()
    gates = torch.stack([policy.route(view(step)).gate_PS for step in range(400)])
    assert not gates.requires_grad
    assert gates.float().mean() == pytest.approx(0.75, abs=0.02)
    token_losses = torch.rand(12, 2, requires_grad=True)
    token_losses[gates[0]].mean().backward()
    assert token_losses.grad is not None, "the students do learn"
    policy.learn(view(), evidence(torch.rand(12, 2)))
    assert all(parameter.grad is None for parameter in policy.router.parameters())
    assert all(torch.equal(value, before[name]) for name, value in policy.state().items())
