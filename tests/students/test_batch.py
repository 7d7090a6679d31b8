"""Packed rows: exact losses and gradients, nothing seen or supervised that must not be, nothing lost."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.students.conftest import tiny_student

from qrdistill.errors import DataError
from qrdistill.students import PathTokens, Student, pack, tokenize_path
from qrdistill.students.batch import tree_mask

QUESTIONS = {
    "How many legs do 3 spiders have?": (
        "There are 3 spiders. 3 * 8 = 24. The answer is 24.",
        "24.",
        "Naïve 😀 emoji; each has eight legs, so the total is 24 legs. The answer is 24.",
    ),
    "1+2?": ("It is 3.\nThe answer is 3.",),
    "Solve for x: x - 4 = 7": ("", "Add 4 to both sides: x = 11. The answer is 11."),
}


def tokens(student: Student) -> list[list[PathTokens]]:
    return [
        [tokenize_path(student, question, f"{number}-{path}", text) for path, text in enumerate(texts)]
        for number, (question, texts) in enumerate(QUESTIONS.items())
    ]


def reference(student: Student, path: PathTokens) -> torch.Tensor:
    """Loss of one path as any textbook has it: the whole sequence in a row, prompt positions masked out of the labels."""
    ids = torch.tensor([[*path.prompt_ids, *path.response_ids]])
    labels = ids.clone()
    labels[0, : len(path.prompt_ids)] = -100
    logits = student.model(input_ids=ids, use_cache=False).logits
    return F.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum")


def packed_losses(student: Student, items: Sequence[Sequence[PathTokens]], budget: int, packing: str) -> dict[str, torch.Tensor]:
    losses = {}
    for batch in pack(items, budget):
        hidden = student.hidden(batch, packing=packing)
        nll = F.cross_entropy(student.logits(hidden[batch.predict_N]), batch.label_N, reduction="none")
        for number, path_id in enumerate(batch.path_ids):
            losses[path_id] = nll[batch.path_of_N == number].sum()
    return losses


def gradients(student: Student, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    student.model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in student.trainable()}


def assert_exact(student: Student, items: Sequence[Sequence[PathTokens]], budget: int, packing: str) -> None:
    weights = {path.path_id: 0.3 + 0.2 * number for number, path in enumerate(path for paths in items for path in paths)}
    expected = {path.path_id: reference(student, path) for paths in items for path in paths}
    wanted = gradients(student, sum(weights[id] * loss for id, loss in expected.items()))
    found = packed_losses(student, items, budget, packing)
    assert found.keys() == expected.keys()
    for id, loss in expected.items():
        assert found[id].item() == pytest.approx(loss.item(), rel=1e-5)
    got = gradients(student, sum(weights[id] * loss for id, loss in found.items()))
    for name, gradient in wanted.items():
        assert torch.isfinite(got[name]).all()
        assert (got[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-9, name


@pytest.mark.parametrize("packing", ["tree", "mask", "rows"])
@pytest.mark.parametrize("budget", [4000, 150])
def test_losses_and_gradients_equal_those_of_single_rows(any_tiny, packing, budget):
    assert_exact(any_tiny, tokens(any_tiny), budget, packing)


def test_the_tree_is_the_default_on_cpu(any_tiny):
    assert any_tiny.packing == "tree"


def test_every_trainable_parameter_gets_a_finite_gradient_that_is_not_zero(any_tiny):
    losses = packed_losses(any_tiny, tokens(any_tiny), 4000, "tree")
    for name, gradient in gradients(any_tiny, sum(losses.values())).items():
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name


@pytest.mark.real
def test_a_real_llama_is_exact(packaged):
    student = packaged("smollm2-135m-instruct")
    assert student.packing == "tree"
    assert_exact(student, tokens(student)[:2], 4000, "tree")


@pytest.mark.real
@pytest.mark.nightly
def test_a_real_gemma_is_exact_but_for_rounding(packaged, monkeypatch):
    """In float64 packed and single rows agree to 2e-13. In float32 each is 9e-5 from that, packed ones a little less, and they
    are 6e-5 from each other: a bar of 1e-5 would ask for the same rounding errors, not for smaller ones."""
    student = packaged("gemma3-270m")
    assert student.packing == "tree"
    items = tokens(student)[:2]

    def both() -> list[dict[str, torch.Tensor]]:
        single = sum(reference(student, path) for paths in items for path in paths)
        return [gradients(student, single), gradients(student, sum(packed_losses(student, items, 4000, "tree").values()))]

    def gap(found: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.stack([(found[name].double() - truth[name]).norm() / truth[name].norm() for name in truth])

    single, packed = both()
    to_float32 = torch.Tensor.float
    try:
        student.model.double()
        with monkeypatch.context() as patch:  # the model's norms compute in float32, whatever they are given
            patch.setattr(torch.Tensor, "float", lambda rows: rows if rows.dtype == torch.float64 else to_float32(rows))
            truth, packed_truth = both()
    finally:
        student.model.float()
    assert gap(packed_truth, truth).max() < 1e-10
    assert gap(packed, truth).max() < 1.5 * gap(single, truth).max() < 5e-4
    assert gap(packed, truth).median() < 1.5 * gap(single, truth).median()


def test_a_path_sees_neither_other_paths_nor_other_questions(any_tiny):
    items = tokens(any_tiny)
    (batch,) = pack(items, 4000)
    first = batch.segments[0]
    mine = slice(first.trunk_start, first.end)
    before = any_tiny.hidden(batch)[mine]
    ids = batch.input_ids.clone()
    batch.input_ids[first.end :] = (batch.input_ids[first.end :] + 1) % 90
    after = any_tiny.hidden(batch)[mine]
    assert torch.equal(before, after)
    batch.input_ids.copy_(ids)
    batch.input_ids[first.trunk_start] = (batch.input_ids[first.trunk_start] + 1) % 90
    assert not torch.allclose(before, any_tiny.hidden(batch)[mine])


def test_tree_mask_equals_its_definition():
    student = tiny_student("gemma3")
    (batch,) = pack(tokens(student), 4000)
    window = 24
    mask = tree_mask(batch, window=window)
    owner = {}
    for number, segment in enumerate(batch.segments):
        owner |= dict.fromkeys(range(segment.trunk_start, segment.trunk_end), (segment.trunk_start, -1))
        owner |= dict.fromkeys(range(segment.start, segment.end), (segment.trunk_start, number))
    for row in range(batch.num_tokens):
        for column in range(batch.num_tokens):
            is_mine = owner[row][0] == owner[column][0] and owner[column][1] in (-1, owner[row][1])
            is_near = batch.position_ids[row] - batch.position_ids[column] < window
            assert bool(mask[row, column]) == (column <= row and is_mine and bool(is_near))


def test_labels_are_the_response_and_its_end_and_nothing_else(any_tiny):
    items = tokens(any_tiny)
    for batch in pack(items, 200):
        for number, path_id in enumerate(batch.path_ids):
            question, path = map(int, path_id.split("-"))
            labels = batch.label_N[batch.path_of_N == number].tolist()
            assert labels == list(items[question][path].response_ids)
            assert labels[-1] == any_tiny.template.end_id
            text = list(QUESTIONS.values())[question][path]
            assert any_tiny.tokenizer.decode(labels[:-1]) == text
        segments = dict(zip(batch.path_ids, batch.segments, strict=True))
        for row, number in zip(batch.predict_N.tolist(), batch.path_of_N.tolist(), strict=True):
            segment = segments[batch.path_ids[number]]
            assert row == segment.trunk_end - 1 or segment.start <= row < segment.end


def test_positions_go_on_where_the_prompt_ends():
    student = tiny_student()
    (batch,) = pack(tokens(student)[:1], 4000)
    for segment in batch.segments:
        length = segment.trunk_end - segment.trunk_start
        assert batch.position_ids[segment.trunk_start : segment.trunk_end].tolist() == list(range(length))
        branch = batch.position_ids[segment.start : segment.end].tolist()
        assert branch == list(range(length, length + segment.end - segment.start))


def fake_path(id: str, prompt: int, response: int, first: int = 1) -> PathTokens:
    return PathTokens(
        path_id=id,
        text="",
        prompt_ids=(first,) * prompt,
        response_ids=(2,) * response,
        response_offsets=((0, 0),) * response,
    )


@given(
    st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(1, 12), max_size=6)), max_size=6),
    st.integers(1, 40),
)
def test_packing_loses_nothing_and_keeps_to_the_budget(questions, budget):
    items = [[fake_path(f"{q}-{p}", prompt, size) for p, size in enumerate(sizes)] for q, (prompt, sizes) in enumerate(questions)]
    batches = pack(items, budget)
    assert [id for batch in batches for id in batch.path_ids] == [path.path_id for paths in items for path in paths]
    assert sum(batch.num_labels for batch in batches) == sum(len(path.response_ids) for paths in items for path in paths)
    for batch in batches:
        assert batch.num_tokens <= budget or len(batch.path_ids) == 1
        trunks = {segment.trunk_start for segment in batch.segments}
        prompts = sum(segment.trunk_end - segment.trunk_start for segment in {s.trunk_start: s for s in batch.segments}.values())
        assert batch.num_tokens == prompts + sum(segment.end - segment.start for segment in batch.segments)
        assert len(trunks) == len({id.split("-")[0] for id in batch.path_ids})


def test_paths_of_one_question_need_one_prompt():
    with pytest.raises(DataError, match="the same prompt"):
        pack([[fake_path("a", 2, 3), fake_path("b", 2, 3, first=5)]], 100)


def test_a_path_longer_than_the_window_is_refused_not_cut():
    student = tiny_student(max_length=60)
    fits = 60 - len(student.template.prompt_ids("Q?")) - 1
    assert tokenize_path(student, "Q?", "fits", "a" * fits).num_tokens == 60
    with pytest.raises(DataError, match=r"path long has 61 tokens .* max_length 60"):
        tokenize_path(student, "Q?", "long", "a" * (fits + 1))


def test_a_model_that_takes_no_mask_falls_back_to_rows(monkeypatch):
    """A model that ignores masks and trees is found out when it is loaded, and is still exact."""
    from transformers.models.gpt_neox import modeling_gpt_neox

    notes: list[str] = []
    original = modeling_gpt_neox.GPTNeoXModel.forward

    def blind(self, input_ids=None, attention_mask=None, position_ids=None, tree=None, **options):
        return original(self, input_ids=input_ids, position_ids=position_ids, **options)

    monkeypatch.setattr(modeling_gpt_neox.GPTNeoXModel, "forward", blind)
    from qrdistill.config import LoraConfig, StudentConfig, TinySource
    from qrdistill.students import load_student

    config = StudentConfig(name="blind", source=TinySource(architecture="gpt_neox"), adapter=LoraConfig(rank=4))
    student = load_student(config, seed=1, note=notes.append)
    assert student.packing == "rows"
    assert notes == ["student 'blind': its attention takes no tree mask, so each path is read in a row of its own (slower)"]
    assert_exact(student, tokens(student)[:1], 4000, student.packing)
