"""The paper's peer loss against plain loops, its collapse, and the form that cannot collapse."""

import pytest
import torch
from torch import nn

from qrdistill.losses import PieceView, is_peer_better, leave_one_out_targets, piece_cross_entropy
from qrdistill.losses.feature import agreement, competence, effective_rank, feature_loss, feature_targets

NORMAL = {"target": "leave_one_out", "is_target_detached": True, "is_normalised": True}
PAPER = {"target": "ensemble", "is_target_detached": False, "is_normalised": False}


def rows(seed: int, count: int = 40, width: int = 8) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_competence_and_ensemble_equal_plain_loops():
    projected, heads = [rows(0, 5, 3), rows(1, 5, 3)], rows(2, 2, 3)
    path_of = torch.tensor([0, 0, 1, 1, 1])
    gamma = competence(projected, heads, path_of)
    target = feature_targets(projected, gamma, target="ensemble")[0]
    total = 0.0
    for position in range(5):
        mine = [place for place in range(5) if path_of[place] == path_of[position]]
        scores = torch.stack([sum(z[place] for place in mine) / len(mine) @ heads[s] for s, z in enumerate(projected)])
        weight = scores.exp() / scores.exp().sum()
        assert torch.allclose(gamma[position], weight, atol=1e-5)
        ensemble = weight[0] * projected[0][position] + weight[1] * projected[1][position]
        assert torch.allclose(target[position], ensemble, atol=1e-5)
        total += sum(float((z[position] - ensemble).square().sum()) for z in projected)
    assert float(feature_loss(projected, gamma, **PAPER)) == pytest.approx(total / 15, abs=1e-5)


def test_leave_one_out_targets_are_the_peers_alone():
    projected = [rows(0), rows(1), rows(2)]
    gamma = torch.full((40, 3), 1 / 3)
    targets = feature_targets(projected, gamma, target="leave_one_out")
    assert torch.allclose(targets[0], (projected[1] + projected[2]) / 2, atol=1e-6)


def entropy(logits_NV: torch.Tensor) -> float:
    return float(torch.special.entr(logits_NV.softmax(dim=1)).sum(dim=1).mean())


class LinearPair:
    """Two linear students with bodies of their own, imperfect copies of one noisy teacher, as pretrained students are."""

    def __init__(self, seed: int = 0, noise: float = 0.05) -> None:
        self.inputs = rows(seed, 96, 16)
        truth_DV = rows(seed + 1, 16, 20) * 0.35
        self.teacher_NV = (self.inputs @ truth_DV).softmax(dim=1)
        turns = [torch.linalg.qr(rows(seed + 2 + s, 16, 16))[0] for s in range(2)]
        self.bodies = [nn.Parameter(turn.clone()) for turn in turns]
        self.heads = [turn.T @ truth_DV + noise * rows(seed + 4 + s, 16, 20) for s, turn in enumerate(turns)]

    def hidden(self) -> list[torch.Tensor]:
        return [self.inputs @ body for body in self.bodies]

    def logits(self) -> list[torch.Tensor]:
        return [hidden @ head for hidden, head in zip(self.hidden(), self.heads, strict=True)]

    def train(self, peer_loss, own: list[nn.Parameter] | None = None, steps: int = 2000) -> None:
        """`steps` of the peer loss and a tenth of cross-entropy on labels drawn afresh from the teacher."""
        optimizer = torch.optim.Adam([*self.bodies, *(own or [])], lr=2e-3)
        generator = torch.Generator().manual_seed(9)
        for _ in range(steps):
            label_N = torch.multinomial(self.teacher_NV, 1, generator=generator).squeeze(1)
            loss = peer_loss(self) + 0.1 * sum(nn.functional.cross_entropy(each, label_N) for each in self.logits())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def health(self) -> list[tuple[float, float]]:
        """Effective rank of the hidden states and entropy of the predictions, per student."""
        with torch.no_grad():
            return [(effective_rank(h), entropy(z)) for h, z in zip(self.hidden(), self.logits(), strict=True)]


def features_of(projections: list[torch.Tensor], heads_SJ: torch.Tensor, options: dict):
    path_of = torch.arange(96) // 8

    def loss(pair: LinearPair) -> torch.Tensor:
        projected = [hidden @ projection for hidden, projection in zip(pair.hidden(), projections, strict=True)]
        return feature_loss(projected, competence(projected, heads_SJ, path_of), **options)

    return loss


