"""Two-layer random students with real tokenizers, built in code: for tests and dry runs only, nothing to download.

Llama gets a character tokenizer, the others a small byte-level BPE trained here on fixed text (Qwen2 with its family's own way of
splitting words), so that two tiny students differ in where their tokens begin. Anything a tokenizer does not know becomes bytes.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Literal

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)

Architecture = Literal["llama", "gemma3", "gpt_neox", "qwen2"]
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")
SLIDING_WINDOW = 24
"""Of the tiny Gemma-3 and Qwen2: short, so that tests reach past it."""

_CORPUS = (
    "The answer is 12. There are three spiders and each spider has 8 legs, so 3 * 8 = 24 legs in all.",
    "First add the numbers, then subtract: 14 + 27 - 9 = 32. Let x be the unknown number; solve the equation for x.",
    "Question: How many legs do the animals have? Answer: Each dog has four legs and each bird has two legs.",
    "Check backwards: starting from the answer, the given values come out again. Therefore the result is right.",
    "def solve():\n    total = 0\n    for count, legs in animals:\n        total += count * legs\n    print(total)",
)


def build_tokenizer(architecture: Architecture) -> Any:
    """The tokenizer of a tiny student: characters (llama) or byte-level BPE."""
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    if architecture == "qwen2":  # transformers insists on this class beside a Qwen2 model
        pieces = json.loads(_byte_pair_tokenizer())["model"]
        return Qwen2Tokenizer(
            vocab=pieces["vocab"], merges=[tuple(merge) for merge in pieces["merges"]], unk_token="<pad>", **special
        )
    backend = Tokenizer.from_str(_character_tokenizer() if architecture == "llama" else _byte_pair_tokenizer())
    if architecture in ("llama", "gemma3"):
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", SPECIAL_TOKENS.index("<bos>"))]
        )
    padding_side = "left" if architecture == "gemma3" else "right"
    return PreTrainedTokenizerFast(tokenizer_object=backend, padding_side=padding_side, **special)


@functools.cache
def _character_tokenizer() -> str:
    """Printable ASCII and newline one token each, everything else as UTF-8 bytes (byte fallback), as JSON."""
    pieces = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256)), "\n", *(chr(code) for code in range(32, 127))]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<pad>"))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer.to_str()


@functools.cache
def _byte_pair_tokenizer() -> str:
    """Byte-level BPE with 400 pieces trained on a few fixed sentences, as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer.to_str()


def build_model(architecture: Architecture, vocab_size: int, seed: int, *, width: int = 32) -> Any:
    """A two-layer model of the architecture with weights drawn from `seed` (the global generators are left alone)."""
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 2048,
        "pad_token_id": SPECIAL_TOKENS.index("<pad>"),
        "bos_token_id": SPECIAL_TOKENS.index("<bos>"),
        "eos_token_id": SPECIAL_TOKENS.index("<eos>"),
    }
    sliding = ["sliding_attention", "full_attention"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == "llama":
            model: Any = LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, tie_word_embeddings=True, **common))
        elif architecture == "gemma3":
            model = Gemma3ForCausalLM(
                Gemma3TextConfig(
                    num_key_value_heads=1,
                    head_dim=8,
                    query_pre_attn_scalar=8,
                    sliding_window=SLIDING_WINDOW,
                    layer_types=sliding,
                    final_logit_softcapping=30.0,
                    **common,
                )
            )
        elif architecture == "gpt_neox":
            model = GPTNeoXForCausalLM(GPTNeoXConfig(**common))
        else:
            config = Qwen2Config(num_key_value_heads=2, **common)
            model = Qwen2ForCausalLM(config)
        _sharpen(model, seed)
    return model.eval()


def _sharpen(model: Any, seed: int) -> None:
    """Redraw the matrices with a larger spread, so that attention and losses depend visibly on what they see."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0.0, 0.15, generator=generator)
