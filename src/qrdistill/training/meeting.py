"""Where students meet in the text of a step.

Shapes: C positions of the step, S students, P paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qrdistill.training.forward import Forward
from qrdistill.training.pool import StepWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Aligned positions of a step in every student's label rows."""

    row_CS: Tensor
    """Label row of the token that starts at the position; -1 where a student has none (when met by index) or none here."""
    stop_CS: Tensor
    """First label row after the span up to the next position (or the path's end token)."""
    bytes_C: Tensor
    """UTF-8 bytes of the span."""
    path_of_C: Tensor
    num_rows_S: Tensor
    """Label rows each student has at the positions, here or on another rank."""


def meet(work: StepWork, forwards: Sequence[Forward], *, is_read_P: Tensor, limit: int, generator: torch.Generator) -> Meeting:
    """Aligned positions of a step's paths (all read by every student), at most `limit` of them, drawn at random."""
    rows: list[list[int]] = []
    stops: list[list[int]] = []
    sizes: list[int] = []
    owners: list[int] = []
    starts_PS = torch.stack([forward.start_P for forward in forwards], dim=1).tolist()
    for number, (path, start_S, is_read) in enumerate(zip(work.paths, starts_PS, is_read_P.tolist(), strict=True)):
        if not is_read:
            continue
        ends = [len(tokens.response_ids) - 1 for tokens in path.tokens]
        text = path.path.text
        for position, next_position in zip(path.aligned, [*path.aligned[1:], tuple(ends)], strict=True):
            first = path.tokens[0].response_offsets
            span = text[first[position[0]][0] : first[next_position[0]][0]]
            rows.append([start + n if start >= 0 else -1 for start, n in zip(start_S, position, strict=True)])
            stops.append([start + n if start >= 0 else -1 for start, n in zip(start_S, next_position, strict=True)])
            sizes.append(max(len(span.encode("utf-8", "replace")), 1))
            owners.append(number)
    shape = (len(rows), len(forwards))
    chosen = torch.randperm(len(rows), generator=generator)[:limit].sort().values
    return Meeting(
        row_CS=torch.tensor(rows, dtype=torch.long).reshape(shape)[chosen],
        stop_CS=torch.tensor(stops, dtype=torch.long).reshape(shape)[chosen],
        bytes_C=torch.tensor(sizes, dtype=torch.float)[chosen],
        path_of_C=torch.tensor(owners, dtype=torch.long)[chosen],
        num_rows_S=torch.full((len(forwards),), len(chosen)),
    )


def meet_by_index(work: StepWork, forwards: Sequence[Forward], *, is_read_PS: Tensor) -> Meeting:
    """Token n of one student against token n of the other, as the authors' code does it (METHOD section 2).

    Every path is padded to the longest of the step; padding and paths a student has not read are rows of their own (-1).
    """
    lengths_PS = torch.tensor([[len(tokens.response_ids) for tokens in path.tokens] for path in work.paths])
    longest = int(lengths_PS.max())
    index_C = torch.arange(longest).repeat(len(work.paths))
    path_of_C = torch.arange(len(work.paths)).repeat_interleave(longest)
    start_PS = torch.stack([forward.start_P for forward in forwards], dim=1)
    is_real_CS = (index_C[:, None] < lengths_PS[path_of_C]) & is_read_PS[path_of_C]
    is_here_CS = is_real_CS & (start_PS[path_of_C] >= 0)
    row_CS = torch.where(is_here_CS, start_PS[path_of_C] + index_C[:, None], torch.tensor(-1))
    return Meeting(
        row_CS=row_CS,
        stop_CS=row_CS,
        bytes_C=torch.ones(len(index_C)),
        path_of_C=path_of_C,
        num_rows_S=is_real_CS.sum(dim=0),
    )
