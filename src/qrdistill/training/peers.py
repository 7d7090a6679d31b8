"""Where students meet in the text of a step, who is better there, and what each should match.

Shapes: C aligned positions of the step, S students, N label tokens, P paths, U shared pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qrdistill.losses import is_peer_better, leave_one_out_targets
from qrdistill.training.forward import Forward, Observation, PeerWork
from qrdistill.training.pool import StepWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Aligned positions of a step in every student's label rows."""

    row_CS: Tensor
    """Label row of the token that starts at the position."""
    stop_CS: Tensor
    """First label row after the span up to the next position (or the path's end token)."""
    bytes_C: Tensor
    """UTF-8 bytes of the span."""


def meet(work: StepWork, forwards: Sequence[Forward], *, is_read_P: Tensor, limit: int, generator: torch.Generator) -> Meeting:
    """Aligned positions of a step's paths (all read by every student), at most `limit` of them, drawn at random."""
    rows: list[list[int]] = []
    stops: list[list[int]] = []
    sizes: list[int] = []
    starts_PS = torch.stack([forward.start_P for forward in forwards], dim=1).tolist()
    for path, start_S, is_read in zip(work.paths, starts_PS, is_read_P.tolist(), strict=True):
        if not is_read:
            continue
        ends = [len(tokens.response_ids) - 1 for tokens in path.tokens]
        text = path.path.text
        for position, next_position in zip(path.aligned, [*path.aligned[1:], tuple(ends)], strict=True):
            first = path.tokens[0].response_offsets
            span = text[first[position[0]][0] : first[next_position[0]][0]]
            rows.append([start + n for start, n in zip(start_S, position, strict=True)])
            stops.append([start + n for start, n in zip(start_S, next_position, strict=True)])
            sizes.append(max(len(span.encode("utf-8", "replace")), 1))
    shape = (len(rows), len(forwards))
    chosen = torch.randperm(len(rows), generator=generator)[:limit].sort().values
    return Meeting(
        row_CS=torch.tensor(rows, dtype=torch.long).reshape(shape)[chosen],
        stop_CS=torch.tensor(stops, dtype=torch.long).reshape(shape)[chosen],
        bytes_C=torch.tensor(sizes, dtype=torch.float)[chosen],
    )


def peer_work(
    meeting: Meeting,
    observations: Sequence[Observation],
    piece_token_SU: Sequence[Tensor],
    *,
    weight: float,
    support: int,
) -> tuple[list[PeerWork | None], dict[str, float]]:
    """The peer loss of each student at this step (None where it has nobody better to learn from), and metrics.

    `agreement` is the share of positions where all students' likeliest shared pieces are the same; `gate_frac` per student the
    share of positions where its peers are better.
    """
    views = [observation.pieces for observation in observations]
    if any(view is None for view in views):
        return [None] * len(observations), {}
    columns = []
    for student, observation in enumerate(observations):
        running = torch.cat([torch.zeros(1), observation.nll_N.double().cumsum(0).float()])
        total_C = running[meeting.stop_CS[:, student]] - running[meeting.row_CS[:, student]]
        columns.append(total_C / meeting.bytes_C)
    better_CS = is_peer_better(torch.stack(columns, dim=1))
    known = [view for view in views if view is not None]
    targets = leave_one_out_targets(known, num_pieces=len(piece_token_SU[0]), support=support)
    favourites = torch.stack([view.piece_CM[:, 0] for view in known], dim=1)
    metrics = {"peer/agreement": float((favourites == favourites[:, :1]).all(dim=1).float().mean())}
    work: list[PeerWork | None] = []
    for student, target in enumerate(targets):
        is_active_C = better_CS[:, student]
        metrics[f"peer/gate_frac/{student}"] = float(is_active_C.float().mean())
        work.append(
            PeerWork(
                aligned_C=meeting.row_CS[:, student],
                is_active_C=is_active_C,
                target=target,
                piece_token_U=piece_token_SU[student],
                weight=weight,
            )
            if weight > 0 and bool(is_active_C.any())
            else None
        )
    return work, metrics
