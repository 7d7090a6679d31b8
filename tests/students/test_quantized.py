"""QLoRA: a frozen base in 4 bits, adapters on top that learn and load in plain PEFT; without bitsandbytes a sentence."""

import importlib.util
import sys
from collections.abc import Callable

import peft
import pytest
import torch
import torch.nn.functional as F
from tests.students.conftest import ARCHITECTURES, stir, tiny_student
from tests.students.test_batch import tokens
from tests.students.test_load import logits

from qrdistill.cli.main import run_app
from qrdistill.config import FolderSource, FrozenConfig, LoraConfig, StudentConfig
from qrdistill.errors import UsageError
from qrdistill.students import Student, pack
from qrdistill.students.load import Bases, load_student
from qrdistill.students.phantom import phantom
from qrdistill.students.tiny import build_model

NF4 = LoraConfig(rank=4, quantization="nf4")
needs_bitsandbytes = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="extra qlora is not installed")


def narrow_layers(student) -> dict:
    import bitsandbytes

    return {
        name.removesuffix(".base_layer"): layer
        for name, layer in student.causal_lm.named_modules()
        if type(layer) is bitsandbytes.nn.Linear4bit
    }


def rounded(layer) -> torch.Tensor:
    import bitsandbytes

    return bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)


@pytest.fixture(scope="session")
def wide(tmp_path_factory) -> Callable[..., Student]:
    """Makes students whose rows are 64 weights wide: whole blocks."""
    root = tmp_path_factory.mktemp("wide")

    def build(architecture: str, *, adapter: LoraConfig | None = None) -> Student:
        if not (folder := root / architecture).exists():
            tiny = tiny_student(architecture)
            build_model(architecture, tiny.vocab_size, 1, width=64).save_pretrained(folder)
            tiny.tokenizer.save_pretrained(folder)
        config = StudentConfig(name=architecture, source=FolderSource(path=str(folder)), adapter=adapter or LoraConfig(rank=4))
        student = load_student(config, seed=1)
        stir(student)
        return student

    return build


@needs_bitsandbytes
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_linear_layers_are_rounded_and_nothing_else(architecture, wide):
    """nf4 rounds normally distributed weights by about a tenth of their spread (Dettmers et al., 2023)."""
    plain, narrow = wide(architecture), wide(architecture, adapter=NF4)
    layers, before = narrow_layers(narrow), dict(plain.causal_lm.named_modules())
    linear = [name for name, layer in before.items() if type(layer) is torch.nn.Linear and ".lora_" not in name]
    whole = [name for name in linear if before[name] is not plain.head and before[name].in_features % 64 == 0]
    assert {name.removesuffix(".base_layer") for name in whole} == layers.keys()
    assert len(layers) >= 8
    for name, layer in layers.items():
        weight = before[name].get_base_layer().weight if hasattr(before[name], "get_base_layer") else before[name].weight
        assert 0.03 < (rounded(layer) - weight).norm() / weight.norm() < 0.15, name
    assert torch.equal(plain.head.weight, narrow.head.weight)
    assert not torch.allclose(logits(narrow), logits(plain), atol=1e-3)
    assert narrow.base_identity != plain.base_identity


@needs_bitsandbytes
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_the_rounded_weights(architecture, wide):
    """Reference: an ordinary student whose weights are the rounded ones, through PEFT's and our own layers."""
    narrow, plain = wide(architecture, adapter=NF4), wide(architecture)
    before = dict(plain.causal_lm.named_modules())
    with torch.no_grad():
        for name, layer in narrow_layers(narrow).items():
            before[name].get_base_layer().weight.copy_(rounded(layer))
    (batch,) = pack(tokens(plain), 4000)
    found = []
    for student in (narrow, plain):
        hidden = student.hidden(batch)
        F.cross_entropy(student.logits(hidden[batch.predict_N]), batch.label_N).backward()
        found.append({name: weight.grad for name, weight in student.trainable()})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[1].items():
        assert (found[0][name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-9, name


@needs_bitsandbytes
def test_linear_layers_take_half_a_byte_a_weight(wide):
    student = wide("llama", adapter=NF4)
    layers = narrow_layers(student).values()
    assert len(layers) == 2 * 7
    numbers = sum(layer.in_features * layer.out_features for layer in layers)
    assert sum(layer.weight.numel() * layer.weight.element_size() for layer in layers) == numbers / 2
    plain, narrow = (
        phantom(wide("llama", adapter=adapter).config, device=torch.device("cpu")) for adapter in (LoraConfig(rank=4), NF4)
    )
    assert plain.base_bytes - narrow.base_bytes == pytest.approx(numbers * (4 - 0.516), rel=0.01)


@needs_bitsandbytes
def test_students_share_a_base_in_4_bits(wide):
    config = wide("llama", adapter=NF4).config
    bases = Bases()
    one, other = (load_student(config, seed=seed, bases=bases) for seed in (1, 2))
    mine, theirs = (dict(s.causal_lm.named_parameters(remove_duplicate=False)) for s in (one, other))
    for name, weight in mine.items():
        assert (weight.data_ptr() == theirs[name].data_ptr()) == (".lora_" not in name), name
    assert torch.allclose(logits(one), logits(other), atol=1e-6)  # both adapters begin at zero


@needs_bitsandbytes
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_run_with_a_base_in_4_bits(smoke_recipe, tmp_path):
    students = (
        "students=[{name: a, source: {kind: tiny}, adapter: {kind: lora, rank: 4, quantization: nf4}, learning_rate: 3e-3}]"
    )
    assert run_app(["run", str(smoke_recipe), "-o", str(tmp_path / "run"), "--set", students]) == 0
    base = tiny_student("llama", adapter=FrozenConfig()).model
    model = peft.PeftModel.from_pretrained(base, tmp_path / "run" / "students" / "a")
    assert any(weight.abs().sum() > 0 for name, weight in model.named_parameters() if "lora_B" in name)


def test_without_bitsandbytes_it_is_said_how_to_install_it(monkeypatch, smoke_recipe, capsys):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(
        UsageError, match=r"student 'llama': quantization nf4 needs bitsandbytes; run: pip install 'qrdistill\[qlora\]'"
    ):
        tiny_student("llama", adapter=NF4)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else real(name, *rest))
    change = "students.0.adapter={kind: lora, quantization: nf4}"
    assert run_app(["check", str(smoke_recipe), "--set", change]) == 2
    assert "not installed: bitsandbytes; run: pip install 'qrdistill[qlora]'" in " ".join(capsys.readouterr().out.split())
