"""Activations that are computed again: the same gradients to the last bit, much less kept."""

import pytest
import torch
from tests.students.conftest import tiny_student
from tests.students.test_batch import gradients, packed_losses, tokens

from qrdistill.config import FrozenConfig, FullConfig, LoraConfig
from qrdistill.errors import ConfigError
from qrdistill.students import Student, pack
from qrdistill.students.activations import choose_activations


def kept_bytes(student: Student) -> int:
    """Memory that autograd holds between the forward and backward pass of a row, weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in student.model.parameters()}
    held: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    (row,) = pack(tokens(student), 4000)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        hidden = student.hidden(row)
    assert hidden.requires_grad
    return sum(held.values())


@pytest.mark.parametrize("adapter", [LoraConfig(rank=4), FullConfig()], ids=["lora", "full"])
def test_gradients_are_the_same_to_the_last_bit_and_less_is_kept(architecture, adapter):
    kept, again = (tiny_student(architecture, adapter=adapter) for _ in range(2))
    choose_activations(again, "recompute")
    expected = gradients(kept, sum(packed_losses(kept, tokens(kept), 4000, "tree").values()))
    found = gradients(again, sum(packed_losses(again, tokens(again), 4000, "tree").values()))
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
    assert kept_bytes(again) < 0.35 * kept_bytes(kept)


def test_a_layer_is_wrapped_once_and_keeps_its_names():
    student = tiny_student("llama")
    names = [name for name, _ in student.trainable()]
    choose_activations(student, "recompute")
    once = [layer.forward for layer in student.decoder.layers]
    choose_activations(student, "recompute")
    assert [layer.forward for layer in student.decoder.layers] == once
    assert [name for name, _ in student.trainable()] == names


def test_who_does_not_train_or_keeps_everything_stays_as_it_was():
    frozen, plain = tiny_student("llama", adapter=FrozenConfig()), tiny_student("llama")
    choose_activations(frozen, "recompute")
    choose_activations(plain, "keep")
    assert not any("forward" in vars(layer) for student in (frozen, plain) for layer in student.decoder.layers)


def test_a_model_without_such_layers_is_refused(monkeypatch):
    student = tiny_student("llama", adapter=FullConfig())
    monkeypatch.setattr(student.decoder, "layers", torch.nn.ModuleList())
    with pytest.raises(ConfigError, match=r"no layers that can be computed again; set runtime\.activations to keep"):
        choose_activations(student, "recompute")
