"""Greedy decoding of many prompts at once: right-aligned rows, early stops, a batch that shrinks and refills.

Rows leave the batch the moment they end, and waiting prompts take their place once half of the batch has gone, longest
prompts first. The result of a row does not depend on its batch-mates beyond the rounding of matrix products; for the same
prompts in the same call it is reproducible to the bit.

Shapes: B rows of the batch, L slots of the cache, V vocabulary.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from qrdistill.errors import DataError
from qrdistill.students.cache import SlotCache
from qrdistill.students.student import Student
from qrdistill.types import Finish

STOP_RULES_VERSION = "1"
"""Changes whenever a rule below does; part of the identity of a saved answer."""
ANSWER_LINE = re.compile(
    r"(?:^|\n|[.!?:] )[\s*>#-]*(?:(?:So|Thus|Hence|Therefore),? )?[Tt]he (?:final )?answer is[^\n?]*\w[^\n?]*\n"
)
"""A finished line that states the answer in the asked-for form (not a question). What follows it is a run-on."""
RUN_ON = re.compile(r"(?:^|\n)\s*(?:Question|Q|User|Human)\s*:")
"""The student begins a new question of its own; the text is cut before it."""
LOOP_PERIOD, LOOP_TOKENS = 32, 24
"""A row loops when its last tokens repeat with some period of at most `LOOP_PERIOD`, for three periods and `LOOP_TOKENS` tokens
beyond one. Greedy decoding hardly ever leaves a loop, so the row ends, as cut off."""

_PREFILL_TOKENS = 4096
"""Prompt tokens that go through the model at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What a student answered. `num_tokens` counts generated tokens, the end token not included."""

    text: str
    num_tokens: int
    finish: Finish


@dataclass(slots=True)
class _Row:
    index: int
    prompt_ids: list[int]
    limit: int
    new_ids: list[int] = field(default_factory=list)
    draws: torch.Generator | None = None
    """Where the tokens are drawn; None: the likeliest token is taken."""

    @property
    def num_slots(self) -> int:
        """Slots the row uses: all its tokens but the newest, which is not in the cache yet."""
        return len(self.prompt_ids) + len(self.new_ids) - 1


def decode(
    student: Student,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 32,
    openings: Sequence[str] = (),
    temperature: float = 0.0,
    seeds: Sequence[int] = (),
    on_done: Callable[[int, Decoded], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> list[Decoded]:
    """Answer prompts greedily, or draw from the student's distribution.

    A row ends at an end token, after a line that states the answer (`ANSWER_LINE`), where a new question begins (`RUN_ON`, cut
    off): finish "stop"; or at `max_new_tokens`, the end of the model's window or in a loop (`is_loop`): finish "length".

    Args:
        student: the student; its adapter is applied.
        prompts: plain prompts, rendered by the student's own template.
        max_new_tokens: most tokens per answer.
        batch_size: most rows at once.
        openings: text each answer begins with (one per prompt); the answers hold what comes after it.
        temperature: logits are divided by it before a token is drawn; 0: the likeliest token is taken.
        seeds: of the draws, one per prompt: an answer does not depend on which prompts stand beside it.
        on_done: called with (index, answer) as rows end.
        is_cancelled: asked before every step.

    Returns:
        The answers in the order of the prompts.

    Raises:
        DataError: a prompt fills the model's window.
        CancelledError: `is_cancelled` said so.
    """
    waiting = deque(_rows(student, prompts, openings, max_new_tokens, seeds if temperature else ()))
    done: dict[int, Decoded] = {}
    finder = _StopFinder(student)
    rows: list[_Row] = []
    cache: SlotCache | None = None
    with torch.inference_mode():
        while rows or waiting:
            if is_cancelled is not None and is_cancelled():
                raise CancelledError
            while waiting and (cache is None or len(rows) <= batch_size // 2):
                cache, rows = _refill(student, cache, rows, waiting, batch_size, temperature)
            assert cache is not None
            ended = {row.index: answer for row in rows if (answer := finder.check(row)) is not None}
            for index, answer in ended.items():
                done[index] = answer
                if on_done is not None:
                    on_done(index, answer)
            if ended:
                kept = [number for number, row in enumerate(rows) if row.index not in ended]
                rows = [rows[number] for number in kept]
                if not rows:
                    cache = None
                    continue
                cache.keep(torch.tensor(kept, device=student.device), cache.num_slots - max(row.num_slots for row in rows))
            _step(student, cache, rows, temperature)
    return [done[index] for index in range(len(prompts))]


def _rows(
    student: Student, prompts: Sequence[str], openings: Sequence[str], max_new_tokens: int, seeds: Sequence[int]
) -> list[_Row]:
    window = int(getattr(student.causal_lm.config, "max_position_embeddings", 1 << 30))
    rows = []
    for index, prompt in enumerate(prompts):
        ids = student.template.prompt_ids(prompt)
        if openings:
            ids = [*ids, *student.template.response_ids(openings[index])[0][:-1]]
        if len(ids) >= window:
            raise DataError(
                f"a prompt has {len(ids)} tokens, which fills the window of student {student.name!r} ({window} tokens)"
            )
        draws = torch.Generator().manual_seed(seeds[index]) if seeds else None
        rows.append(_Row(index, ids, min(max_new_tokens, window - len(ids)), draws=draws))
    return sorted(rows, key=lambda row: (-len(row.prompt_ids), row.index))


def _refill(
    student: Student, cache: SlotCache | None, rows: list[_Row], waiting: deque[_Row], batch_size: int, temperature: float
) -> tuple[SlotCache, list[_Row]]:
    """Run waiting prompts through the model until the batch is full."""
    while waiting and len(rows) < batch_size:
        room = min(batch_size - len(rows), max(_PREFILL_TOKENS // len(waiting[0].prompt_ids), 1))
        fresh = [waiting.popleft() for _ in range(min(room, len(waiting)))]
        filled = SlotCache(student.causal_lm.config.num_hidden_layers)
        length = len(fresh[0].prompt_ids)
        ids_BL = torch.zeros(len(fresh), length, dtype=torch.long)
        for number, row in enumerate(fresh):
            ids_BL[number, length - len(row.prompt_ids) :] = torch.tensor(row.prompt_ids)
        _forward(student, filled, fresh, ids_BL.to(student.device), temperature)
        if cache is None:
            cache = filled
        else:
            cache.append(filled)
        rows = rows + fresh
    assert cache is not None
    return cache, rows


def _step(student: Student, cache: SlotCache, rows: list[_Row], temperature: float) -> None:
    """Feed every row's newest token."""
    _forward(student, cache, rows, torch.tensor([[row.new_ids[-1]] for row in rows], device=student.device), temperature)


