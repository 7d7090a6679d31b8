"""The peer loss matches distributions on a shared support, only where the peers are better."""

import pytest
import torch

from qrdistill.losses import (
    PeerTarget,
    PieceView,
    is_peer_better,
    leave_one_out_targets,
    piece_cross_entropy,
    piece_slopes,
    token_weights,
)
from qrdistill.losses.sft import token_nll


def target_of(logits: torch.Tensor, pieces: torch.Tensor) -> PeerTarget:
    prob = logits.softmax(dim=1)[:, pieces]
    return PeerTarget(
        piece_CJ=torch.arange(len(pieces)).expand(len(logits), -1), prob_CK=torch.cat([prob, 1 - prob.sum(1, True)], 1)
    )


def test_divergence_is_zero_exactly_at_the_target_and_positive_elsewhere():
    generator = torch.Generator().manual_seed(0)
    logits, pieces = torch.randn(5, 30, generator=generator), torch.tensor([3, 7, 11, 20])
    target = target_of(logits, pieces)
    assert piece_cross_entropy(logits, target, pieces).abs().max() < 1e-5
    assert (piece_cross_entropy(torch.randn(5, 30, generator=generator), target, pieces) > 0.01).all()


def test_divergence_equals_a_plain_loop():
    generator = torch.Generator().manual_seed(1)
    logits, pieces = torch.randn(3, 12, generator=generator), torch.tensor([2, 5, 9])
    target = target_of(torch.randn(3, 12, generator=generator), pieces)
    result = piece_cross_entropy(logits, target, pieces)
    for row in range(3):
        prob = logits[row].softmax(0)
        mine = [float(prob[piece]) for piece in pieces]
        mine.append(1 - sum(mine))
        wanted = target.prob_CK[row].tolist()
        reference = sum(t * (torch.tensor(t).log() - torch.tensor(p).log()).item() for t, p in zip(wanted, mine, strict=True))
        assert result[row].item() == pytest.approx(reference, abs=1e-5)


def test_slopes_are_those_of_autograd_through_all_logits():
    """Also where the pieces hold all mass, so that "other" is at its floor, and where the target has none of a piece."""
    generator = torch.Generator().manual_seed(4)
    pieces = torch.tensor([2, 5, 9])
    logits = torch.randn(4, 12, generator=generator).double()
    logits[3, pieces] += 40
    target = target_of(2 * torch.randn(4, 12, generator=generator).double(), pieces)
    target.prob_CK[1] = torch.tensor([0.7, 0.0, 0.3, 0.0])
    logits.requires_grad_()
    expected = piece_cross_entropy(logits, target, pieces)
    expected.sum().backward()
    log_prob = logits.detach().log_softmax(dim=1)
    divergence, at_pieces, everywhere = piece_slopes(log_prob[:, pieces], target)
    gradient = everywhere[:, None] * log_prob.exp()
    gradient[:, pieces] += at_pieces
    assert torch.allclose(divergence, expected.detach(), atol=1e-12)
    assert torch.allclose(gradient, logits.grad, atol=1e-12)


def test_targets_leave_the_student_itself_out():
    views = [
        PieceView(piece_CM=torch.tensor([[0, 1]]), prob_CM=torch.tensor([[0.9, 0.05]])),
        PieceView(piece_CM=torch.tensor([[1, 2]]), prob_CM=torch.tensor([[0.6, 0.3]])),
        PieceView(piece_CM=torch.tensor([[2, 3]]), prob_CM=torch.tensor([[0.5, 0.1]])),
    ]
    first = leave_one_out_targets(views, support=3)[0]
    found = dict(zip(first.piece_CJ[0].tolist(), first.prob_CK[0].tolist(), strict=False))
    assert found == pytest.approx({2: 0.4, 1: 0.3, 3: 0.05})
    assert first.prob_CK[0, -1].item() == pytest.approx(0.25)
    assert first.prob_CK.sum(dim=1).item() == pytest.approx(1.0)


@pytest.mark.parametrize("num_peers", [1, 2, 4])
def test_targets_are_those_of_the_mixture_over_all_pieces(num_peers):
    """Peers that name some pieces in common and some alone, against a sum over a dense row of all 40."""
    generator = torch.Generator().manual_seed(num_peers)
    views, dense = [], torch.zeros(7, 40, dtype=torch.float64)
    for index in range(num_peers + 1):
        prob, piece = torch.randn(7, 40, generator=generator).softmax(dim=1).topk(12, dim=1)
        views.append(PieceView(piece_CM=piece, prob_CM=prob))
        if index:
            dense.scatter_add_(1, piece, prob.double() / num_peers)
    target = leave_one_out_targets(views, support=12)[0]
    expected, _ = dense.topk(12, dim=1)
    assert torch.allclose(target.prob_CK[:, :-1].double(), expected, atol=1e-7)
    assert torch.allclose(dense.gather(1, target.piece_CJ), expected, atol=1e-7)
    assert all(len(set(row)) == 12 for row in target.piece_CJ.tolist())
    assert torch.allclose(target.prob_CK[:, -1].double(), 1 - expected.sum(dim=1), atol=1e-6)


def test_a_weak_peer_teaches_nobody():
    better = is_peer_better(torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]]))
    assert better.tolist() == [[False, True], [True, False], [False, False]]


def test_descending_on_the_peer_loss_reaches_the_target():
    generator = torch.Generator().manual_seed(2)
    pieces = torch.tensor([0, 4, 6])
    target = target_of(3 * torch.randn(2, 8, generator=generator), pieces)
    logits = torch.zeros(2, 8, requires_grad=True)
    for _ in range(3000):
        (gradient,) = torch.autograd.grad(piece_cross_entropy(logits, target, pieces).sum(), logits)
        logits = (logits - gradient).detach().requires_grad_()
    assert piece_cross_entropy(logits, target, pieces).max() < 1e-3


def test_token_weights_sum_to_one_and_do_not_shrink_with_few_routes():
    owner = torch.tensor([0, 0, 1, 1, 1, 2])
    weights = token_weights(torch.tensor([1.0, 0.0, 0.5]), owner)
    assert weights.sum().item() == pytest.approx(1.0)
    assert weights.tolist() == pytest.approx([0.4, 0.4, 0.0, 0.0, 0.0, 0.2])
    assert token_weights(torch.zeros(3), owner).sum() == 0


def test_token_nll_is_cross_entropy():
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(3))
    label = torch.tensor([0, 3, 8, 2])
    assert torch.allclose(token_nll(logits, label), torch.nn.functional.cross_entropy(logits, label, reduction="none"), atol=1e-6)