def pieces_of(pair: LinearPair) -> torch.Tensor:
    """The default peer loss as training runs it: a detached leave-one-out mixture, only where the peer is better."""
    logits, everything = pair.logits(), torch.arange(20)
    views = []
    for each in logits:
        prob, piece = each.detach().softmax(dim=1).topk(12, dim=1)
        views.append(PieceView(piece_CM=piece, prob_CM=prob))
    nll = torch.stack([-(pair.teacher_NV * each.detach().log_softmax(dim=1)).sum(dim=1) for each in logits], dim=1)
    better_CS = is_peer_better(nll)
    targets = leave_one_out_targets(views, support=12)
    total = torch.zeros(())
    for student, (each, target) in enumerate(zip(logits, targets, strict=True)):
        divergence_C = piece_cross_entropy(each, target, everything)
        total = total + (divergence_C * better_CS[:, student]).sum() / better_CS[:, student].sum().clamp(min=1)
    return total


@pytest.mark.parametrize("kind", ["text", "feature"])
def test_peers_do_not_collapse_in_2000_steps(kind: str):
    """The default keeps 94% of its effective rank (0.2% less entropy). Averaging two turned spaces costs features about a quarter
    of theirs, in the first steps; it stays there, and their entropy does not fall."""
    pair = LinearPair()
    fixed = [torch.linalg.qr(rows(30 + s, 16, 12))[0] for s in range(2)]
    before = pair.health()
    alike = agreement([h @ p for h, p in zip([h.detach() for h in pair.hidden()], fixed, strict=True)])
    pair.train(pieces_of if kind == "text" else features_of(fixed, torch.zeros(2, 12), NORMAL))
    for (rank, entropy_), (rank_before, entropy_before) in zip(pair.health(), before, strict=True):
        assert rank > (0.8 if kind == "text" else 0.65) * rank_before
        assert entropy_ > 0.8 * entropy_before
    if kind == "feature":
        closer = agreement([h @ p for h, p in zip([h.detach() for h in pair.hidden()], fixed, strict=True)])
        assert closer["cosine"] > alike["cosine"] + 0.2, "and they did learn from each other"
        assert closer["cosine_shuffled"] < 0.2, "without becoming the same everywhere"


def test_trainable_projections_with_squared_error_collapse():
    """Negative control, METHOD section 2: the paper's equations have the all-zero minimum, and training finds it.

    The students' hidden states have little in common here (each input has noise of its own); fixed orthonormal projections of the
    same students keep their norm.
    """
    pair = LinearPair()
    noise = [2.0 * rows(40 + s, 96, 16) for s in range(2)]
    pair.hidden = lambda: [(pair.inputs + extra) @ body for extra, body in zip(noise, pair.bodies, strict=True)]
    projections = [nn.Parameter(rows(9 + s, 16, 12) * 16**-0.5) for s in range(2)]
    heads = nn.Parameter(rows(11, 2, 12) * 0.3)
    norm = [float((h @ p).detach().norm(dim=1).mean()) for h, p in zip(pair.hidden(), projections, strict=True)]
    pair.train(features_of(projections, heads, PAPER), [*projections, heads])
    for before, hidden, projection in zip(norm, pair.hidden(), projections, strict=True):
        assert float((hidden @ projection).detach().norm(dim=1).mean()) < 0.25 * before


def test_a_detached_ensemble_gives_the_competence_head_no_gradient():
    """Negative control, METHOD section 2: the released code's competence head cannot learn."""
    heads = nn.Parameter(rows(0, 2, 8))
    projected = [rows(1).requires_grad_(), rows(2).requires_grad_()]
    path_of = torch.zeros(40, dtype=torch.long)
    detached = feature_loss(projected, competence(projected, heads, path_of), **(PAPER | {"is_target_detached": True}))
    assert torch.autograd.grad(detached, heads, allow_unused=True, retain_graph=True)[0] is None
    live = feature_loss(projected, competence(projected, heads, path_of), **PAPER)
    assert torch.autograd.grad(live, heads)[0].abs().sum() > 0


def test_instruments_see_a_collapse_and_homogenised_students():
    line = torch.arange(40.0)[:, None] * torch.ones(1, 8)
    assert effective_rank(line) == pytest.approx(1.0, abs=1e-3)
    assert effective_rank(rows(0, 400)) > 7.5
    shrunk = agreement([rows(0), 0.01 * rows(1)])
    assert shrunk["norm_ratio"] < 0.02
    taught = agreement([rows(0), rows(0) + 0.1 * rows(1)])
    assert taught["cosine"] > 0.9 > 0.3 > abs(taught["cosine_shuffled"])
    alike = agreement([rows(0) + 10, rows(1) + 10])
    assert alike["cosine_shuffled"] > 0.9