def _forward(student: Student, cache: SlotCache, rows: list[_Row], ids_BQ: Tensor, temperature: float) -> None:
    """Feed right-aligned tokens and append each row's next token."""
    num_slots = cache.num_slots + ids_BQ.shape[1]
    used_B = torch.tensor([len(row.prompt_ids) + len(row.new_ids) for row in rows], device=student.device)
    slot_L = torch.arange(num_slots, device=student.device)
    slot_Q = slot_L[cache.num_slots :]
    first_B = num_slots - used_B
    output = student.read(
        input_ids=ids_BQ,
        position_ids=(slot_Q[None] - first_B[:, None]).clamp(min=0),
        attention_mask=_masks(student, slot_Q, slot_L, first_B),
        past_key_values=cache,
        use_cache=True,
    )
    logits_BV = student.logits(output.last_hidden_state[:, -1])
    chosen_B = _drawn(logits_BV, rows, temperature) if temperature else logits_BV.argmax(dim=-1)
    for row, token in zip(rows, chosen_B.tolist(), strict=True):
        row.new_ids.append(token)


def _drawn(logits_BV: Tensor, rows: list[_Row], temperature: float) -> Tensor:
    """One token a row [B], by the inverse of its distribution function at one uniform number of the row's own generator."""
    running_BV = (logits_BV.float() / temperature).softmax(dim=-1).cumsum(dim=-1)
    uniform_B1 = torch.tensor([[float(torch.rand((), generator=row.draws))] for row in rows], device=logits_BV.device)
    return torch.searchsorted(running_BV, uniform_B1 * running_BV[:, -1:]).squeeze(1).clamp(max=logits_BV.shape[1] - 1)


def _masks(student: Student, slot_Q: Tensor, slot_L: Tensor, first_B: Tensor) -> Any:
    seen_BQL = (slot_L[None, None] >= first_B[:, None, None]) & (slot_L[None, None] <= slot_Q[None, :, None])
    distance_QL = slot_Q[:, None] - slot_L[None, :]
    return student.masks(seen_BQL, lambda window: seen_BQL & (distance_QL < window)[None], longest=len(slot_L))


def is_loop(ids: Sequence[int]) -> bool:
    """Whether a row's newest tokens go round in circles (see `LOOP_PERIOD`).

    >>> is_loop([1, 2] * 13), is_loop([1, 2] * 12), is_loop(range(100))
    (True, False, False)
    """
    for period in range(1, min(LOOP_PERIOD, len(ids) // 3) + 1):
        span = max(3 * period, LOOP_TOKENS + period)
        if len(ids) >= span and ids[-1] == ids[-1 - period] and ids[-span:-period] == ids[-span + period :]:
            return True
    return False


class _StopFinder:
    """Decides after each token whether a row is over."""

    def __init__(self, student: Student) -> None:
        self._tokenizer = student.tokenizer
        self._stop_ids = set(student.template.stop_ids)
        self._is_trigger: dict[int, bool] = {}

    def check(self, row: _Row) -> Decoded | None:
        """The answer if the row has just ended."""
        token = row.new_ids[-1]
        if token in self._stop_ids:
            return self._decoded(row.new_ids[:-1], "stop")
        if self._triggers(token):
            text = self._text(row.new_ids)
            if run_on := RUN_ON.search(text):
                return Decoded(text=text[: run_on.start()], num_tokens=len(row.new_ids), finish="stop")
            if answer := ANSWER_LINE.search(text):
                return Decoded(text=text[: answer.end()].rstrip("\n"), num_tokens=len(row.new_ids), finish="stop")
        if len(row.new_ids) >= row.limit or is_loop(row.new_ids):
            return self._decoded(row.new_ids, "length")
        return None

    def _triggers(self, token: int) -> bool:
        """Whether a token's text could complete a stop rule (holds a line break or a colon)."""
        if token not in self._is_trigger:
            text = self._text([token])
            self._is_trigger[token] = "\n" in text or ":" in text
        return self._is_trigger[token]

    def _decoded(self, ids: list[int], finish: Finish) -> Decoded:
        return Decoded(text=self._text(ids), num_tokens=len(ids), finish=finish)

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
