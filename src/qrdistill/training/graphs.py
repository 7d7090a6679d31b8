"""How much of a step each student keeps for its backward pass, and what gives way when memory does not suffice.

A student keeps the graph of a whole step (the fastest), or reads its paths without one and, once the gradient of the hidden
states is known, reads row by row again, each with a graph that is used at once. The gradients are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

from qrdistill.errors import PausedError
from qrdistill.students import PathTokens

if TYPE_CHECKING:
    from qrdistill.training.forward import Forward

T = TypeVar("T")

ROW_TOKENS = {"cpu": 512, "cuda": 4096}
"""Tokens of a packed row: attention over a row is dense, so longer rows cost more on a CPU and less launch time on a GPU."""
_ADVICE = (
    "train on a machine with more memory or with fewer students at once, use LoRA instead of full fine-tuning, or lower "
    "training.questions_per_step; the same command goes on from the last checkpoint"
)


class GraphLimits:
    """Most tokens whose graph each student keeps at once.

    Args:
        names: of the students.
        row_tokens: of a packed row; where the graph of a whole step is not kept, it is that of a row at most.
        is_fixed: nothing gives way, because passes of sharded students are collectives: no rank can repeat one alone.

    Attributes:
        tokens_S: one number a student; 0: the whole step, however long it is.
    """

    def __init__(self, names: Sequence[str], row_tokens: int, *, is_fixed: bool = False) -> None:
        self._names, self._row_tokens, self._is_fixed = tuple(names), row_tokens, is_fixed
        self.tokens_S = [0] * len(self._names)

    def tighten(self, tokens_S: Sequence[int]) -> None:
        """Keep to these limits as well as to those there are (rows end where limits say, so rounding depends on them)."""
        self.tokens_S = [min(filter(None, pair), default=0) for pair in zip(self.tokens_S, tokens_S, strict=True)]

    def attempt(self, student: int, paths: Sequence[Sequence[PathTokens]], work: Callable[[int], T]) -> T:
        """``work(limit)``, and again with half the limit whenever memory runs out.

        Args:
            student: whose limit.
            paths: what it reads in this step; a path is never cut.
            work: does everything anew each time it is called.

        Raises:
            PausedError: memory runs out even with one path at a time.
        """
        while True:
            try:
                return work(self.tokens_S[student])
            except (MemoryError, RuntimeError) as error:
                if self._is_fixed or not is_out_of_memory(error):
                    raise
                self._halve(student, paths, error)
            give_back()

    def attempt_all(self, forwards: Sequence[Forward], work: Callable[[], T]) -> T:
        """``work()``, and again without any graph when memory runs out.

        Raises:
            PausedError: memory runs out even so.
        """
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if self._is_fixed or not is_out_of_memory(error):
                raise
            for student, forward in enumerate(forwards):
                if not self.tokens_S[student] and forward.is_learning:
                    self._halve(student, forward.paths, error)
                forward.let_go()
        give_back()
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise out_of_memory("the losses of the label tokens cannot be read", error) from error

    def _halve(self, student: int, paths: Sequence[Sequence[PathTokens]], error: BaseException) -> None:
        lengths = [path.num_tokens for group in paths for path in group]
        longest, now = max(lengths, default=0), self.tokens_S[student] or min(sum(lengths), 2 * self._row_tokens)
        if now <= longest:
            raise out_of_memory(f"student {self._names[student]!r} cannot read a single path of {longest} tokens", error)
        self.tokens_S[student] = max(now // 2, longest)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python found no memory (torch's CPU allocator says so in a RuntimeError)."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def memory_advice() -> Iterator[None]:
    """Memory that runs out where nothing can give way ends with advice, not with a traceback.

    Raises:
        PausedError: it has.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory("there is too little for the students, their gradients and the optimizer", error) from error


def out_of_memory(what: str, error: BaseException) -> PausedError:
    """The error that says what could not be done, and what to do."""
    return PausedError(f"memory ran out: {what} ({str(error).splitlines()[0] if str(error) else 'no memory'}); {_ADVICE}")


def give_back() -> None:
    """Return what a GPU's allocator holds in reserve."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
