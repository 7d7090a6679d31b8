"""Reading labels off the head: equal to autograd over all logits at once, however small the parts and blocks."""

import pytest
import torch
import torch.nn.functional as F
from tests.students.conftest import tiny_student

from qrdistill.config import FrozenConfig, FullConfig, LoraConfig
from qrdistill.students import PieceRequest, head_columns, head_rows, likeliest
from qrdistill.students.head import is_plain_head, read_labels
from qrdistill.students.head_columns import ColumnPass
from qrdistill.students.head_rows import RowPass


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(23, 32, generator=generator), torch.randint(90, (23,), generator=generator)


@pytest.fixture(params=["whole", "in_pieces"])
def size(request, monkeypatch) -> str:
    """Chunks of 8 rows; parts of 20 columns in blocks of 7; pieces searched after every block or two."""
    if request.param == "in_pieces":
        monkeypatch.setitem(head_rows.LOGIT_BYTES, "cpu", 1)
        monkeypatch.setitem(head_columns.PART_COLUMNS, "cpu", 20)
        monkeypatch.setattr(head_columns, "LEAST_COLUMNS", 7)
        monkeypatch.setitem(head_columns.BLOCK_BYTES, "cpu", 1)
        monkeypatch.setitem(likeliest.HELD_BYTES, "cpu", 100)
    return request.param


def test_plain_heads_are_read_by_columns():
    """Llama, Qwen2 and GPT-NeoX have a plain head; the tiny Gemma-3 has a soft cap."""
    plain = {name: is_plain_head(tiny_student(name)) for name in ("llama", "qwen2", "gpt_neox", "gemma3")}
    assert plain == {"llama": True, "qwen2": True, "gpt_neox": True, "gemma3": False}


def test_readings_equal_their_definitions(architecture, rows, size):
    student = tiny_student(architecture)
    hidden, label = rows
    reading = read_labels(student, hidden, label, is_grad=True)
    states = hidden.clone().requires_grad_()
    logits = student.logits(states)
    nll = F.cross_entropy(logits, label, reduction="none")
    nll.sum().backward()
    prob = logits.detach().softmax(dim=1)
    assert torch.allclose(reading.nll_N, nll.detach(), atol=1e-5)
    assert torch.allclose(reading.log_total_N, logits.detach().logsumexp(dim=1), atol=1e-5)
    assert torch.allclose(reading.grad_ND, states.grad, atol=1e-6)
    for row, gold in enumerate(label.tolist()):
        assert reading.rank_N[row] == 1 + sum(value > logits[row, gold] for value in logits[row])
        one_hot = F.one_hot(torch.tensor(gold), student.vocab_size)
        assert reading.brier_N[row].item() == pytest.approx((prob[row] - one_hot).square().sum().item(), abs=1e-5)
    assert read_labels(student, hidden, label).grad_ND is None
    assert all(weight.grad is None for _, weight in student.trainable())


def test_gradients_are_taken_where_they_are_asked_for(rows, size):
    student = tiny_student("llama")
    hidden, label = rows
    whole = read_labels(student, hidden, label, is_grad=True)
    asked = torch.arange(len(label)) % 3 == 1
    by_columns = ColumnPass(student, hidden, label, is_grad_N=asked, pieces=())
    found = by_columns.join([by_columns.read(part) for part in by_columns.parts])
    assert torch.allclose(found.grad_ND[asked], whole.grad_ND[asked], atol=1e-6)
    assert not found.grad_ND[~asked].any()
    assert torch.allclose(found.nll_N, whole.nll_N, atol=1e-6)
    assert torch.equal(found.rank_N, whole.rank_N)


@pytest.mark.parametrize("kind", [ColumnPass, RowPass])
def test_likeliest_pieces_are_those_of_the_whole_distribution(rows, size, kind):
    """Two requests at once; tokens in no order, some of them no pieces; rows in no order."""
    student = tiny_student("llama")
    hidden, label = rows
    tokens = torch.randperm(student.vocab_size, generator=torch.Generator().manual_seed(1))
    requests = [
        PieceRequest(row_A=torch.tensor([20, 3, 9, 11]), token_U=tokens[:40], number=5),
        PieceRequest(row_A=torch.arange(23), token_U=torch.arange(student.vocab_size), number=500),
    ]
    whole = kind(student, hidden, label, is_grad_N=None, pieces=requests)
    reading = whole.join([whole.read(part) for part in whole.parts])
    prob = student.logits(hidden).detach().softmax(dim=1)
    for request, (piece, found) in zip(requests, reading.pieces, strict=True):
        best = prob[request.row_A][:, request.token_U].topk(min(request.number, len(request.token_U)), dim=1)
        assert torch.allclose(found, best.values, atol=1e-6)
        assert torch.allclose(prob[request.row_A].gather(1, request.token_U[piece]), found, atol=1e-6)


def test_a_sure_student_has_a_precise_small_gradient():
    """1 - p_label is about 1e-5 here: as a difference in float32 it would be wrong in its third digit, and so the gradient."""
    student = tiny_student("llama")
    weight = student.head.weight.detach()
    label = torch.tensor([5, 17])
    scale = 30 / weight[label].square().sum(dim=1, keepdim=True)
    hidden = weight[label] * scale
    found = read_labels(student, hidden, label, is_grad=True)
    prob = (hidden.double() @ weight.double().T).softmax(dim=1)
    others = prob.clone()
    others[torch.arange(2), label] = 0
    truth = others @ weight.double() - others.sum(dim=1, keepdim=True) * weight.double()[label]
    miss = others.sum(dim=1)
    assert (miss < 1e-4).all()
    assert ((found.grad_ND - truth).norm(dim=1) <= 1e-4 * truth.norm(dim=1)).all()
    assert ((found.nll_N + torch.log1p(-miss)).abs() <= 1e-4 * miss).all()


def test_a_label_does_not_outrank_itself():
    """Its logit is computed twice, by different sums; every row here is its own label's output vector, so it must rank first."""
    student = tiny_student("llama")
    weight = student.head.weight.detach()
    label = weight.matmul(weight.T).argmax(dim=1)
    label = label[label == torch.arange(len(label))]
    reading = read_labels(student, weight[label], label)
    assert len(label) > 50
    assert (reading.rank_N == 1).all()


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


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_no_labels_no_readings(architecture):
    student = tiny_student(architecture, adapter=FrozenConfig())
    request = PieceRequest(row_A=torch.zeros(0, dtype=torch.long), token_U=torch.arange(9), number=4)
    no_labels = torch.zeros(0, dtype=torch.long)
    reading = read_labels(student, torch.zeros(0, 32), no_labels, is_grad=True, pieces=[request])
    assert [len(part) for part in (reading.nll_N, reading.rank_N, reading.brier_N, reading.grad_ND)] == [0, 0, 0, 0]
    assert [part.shape for part in reading.pieces[0]] == [(0, 4), (0, 4)]
