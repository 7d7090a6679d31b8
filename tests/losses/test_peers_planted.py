"""Planted signal of the peers (METHOD section 5): what one student was taught reaches the other, at the right places.

Two linear students that predict the next of 16 pieces from a context. A has been taught style 1, B style 2.
"""

import torch

from qrdistill.losses import PieceView, is_peer_better, leave_one_out_targets, piece_cross_entropy, token_nll

PIECES, WIDTH, CONTEXTS = 16, 10, 120


def rows(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spans(style: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Contexts of a style (each style in its own half of the features) and what comes next."""
    half = torch.zeros(WIDTH)
    half[: WIDTH // 2] = 1.0
    context = rows(10 * seed + style, CONTEXTS, WIDTH) * (half if style == 0 else 1 - half)
    return context, (context @ (2.0 * rows(77, WIDTH, PIECES))).argmax(dim=1)


def taught(styles: list[int], steps: int = 300) -> torch.Tensor:
    weight = torch.zeros(WIDTH, PIECES, requires_grad=True)
    for _ in range(steps):
        loss = sum(token_nll(context @ weight, label).mean() for context, label in map(spans, styles))
        if styles:
            (gradient,) = torch.autograd.grad(loss, weight)
            weight = (weight - 1.0 * gradient).detach().requires_grad_()
    return weight.detach()


def loss_on(weight: torch.Tensor, style: int) -> float:
    context, label = spans(style, seed=1)
    return float(token_nll(context @ weight, label).mean())


def collaborate(first: torch.Tensor, second: torch.Tensor, *, shift: int = 0, steps: int = 150) -> list[torch.Tensor]:
    """Both students descend on the peer loss alone; `shift` moves every target to another position."""
    context, label = (torch.cat(column) for column in zip(spans(0), spans(1), strict=True))
    weights = [first.clone(), second.clone()]
    for _ in range(steps):
        logits = [context @ weight for weight in weights]
        views = []
        for each in logits:
            prob, piece = each.softmax(dim=1).topk(8, dim=1)
            views.append(PieceView(piece_CM=piece.roll(shift, 0), prob_CM=prob.roll(shift, 0)))
        better_CS = is_peer_better(torch.stack([token_nll(each, label) for each in logits], dim=1))
        targets = leave_one_out_targets(views, support=8)
        for student, target in enumerate(targets):
            weight = weights[student].requires_grad_()
            divergence_C = piece_cross_entropy(context @ weight, target, torch.arange(PIECES))
            loss = (divergence_C * better_CS[:, student]).sum() / better_CS[:, student].sum().clamp(min=1)
            (gradient,) = torch.autograd.grad(loss, weight)
            weights[student] = (weight - 0.5 * gradient).detach()
    return weights


def test_what_a_was_taught_reaches_b_and_the_other_way_round():
    first, second = taught([0]), taught([1])
    assert loss_on(second, 0) > 1.5 * loss_on(first, 0)
    after_first, after_second = collaborate(first, second)
    assert loss_on(after_second, 0) < 0.6 * loss_on(second, 0)
    assert loss_on(after_first, 1) < 0.6 * loss_on(first, 1)
    assert loss_on(after_first, 0) < loss_on(first, 0) + 0.1, "and A keeps what it knows"


def test_targets_at_shuffled_positions_teach_nothing():
    """Negative control: the gain above is what the peer says at this place, not that it says something."""
    first, second = taught([0]), taught([1])
    right = loss_on(second, 0) - loss_on(collaborate(first, second)[1], 0)
    wrong = loss_on(second, 0) - loss_on(collaborate(first, second, shift=37)[1], 0)
    assert right > 0.5
    assert wrong < 0.2 * right


def test_a_weak_peer_cannot_hurt():
    weak, strong = taught([]), taught([0, 1])
    _, after = collaborate(weak, strong)
    for style in (0, 1):
        assert loss_on(after, style) < loss_on(strong, style) + 0.02
