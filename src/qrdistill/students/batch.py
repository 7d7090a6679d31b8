"""Paths as tokens, and packed rows in which the paths of a question share one copy of its prompt.

A packed row is a sequence of trees, one per question: the prompt is the trunk, each path a branch. A token attends to its own
branch and to its own trunk, never to another branch or question; positions of every branch go on where the prompt ends. The
last prompt token predicts the first token of every branch, so each path's loss and gradients are those of the unpacked row.

Shapes: T tokens of a packed row, N supervised (label) positions of all its paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qrdistill.errors import DataError

if TYPE_CHECKING:
    from qrdistill.students.student import Student


@dataclass(frozen=True, slots=True, kw_only=True)
class PathTokens:
    """One reasoning path in a student's own tokens, behind the plain test-time prompt.

    `response_ids` ends with the student's end token; `response_offsets` holds the (start, end) characters of `text` that each
    response token covers, (len, len) for the end token.
    """

    path_id: str
    text: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    response_offsets: tuple[tuple[int, int], ...]

    @property
    def num_tokens(self) -> int:
        """Prompt and response together, the end token included."""
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One branch of a packed row: tokens [start, end) of a path whose prompt is tokens [trunk_start, trunk_end)."""

    trunk_start: int
    trunk_end: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """One packed row and where its labels are.

    The logits at row `predict_N[n]` predict token `label_N[n]` of path `path_ids[path_of_N[n]]`; the labels of a path stand
    together, in order, its end token last. `predict_N` repeats the last prompt token once per path of a question.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: tuple[Segment, ...]
    path_ids: tuple[str, ...]
    predict_N: Tensor
    label_N: Tensor
    path_of_N: Tensor

    @property
    def num_tokens(self) -> int:
        """Tokens of the row, T."""
        return int(self.input_ids.shape[0])

    @property
    def num_labels(self) -> int:
        """Supervised positions, N."""
        return int(self.label_N.shape[0])

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same row on a device."""
        return PackedBatch(
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            segments=self.segments,
            path_ids=self.path_ids,
            predict_N=self.predict_N.to(device),
            label_N=self.label_N.to(device),
            path_of_N=self.path_of_N.to(device),
        )


def tokenize_path(student: Student, prompt: str, path_id: str, text: str) -> PathTokens:
    """Tokens of one path behind its prompt.

    Raises:
        DataError: prompt and path are longer than the student's window; a path is never cut, its answer would be lost.
    """
    prompt_ids = student.template.prompt_ids(prompt)
    response_ids, offsets = student.template.response_ids(text)
    total = len(prompt_ids) + len(response_ids)
    if total > student.max_length:
        raise DataError(
            f"path {path_id} has {total} tokens with its prompt for student {student.name!r}, more than its max_length "
            f"{student.max_length}; raise max_length or drop the path (it is never cut: its answer would be lost)"
        )
    return PathTokens(
        path_id=path_id,
        text=text,
        prompt_ids=tuple(prompt_ids),
        response_ids=tuple(response_ids),
        response_offsets=tuple(offsets),
    )


def pack(items: Sequence[Sequence[PathTokens]], token_budget: int) -> list[PackedBatch]:
    """Pack questions, in order, into rows of at most `token_budget` tokens.

    Args:
        items: for each question its paths, all behind the same prompt tokens; questions without paths are passed over.
        token_budget: a question that does not fit is split (its prompt is repeated); a path that alone exceeds the budget
            gets a row of its own.

    Raises:
        DataError: the paths of one question stand behind different prompts.
    """
    rows: list[list[list[PathTokens]]] = []
    used = 0
    for paths in items:
        if any(path.prompt_ids != paths[0].prompt_ids for path in paths):
            raise DataError(f"path {paths[0].path_id}: the paths of one question must stand behind the same prompt")
        is_open = False
        for path in paths:
            branch = len(path.response_ids) - 1
            cost = branch + (0 if is_open else len(path.prompt_ids))
            if rows and used + cost <= token_budget:
                used += cost
            else:
                rows.append([])
                used, is_open = branch + len(path.prompt_ids), False
            if not is_open:
                rows[-1].append([])
                is_open = True
            rows[-1][-1].append(path)
    return [_build(row) for row in rows]


def _build(questions: Sequence[Sequence[PathTokens]]) -> PackedBatch:
    tokens: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    path_ids: list[str] = []
    predict: list[int] = []
    labels: list[int] = []
    path_of: list[int] = []
    for paths in questions:
        prompt = paths[0].prompt_ids
        trunk_start = len(tokens)
        trunk_end = trunk_start + len(prompt)
        tokens += prompt
        positions += range(len(prompt))
        for path in paths:
            # The end token is only ever a label: nothing is predicted from it, so it is not fed.
            fed = path.response_ids[:-1]
            start = len(tokens)
            tokens += fed
            positions += range(len(prompt), len(prompt) + len(fed))
            segments.append(Segment(trunk_start=trunk_start, trunk_end=trunk_end, start=start, end=len(tokens)))
            predict += [trunk_end - 1, *range(start, len(tokens))]
            labels += path.response_ids
            path_of += [len(path_ids)] * len(path.response_ids)
            path_ids.append(path.path_id)
    return PackedBatch(
        input_ids=torch.tensor(tokens),
        position_ids=torch.tensor(positions),
        segments=tuple(segments),
        path_ids=tuple(path_ids),
        predict_N=torch.tensor(predict),
        label_N=torch.tensor(labels),
        path_of_N=torch.tensor(path_of),
    )


def tree_mask(batch: PackedBatch, *, window: int = 0) -> Tensor:
    """Which token (row) may attend to which (column): bool [T, T].

    Args:
        batch: the packed row.
        window: sliding window in positions (a token sees itself and the `window` - 1 positions before it); 0: none.
    """
    num_tokens = batch.num_tokens
    trunk_T = torch.zeros(num_tokens, dtype=torch.long)
    branch_T = torch.zeros(num_tokens, dtype=torch.long)
    for number, segment in enumerate(batch.segments, start=1):
        trunk_T[segment.trunk_start : segment.trunk_end] = segment.trunk_start
        trunk_T[segment.start : segment.end] = segment.trunk_start
        branch_T[segment.start : segment.end] = number
    trunk_T, branch_T = trunk_T.to(batch.input_ids.device), branch_T.to(batch.input_ids.device)
    order_T = torch.arange(num_tokens, device=batch.input_ids.device)
    mask_TT = order_T[:, None] >= order_T[None, :]
    mask_TT &= trunk_T[:, None] == trunk_T[None, :]
    mask_TT &= (branch_T[None, :] == 0) | (branch_T[:, None] == branch_T[None, :])
    if window:
        mask_TT &= batch.position_ids[:, None] - batch.position_ids[None, :] < window
    return mask_TT
