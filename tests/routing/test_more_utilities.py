"""The utilities `rho`, `align` and `success` find what was planted for them."""

import torch

from qrdistill.config.method import AlignUtilityConfig, RhoUtilityConfig, SuccessUtilityConfig
from qrdistill.routing.features import PathState
from qrdistill.routing.gradients import AlignUtility
from qrdistill.routing.reducible import RhoUtility
from qrdistill.routing.seen import Seen
from qrdistill.routing.success import SuccessUtility


def seen(nll: list[float], **changes) -> Seen:
    count = len(nll)
    tokens = torch.full((count,), 10.0)
    state = PathState(
        nll_P=10 * torch.tensor(nll),
        rank_P=tokens,
        brier_P=tokens,
        num_tokens_P=tokens,
        value_right_P=changes.pop("right", torch.zeros(count)),
        value_tokens_P=torch.full((count,), 4.0),
    )
    fields = {"styles": ("x",) * count, "families": ("sums",) * count, "path_ids": tuple("abcdef"[:count]), "states": [state]}
    return Seen(**fields | changes)


def test_rho_prefers_what_can_be_learned_to_the_trivial_and_to_noise():
    utility = RhoUtility(RhoUtilityConfig(), num_students=1, groups=[("x", "sums")])
    learnable, trivial, noise = 0, 1, 2
    utility.set_reference("abc", torch.tensor([[0.5], [0.1], [3.0]]))
    score = utility.score(seen([2.0, 0.1, 3.0]))[:, 0]
    assert score.argmax() == learnable
    assert torch.allclose(score, torch.tensor([1.5, 0.0, 0.0]), atol=1e-6)
    assert score[trivial] == score[noise], "both have nothing to teach"
    mastered = utility.score(seen([0.5, 0.1, 3.0]))[:, 0]
    assert mastered.abs().max() < 1e-6


def test_rho_says_nothing_about_paths_without_reference_and_comes_back():
    utility = RhoUtility(RhoUtilityConfig(), num_students=1, groups=[])
    utility.set_reference("ab", torch.tensor([[0.5], [0.1]]))
    again = RhoUtility(RhoUtilityConfig(), num_students=1, groups=[])
    again.set_reference("ab")
    again.load_state(utility.state())
    for each in (utility, again):
        score = each.score(seen([2.0, 1.0, 1.0]))
        assert torch.allclose(score[:2, 0], torch.tensor([1.5, 0.9]))
        assert torch.isnan(score[2]).all()


def test_align_compares_with_the_paths_own_family_where_sketch_mixes_them():
    groups = [("good", "sums"), ("bad", "sums"), ("good", "legs")]
    utility = AlignUtility(AlignUtilityConfig(dim=8), num_students=1, groups=groups)
    up = torch.randn(64, generator=torch.Generator().manual_seed(0))
    probe = {"styles": ("good", "good"), "families": ("sums", "legs"), "sketches": [torch.stack([up, -up])]}
    utility.witness(seen([1.0, 1.0], **probe))
    score = utility.score(seen([1.0, 1.0], **probe))[:, 0]
    assert torch.allclose(score, torch.ones(2), atol=1e-5), "each path agrees with its own family"
    against = seen([1.0], styles=("bad",), families=("sums",), sketches=[-up[None]])
    assert utility.score(against)[0, 0] < -0.99


def test_align_learns_beforehand_what_a_styles_paths_are_like():
    groups = [("good", "sums"), ("bad", "sums")]
    utility = AlignUtility(AlignUtilityConfig(dim=8), num_students=1, groups=groups)
    assert torch.isnan(utility.expect(["good"], ["sums"])).all()
    generator = torch.Generator().manual_seed(1)
    up = torch.randn(64, generator=generator)
    for _ in range(6):
        sketches = torch.stack([2 * up + torch.randn(64, generator=generator), torch.randn(64, generator=generator)])
        utility.witness(seen([1.0, 1.0], styles=("good", "bad"), families=("sums", "sums"), sketches=[sketches]))
    expected = utility.expect(["good", "bad"], ["sums", "sums"])[:, 0]
    assert expected[0] > expected[1] + 0.3


def run_bandit(exploration: float, rounds: int = 300) -> SuccessUtility:
    truth = {"cot": 0.6, "fact": 0.8, "tot": 0.2}
    utility = SuccessUtility(
        SuccessUtilityConfig(exploration=exploration), num_students=1, groups=[(style, "sums") for style in truth]
    )
    generator = torch.Generator().manual_seed(2)
    for _ in range(rounds):
        utility.advance()
        style = utility.choose(0, sorted(truth), "sums")
        utility.tell(0, style, "sums", is_right=float(torch.rand((), generator=generator)) < truth[style])
    return utility


def test_success_finds_the_style_a_student_is_right_in():
    utility = run_bandit(exploration=0.5)
    rate = utility.expect(["cot", "fact", "tot"], ["sums"] * 3)[:, 0]
    assert rate.argmax() == 1
    assert rate.argmin() == 2
    assert (utility._tried_SG > 0.2).all(), "no style is given up for good"


def test_success_shrinks_what_was_hardly_tried_towards_the_family():
    utility = SuccessUtility(SuccessUtilityConfig(), num_students=1, groups=[("cot", "sums"), ("fact", "sums"), ("cot", "legs")])
    for _ in range(50):
        utility.tell(0, "cot", "sums", is_right=True)
    utility.tell(0, "fact", "sums", is_right=False)
    cot, fact, unknown = utility.expect(["cot", "fact", "cot"], ["sums", "sums", "legs"])[:, 0]
    assert cot > 0.95
    assert 0.6 < fact < 0.9, "one wrong answer is not proof"
    assert torch.isnan(unknown)


def test_success_tells_paths_of_one_style_apart_by_their_values():
    utility = SuccessUtility(SuccessUtilityConfig(), num_students=1, groups=[("x", "sums")])
    utility.tell(0, "x", "sums", is_right=True)
    utility.witness(seen([1.0, 1.0], right=torch.tensor([2.0, 2.0])))
    score = utility.score(seen([1.0, 1.0], right=torch.tensor([4.0, 0.0])))[:, 0]
    assert score[0] > score[1]
