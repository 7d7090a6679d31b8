"""Reading labels off the head: equal to autograd over all logits at once, however small the chunks."""

import pytest
import torch
import torch.nn.functional as F
from tests.students.conftest import tiny_student

from qrdistill.config import FrozenConfig, FullConfig, LoraConfig
from qrdistill.students import head
from qrdistill.students.head import read_labels


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(23, 32, generator=generator), torch.randint(90, (23,), generator=generator)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_readings_equal_their_definitions(architecture, rows, is_chunked, monkeypatch):
    """Llama, Qwen2 and GPT-NeoX have a plain head; the tiny Gemma-3 has a soft cap."""
    if is_chunked:
        monkeypatch.setitem(head.LOGIT_BYTES, "cpu", 1)
        monkeypatch.setitem(head._BLOCK_BYTES, "cpu", 1)
    student = tiny_student(architecture)
    hidden, label = rows
    reading = read_labels(student, hidden, label, is_grad=True)
    states = hidden.clone().requires_grad_()
    logits = student.logits(states)
    nll = F.cross_entropy(logits, label, reduction="none")
    nll.sum().backward()
    prob = logits.detach().softmax(dim=1)
    assert torch.allclose(reading.nll_N, nll.detach(), atol=1e-5)
    assert torch.allclose(reading.grad_ND, states.grad, atol=1e-6)
    for row, gold in enumerate(label.tolist()):
        assert reading.rank_N[row] == 1 + sum(value > logits[row, gold] for value in logits[row])
        one_hot = F.one_hot(torch.tensor(gold), student.vocab_size)
        assert reading.brier_N[row].item() == pytest.approx((prob[row] - one_hot).square().sum().item(), abs=1e-5)
    assert read_labels(student, hidden, label).grad_ND is None
    assert all(weight.grad is None for _, weight in student.trainable())


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_every_chunk_is_shown_before_it_is_overwritten(architecture, rows, monkeypatch):
    monkeypatch.setitem(head.LOGIT_BYTES, "cpu", 1)
    student = tiny_student(architecture)
    hidden, label = rows
    shown: list[torch.Tensor] = []

    def look(chunk: slice, logits: torch.Tensor, log_total: torch.Tensor) -> None:
        assert torch.allclose(log_total, torch.logsumexp(logits, dim=1), atol=1e-5)
        assert len(logits) == len(label[chunk])
        shown.append(logits.clone())

    read_labels(student, hidden, label, is_grad=True, look=look)
    assert torch.allclose(torch.cat(shown), student.logits(hidden).detach(), atol=1e-5)


def test_a_weighted_sum_of_token_gradients_is_the_gradient_of_the_weighted_loss(architecture):
    """The use it is made for: weights that are known only after the reading."""
    from tests.students.test_batch import tokens

    from qrdistill.students import pack

    student = tiny_student(architecture, adapter=LoraConfig(rank=4))
    (batch,) = pack(tokens(student), 4000)
    weight = torch.rand(batch.num_labels, generator=torch.Generator().manual_seed(1))
    hidden = student.hidden(batch)[batch.predict_N]
    reading = read_labels(student, hidden, batch.label_N, is_grad=True)
    hidden.backward(weight[:, None] * reading.grad_ND)
    found = {name: parameter.grad.clone() for name, parameter in student.trainable()}
    student.model.zero_grad()
    logits = student.logits(student.hidden(batch)[batch.predict_N])
    (weight * F.cross_entropy(logits, batch.label_N, reduction="none")).sum().backward()
    for name, parameter in student.trainable():
        assert (found[name] - parameter.grad).norm() <= 1e-5 * parameter.grad.norm(), name


def test_a_head_that_is_trained_keeps_its_own_gradient(rows):
    full = tiny_student("gpt_neox", adapter=FullConfig())
    with pytest.raises(ValueError, match="trains its head"):
        read_labels(full, *rows, is_grad=True)
    assert read_labels(full, *rows).nll_N.shape == (23,)
    adapted = tiny_student("gpt_neox", adapter=LoraConfig(target_modules=("lm_head", "dense")))
    with pytest.raises(ValueError, match="trains its head"):
        read_labels(adapted, *rows, is_grad=True)


def test_no_labels_no_readings():
    student = tiny_student("llama", adapter=FrozenConfig())
    reading = read_labels(student, torch.zeros(0, 32), torch.zeros(0, dtype=torch.long), is_grad=True)
    assert [len(part) for part in (reading.nll_N, reading.rank_N, reading.brier_N, reading.grad_ND)] == [0, 0, 0, 0]
