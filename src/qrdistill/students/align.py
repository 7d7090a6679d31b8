"""Where the texts of students with different tokenizers meet: shared token boundaries and shared pieces.

Positions are compared by character offsets in the path's text, never by token index (METHOD section 4, "Peers"): start tokens,
templates, padding side and byte fallback cannot shift them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qrdistill.students.batch import PathTokens

if TYPE_CHECKING:
    from qrdistill.students.student import Student

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def boundaries(path: PathTokens) -> dict[int, int]:
    """Character offset -> index of the response token that starts there, in text order.

    A token starts at offset c when the tokens before it spell exactly `text[:c]`: all of them end at or before its own start.
    A character that falls into several tokens (the bytes of an emoji) has a boundary only before the first. Characters a
    tokenizer leaves out of its offsets (a trimmed leading space) belong to the token after them. The end token starts at
    len(text).
    """
    starts: dict[int, int] = {}
    covered = 0
    for index, (start, end) in enumerate(path.response_offsets):
        is_last = index == len(path.response_offsets) - 1
        if start >= covered:
            starts.setdefault(len(path.text) if is_last else covered, index)
        covered = max(covered, end)
    return starts


def aligned_offsets(paths: Sequence[PathTokens]) -> list[tuple[int, tuple[int, ...]]]:
    """Character offsets at which a token starts for every student, each with the token's index for each student.

    Args:
        paths: the same path in the tokens of each student.

    Raises:
        ValueError: the texts differ.
    """
    if any(path.text != paths[0].text for path in paths):
        raise ValueError(f"aligned paths must have one text, but {[path.path_id for path in paths]} differ")
    tables = [boundaries(path) for path in paths]
    shared = [offset for offset in tables[0] if all(offset in table for table in tables)]
    return [(offset, tuple(table[offset] for table in tables)) for offset in sorted(shared)]


def aligned_positions(paths: Sequence[PathTokens]) -> list[tuple[int, ...]]:
    """For each shared boundary the index n_s of the response token that starts there, for each student s.

    The label rows `n_s` of the students' packed batches then predict what follows the same text, byte for byte. The first is
    (0, ..., 0) and the last the end tokens.
    """
    return [indices for _, indices in aligned_offsets(paths)]


def shared_pieces(students: Sequence[Student]) -> tuple[Tensor, ...]:
    """Token ids, one tensor [U] per student, of the pieces that are a single token in every vocabulary.

    Entry 0 is the students' end token (the same event, "the response is over"); the others are in the order of their bytes.
    Control tokens are left out.
    """
    tables = [piece_table(student) for student in students]
    common = sorted(set(tables[0]).intersection(*tables[1:]))
    return tuple(
        torch.tensor([student.template.end_id, *(table[piece] for piece in common)])
        for student, table in zip(students, tables, strict=True)
    )


def piece_table(student: Student) -> dict[bytes, int]:
    """What each token of a student's vocabulary adds to a text, as bytes, with its id; control tokens left out.

    A leading space is a space however the vocabulary writes it. Where several tokens spell the same bytes, the one that is not
    a bare byte token is taken, then the lowest id.
    """
    tokenizer = student.tokenizer
    spell = _speller(tokenizer.backend_tokenizer)
    control = set(tokenizer.all_special_ids)
    plain = {number for number, token in tokenizer.added_tokens_decoder.items() if not token.special and number not in control}
    control |= {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    table: dict[bytes, int] = {}
    bare: dict[bytes, int] = {}
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if number in control or number >= student.vocab_size:
            continue
        if _BYTE_PIECE.fullmatch(token):
            bare.setdefault(bytes([int(token[3:5], 16)]), number)
            continue
        piece = token.encode("utf-8") if number in plain else spell(token)
        if piece:
            table.setdefault(piece, number)
    return {**bare, **table}


def _speller(backend: Any) -> Callable[[str], bytes]:
    """A function from a vocabulary entry to the bytes it stands for, read off the tokenizer's decoder."""
    decoder: dict[str, Any] = json.loads(backend.decoder.__getstate__()) if backend.decoder is not None else {"type": "Fuse"}
    steps: list[dict[str, Any]] = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    if any(step["type"] == "ByteLevel" for step in steps):
        byte_of = {character: byte for byte, character in _byte_alphabet().items()}
        return lambda token: bytes(byte_of[c] for c in token) if all(c in byte_of for c in token) else b""
    spaces = [step["replacement"] for step in steps if step["type"] == "Metaspace"]
    spaces += [step["pattern"]["String"] for step in steps if step["type"] == "Replace" and step["content"] == " "]

    def spell(token: str) -> bytes:
        for mark in spaces:
            token = token.replace(mark, " ")
        return token.encode("utf-8")

    return spell


def _byte_alphabet() -> dict[int, str]:
    """How byte-level BPE (GPT-2) writes each byte: printable ones as themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    alphabet = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in alphabet]
    return alphabet | {byte: chr(256 + number) for number, byte in enumerate(others)}
