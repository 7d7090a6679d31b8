"""Prompts and responses as tokens: own segments, own end token, and nothing that text can smuggle in."""

import pytest

from qrdistill.errors import DataError
from qrdistill.students.template import PLAIN_LAYOUT, Template
from qrdistill.students.tiny import build_tokenizer

CHAT = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def chat_tokenizer():
    tokenizer = build_tokenizer("llama")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    tokenizer.chat_template = CHAT
    return tokenizer


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt_neox", "qwen2"])
def test_plain_layout_has_the_start_token_once_and_only_if_the_tokenizer_adds_it(architecture):
    tokenizer = build_tokenizer(architecture)
    template = Template(tokenizer, "auto", student="s")
    ids = template.prompt_ids("How many?")
    assert template.mode == "plain"
    assert tokenizer.decode(ids, skip_special_tokens=True) == PLAIN_LAYOUT.format(prompt="How many?")
    assert ids.count(tokenizer.bos_token_id) == (architecture in ("llama", "gemma3"))
    assert template.end_id == tokenizer.eos_token_id


def test_chat_layout_ends_turns_with_the_template_s_own_token():
    tokenizer = chat_tokenizer()
    template = Template(tokenizer, "auto", student="s")
    assert template.mode == "chat"
    assert tokenizer.convert_ids_to_tokens(template.end_id) == "<|end|>"
    assert set(template.stop_ids) == {template.end_id, tokenizer.eos_token_id}
    assert tokenizer.decode(template.prompt_ids("Hi")) == "<bos>[user]Hi<|end|>\n[assistant]"
    assert template.prompt_ids("Hi").count(tokenizer.bos_token_id) == 1
    ids, _ = template.response_ids("Yes")
    assert tokenizer.decode(ids) == "Yes<|end|>"
    assert Template(tokenizer, "plain", student="s").mode == "plain"


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_control_tokens_spelt_out_in_a_path_stay_text(architecture):
    tokenizer = build_tokenizer(architecture)
    template = Template(tokenizer, "auto", student="s")
    text = "first <eos> then <pad> and <bos>."
    ids, offsets = template.response_ids(text)
    assert not set(ids[:-1]) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids[:-1]) == text
    assert offsets[-1] == (len(text), len(text))
    assert template.prompt_ids("plain")  # and rendering a prompt afterwards still knows its start token
    assert tokenizer.bos_token_id in template.prompt_ids("plain")


def test_a_tokenizer_without_end_token_is_refused():
    tokenizer = build_tokenizer("llama")
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="no end-of-sequence token"):
        Template(tokenizer, "auto", student="s")


def test_chat_needs_a_chat_template():
    with pytest.raises(DataError, match="no chat template"):
        Template(build_tokenizer("llama"), "chat", student="s")


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(DataError, match="no character offsets"):
        Template(Slow(), "auto", student="s")
