"""How a question becomes the tokens a student reads: its own chat template, or a plain question / answer layout.

Prompt and response are tokenised as separate segments. The prompt mask is therefore exact for every tokenizer (no generation
markers needed), the text a student is trained on starts at the very token at which decoding starts, and the end token is
supervised. Text of a response never turns into control tokens: a path that spells out "<eos>" stays text.
"""

from __future__ import annotations

from typing import Any, Literal

from qrdistill.errors import DataError

PLAIN_LAYOUT = "Question: {prompt}\n\nSolution:\n"
"""Layout for base models without a chat template. It ends with a line break, so no tokenizer has to guess a leading space."""

Mode = Literal["chat", "plain"]
_PROBE = "qrdistill"


class Template:
    """Renders prompts and responses for one tokenizer.

    Args:
        tokenizer: a fast Hugging Face tokenizer with an end-of-sequence token.
        mode: "chat", "plain", or "auto" for the chat template where there is one.
        student: name for messages.

    Raises:
        DataError: the tokenizer lacks what the mode needs.
    """

    def __init__(self, tokenizer: Any, mode: Literal["auto", "chat", "plain"], *, student: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise DataError(
                f"student {student!r}: its tokenizer gives no character offsets (not a fast tokenizer); "
                "convert it to a tokenizer.json with transformers"
            )
        if tokenizer.eos_token_id is None:
            raise DataError(
                f"student {student!r}: its tokenizer has no end-of-sequence token; set eos_token in tokenizer_config.json"
            )
        if mode == "chat" and not tokenizer.chat_template:
            raise DataError(f"student {student!r}: its tokenizer has no chat template; set the student's template to plain")
        self._tokenizer = tokenizer
        self.mode: Mode = "chat" if mode == "chat" or (mode == "auto" and tokenizer.chat_template) else "plain"
        self.end_id: int = self._turn_end_id() if self.mode == "chat" else int(tokenizer.eos_token_id)
        self.stop_ids: tuple[int, ...] = tuple(sorted({self.end_id, int(tokenizer.eos_token_id)}))

    @property
    def source(self) -> str:
        """The template as text, for identities."""
        return str(self._tokenizer.chat_template) if self.mode == "chat" else PLAIN_LAYOUT

    def prompt_ids(self, prompt: str) -> list[int]:
        """Tokens of a prompt up to where the response begins, with the tokenizer's own start token."""
        if self.mode == "plain":
            return list(self._tokenizer(PLAIN_LAYOUT.format(prompt=prompt)).input_ids)
        text = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def response_ids(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of a response with the end token, and the (start, end) characters of `text` each token covers.

        The end token covers (len(text), len(text)). Several tokens may cover the same character (bytes of an emoji).
        """
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
        offsets = [(int(start), int(end)) for start, end in encoded.offset_mapping]
        return [*encoded.input_ids, self.end_id], [*offsets, (len(text), len(text))]

    def _turn_end_id(self) -> int:
        """The special token the chat template puts after an assistant's words (else the end-of-sequence token)."""
        messages = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False)
        tail = text.rpartition(_PROBE)[2]
        special = set(self._tokenizer.all_special_ids)
        for token in self._tokenizer(tail, add_special_tokens=False).input_ids:
            if token in special:
                return int(token)
        return int(self._tokenizer.eos_token_id)
