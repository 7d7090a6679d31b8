"""The processes of one training, as torchrun starts them; with `sharding`, the only place that knows torch.distributed.

Every rank holds the team and walks through the same steps. What a step decides is a function of values that are equal on all
ranks: records, routes and saved state come from rank 0, and what forward passes show is added up over the ranks. Only reading is
divided. A path is read whole, by one rank, so each sum of what was seen has one term that is not zero and is exact. Gradients
are added up in float32, one flat tensor a student.

Every rank takes part in every collective, on its main thread and in the order of the program, whether it had work or not.

Shapes: P paths, S students.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn

from qrdistill.errors import QRDistillError, UsageError
from qrdistill.store.rows import R, decode_row, encode_rows
from qrdistill.students import Student
from qrdistill.students.pieces import is_piece, local_piece
from qrdistill.training.launch import ranks_here
from qrdistill.training.lifeline import Address, Lifeline, open_lifeline
from qrdistill.training.sharding import load_pieces, save_pieces, shard

if TYPE_CHECKING:
    from qrdistill.training.pool import StepWork

JOIN = timedelta(minutes=10)
"""How long ranks wait for each other at the start."""
PATIENCE = timedelta(days=14)
"""How long a rank waits in a collective; a dead rank is noticed by its lifeline."""

GRACE_S = 5.0
"""How long a rank has to leave in order once another is lost."""

T = TypeVar("T")


class Ranks:
    """This process among its peers; alone it is rank 0 of 1, and everything below is the identity.

    Args:
        rank: number of this process.
        size: how many there are.
        group: of the collectives; None when alone.
    """

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        self.rank = rank
        self.size = size
        self._group = group

    @property
    def is_first(self) -> bool:
        """Whether this process keeps the run folder."""
        return self.rank == 0

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1 and tensor.numel():
            dist.all_reduce(tensor, group=self._group)
        return tensor

    def tell(self, value: T) -> T:
        """Rank 0's value, which JSON can carry."""
        if self.size == 1:
            return value
        data = self._tell_bytes(json.dumps(value).encode("ascii") if self.is_first else b"")
        return value if self.is_first else json.loads(bytes(data.numpy()))

    def tell_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rank 0's tensors, on the CPU."""
        if self.size == 1:
            return dict(tensors)
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        data = self._tell_bytes(safetensors.torch.save(plain) if self.is_first else b"")
        return dict(tensors) if self.is_first else safetensors.torch.load(bytes(data.numpy()))

    def tell_records(self, record_type: type[R], read: Callable[[], Sequence[R]]) -> Sequence[R]:
        """Records that rank 0 reads from the ledger."""
        if self.size == 1:
            return read()
        records = read() if self.is_first else []
        text = json.dumps([row[:-1] for row in encode_rows(record_type, records)], default=lambda cell: {"hex": cell.hex()})
        rows = json.loads(self.tell(text), object_hook=lambda cell: bytes.fromhex(cell["hex"]))
        return records if self.is_first else [decode_row(record_type, row) for row in rows]

    def _tell_bytes(self, payload: bytes) -> Tensor:
        length = torch.tensor([len(payload)])
        dist.broadcast(length, src=0, group=self._group)
        data = torch.frombuffer(bytearray(payload), dtype=torch.uint8) if payload else torch.zeros(int(length), dtype=torch.uint8)
        dist.broadcast(data, src=0, group=self._group)
        return data

    def insist_same(self, what: str, value: str) -> None:
        """Refuse to go on where this rank has another value than rank 0.

        Raises:
            UsageError: it has.
        """
        if self.tell(value) != value:
            raise UsageError(
                f"rank {self.rank} has another {what} than rank 0; start every rank with the same command and version"
            )

    def part(self, work: StepWork, read_PS: Tensor) -> Tensor:
        """Which of the paths that students are to read this rank reads [P, S]."""
        return read_PS & (share_out(work, read_PS, self.size) == self.rank) if self.size > 1 else read_PS

    def most(self, number: int) -> int:
        """The largest of a number over the ranks."""
        if self.size == 1:
            return number
        largest = torch.tensor([number])
        dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=self._group)
        return int(largest)

    def shard(self, model: Any, device: torch.device, *, student: str) -> None:
        """Put a model on a device in pieces over the ranks."""
        shard(model, device, self._group, student=student)

    def add_up(self, seen: Sequence[T]) -> list[T]:
        """Dataclasses whose tensors are summed over the ranks; a field whose name ends in _N or _ND is this rank's own."""
        if self.size == 1:
            return list(seen)
        tensors = [tensor for each in seen for tensor in _tensors(each)]
        flat = self.add(torch.cat([tensor.detach().flatten().float() for tensor in tensors]))
        parts = iter(torch.split(flat, [tensor.numel() for tensor in tensors]))
        return [_rebuilt(each, parts) for each in seen]

    def add_gradients(
        self, students: Sequence[Student], values: Sequence[Mapping[str, float]] | None = None
    ) -> list[dict[str, float]]:
        """Sum each student's gradients over the ranks, with some numbers beside them (those of pieces are summed already).

        A weight that no rank has a gradient for keeps none, so a student without routed paths still takes no step.
        """
        values = values or [{}] * len(students)
        if self.size == 1:
            return [dict(value) for value in values]
        result = []
        for student, value in zip(students, values, strict=True):
            weights = [weight for _, weight in student.trainable() if not is_piece(weight)]
            known = [float(weight.grad is not None) for weight in weights]
            numbers = torch.tensor([*value.values(), *known], device=student.device)
            grads = [(torch.zeros_like(w) if w.grad is None else w.grad).flatten().float() for w in weights]
            flat = self.add(torch.cat([numbers, *grads]))
            summed, *pieces = torch.split(flat, [len(numbers), *(weight.numel() for weight in weights)])
            for weight, piece, count in zip(weights, pieces, summed[len(value) :].tolist(), strict=True):
                weight.grad = piece.view_as(weight).to(weight.dtype) if count else None
            result.append(dict(zip(value, summed[: len(value)].tolist(), strict=True)))
        return result

    def clip_gradients(self, student: Student, max_norm: float) -> float:
        """Scale a student's gradients to at most `max_norm`; gives their norm.

        A student without routed paths has no gradients and so takes no step (AdamW skips them).
        """
        weights = [weight for _, weight in student.trainable() if weight.grad is not None]
        if not any(map(is_piece, weights)):
            return float(nn.utils.clip_grad_norm_(weights, max_norm)) if weights else 0.0
        square = torch.zeros(2, device=student.device)  # of whole gradients, of this rank's pieces
        local = [local_piece(weight.grad) for weight in weights if weight.grad is not None]
        for weight, grad in zip(weights, local, strict=True):
            square[int(is_piece(weight))] += grad.float().square().sum()
        self.add(square[1:])
        norm = square.sum().sqrt()
        for grad in local:
            grad.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
        return float(norm)

    def save_pieces(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        """Write tensors, each rank its pieces, once every rank is here."""
        self.most(0)
        save_pieces(tensors, folder, self._group)

    def load_pieces(self, folder: Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read them back in the pieces of others."""
        return load_pieces(folder, like, self._group)


ALONE = Ranks()
_joined: list[Ranks] = []


def current() -> Ranks:
    """The ranks this process has joined."""
    return _joined[-1] if _joined else ALONE


def share_out(work: StepWork, read_PS: Tensor, size: int) -> Tensor:
    """Rank that reads each path for each student [P, S].

    The paths of a question stay together, so that they share one copy of its prompt. A student's questions go, longest first, to
    the rank that has the fewest tokens of it (and of all students) so far.
    """
    owner_PS = torch.zeros(read_PS.shape, dtype=torch.long)
    total = [0] * size
    for student in range(read_PS.shape[1]):
        tokens = [0] * len(work.questions)
        for path, question, is_read in zip(work.paths, work.question_of_P.tolist(), read_PS[:, student].tolist(), strict=True):
            if is_read:
                row = path.tokens[student]
                tokens[question] += len(row.response_ids) + (0 if tokens[question] else len(row.prompt_ids))
        mine = [0] * size
        for question in sorted(range(len(tokens)), key=lambda question: (-tokens[question], question)):
            rank = min(range(size), key=lambda rank: (mine[rank], total[rank], rank))
            owner_PS[work.question_of_P == question, student] = rank
            mine[rank] += tokens[question]
            total[rank] += tokens[question]
    return owner_PS


def _tensors(each: Any) -> Iterator[Tensor]:
    for field in dataclasses.fields(each):
        value = getattr(each, field.name)
        if dataclasses.is_dataclass(value):
            yield from _tensors(value)
        elif isinstance(value, Tensor) and not field.name.endswith(("_N", "_ND")):
            yield value


def _rebuilt(each: Any, parts: Iterator[Tensor]) -> Any:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(each):
        value = getattr(each, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _rebuilt(value, parts)
        elif isinstance(value, Tensor) and not field.name.endswith(("_N", "_ND")):
            changes[field.name] = next(parts).view_as(value).to(value.dtype)
    return dataclasses.replace(each, **changes)


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the ranks that torchrun's environment names, and leave them at the end.

    Raises:
        PausedError: a rank died or stopped on the way.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    is_gpu = device.type == "cuda"
    if is_gpu:
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if is_gpu else "gloo"
    dist.init_process_group(backend, timeout=JOIN)
    ranks = Ranks(rank, size, dist.new_group(backend=backend, timeout=PATIENCE))

    def share(address: Address | None) -> Address:
        return Address(**ranks.tell(dataclasses.asdict(address) if address else {}))

    is_one_machine = ranks_here() == size
    # NCCL may hold the main thread for ever: there the process is ended at once (a run folder outlives that).
    lifeline = open_lifeline(
        rank, size, "" if is_one_machine else os.environ["MASTER_ADDR"], share, grace_s=0.0 if is_gpu else GRACE_S
    )
    _joined.append(ranks)
    try:
        yield ranks
        lifeline.leave(is_finished=True)
    except BaseException as error:
        loss = _leave(lifeline, error)
        if loss is not None:
            raise loss from error
        raise
    finally:
        _joined.pop()
        dist.destroy_process_group()


def _leave(lifeline: Lifeline, error: BaseException) -> QRDistillError | None:
    """Leave the ranks after an error; the rank that is lost, if that is what the error is about."""
    try:
        if isinstance(error, RuntimeError):  # a collective may fail a moment before the lifeline tells why
            lifeline.wait_for_loss(GRACE_S)
        lifeline.leave(is_finished=False)
    except KeyboardInterrupt:
        if lifeline.loss is None:
            raise
        lifeline.leave(is_finished=False)  # the interrupt was the lifeline's own, and came when this thread was leaving already
    return lifeline.loss if isinstance(error, RuntimeError | KeyboardInterrupt) else None
