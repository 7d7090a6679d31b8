"""The memory planner: what a training takes at its peak, student by student, and how much of a step's graph the machine can hold.

::

    fixed       runtime, tokenizers, router's encoder, weights (a base that students share counts once), adapters, moments
    reading     + graphs of all students + logits of the label rows each thread looks at
    learning    + graphs + what the gradient of the hidden states takes, until gradients stand in the graphs' place
    stepping    + gradients + what AdamW takes for one student

The peak is the largest of the last three, each with `fixed`. On a CPU it is compared with the process's peak resident memory, on
a GPU with what torch allocates. Graphs and logits are counted by running the students' code on tensors without numbers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from qrdistill.config import Config, LoraConfig, PeerConfig, TinySource
from qrdistill.errors import PausedError
from qrdistill.machine import free_memory_bytes, held_memory_bytes
from qrdistill.students.activations import choose_activations
from qrdistill.students.phantom import Phantom
from qrdistill.training.footprint import Footprint, Reading, footprint
from qrdistill.training.graphs import ROW_TOKENS

RUNTIME_BYTES = {"cpu": 560_000_000, "cuda": 0}
"""Python, torch and libraries before a student is loaded (CPU build). 430 to 560 MB are resident in a process that only trains;
this depends on how much of the libraries' files the system holds in its page cache."""
_TOKENIZER_BYTES = 1_300
"""Per entry of a vocabulary (0.9 kB measured for SmolLM2's 49k, 1.4 kB for Gemma's 262k)."""
_ENCODER_BYTES = {"package": 160_000_000, "hub": 600_000_000, "ngram": 10_000_000}
"""The router's encoder: measured for the packaged one, roberta-base's size for one from the hub."""
_MARGIN = 1.05
"""A way of working is chosen only if so much more than its prediction is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentMemory:
    """One student's share, in bytes."""

    name: str
    weights: int
    """Without adapters; 0 where another student brought the same base."""
    trained: int
    """Adapters (where the weights themselves are not trained), gradients and the optimizer's moments."""
    graph: int
    """Kept between the forward and the backward pass of its largest step."""
    step_tokens: int
    """Tokens it reads in that step."""
    path_tokens: int
    """Tokens of the longest path there, with its prompt: less than this cannot be read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """What a training will take at its peak."""

    device: str
    students: tuple[StudentMemory, ...]
    other: int
    """Runtime, tokenizers and the router's encoder."""
    peaks: tuple[int, ...]
    """With the graph of the whole step at once, of half of it, of a quarter, ... and last of one path at a time."""
    one_at_a_time: int
    """If only one student were in memory at a time and peers were read from disk: the trainer cannot work like that."""


def plan_memory(config: Config, phantoms: Sequence[Phantom], readings: Sequence[Reading], *, device: torch.device) -> MemoryPlan:
    """Predict the peak of a training.

    Args:
        config: the recipe.
        phantoms: its students, without numbers.
        readings: what each reads in its largest step.
        device: where it will run.
    """
    for one in phantoms:
        choose_activations(one.student, config.runtime.activations)
    bases = _bases(phantoms)
    steps = [_count(config, one, reading, device) for one, reading in zip(phantoms, readings, strict=True)]
    students = tuple(
        StudentMemory(
            name=one.student.name,
            weights=base,
            trained=_adapter(one) + 3 * one.trained_bytes,
            graph=step.graph,
            step_tokens=reading.num_tokens,
            path_tokens=reading.longest,
        )
        for one, base, step, reading in zip(phantoms, bases, steps, readings, strict=True)
    )
    other = RUNTIME_BYTES[device.type] + (0 if device.type == "cuda" else _texts(config, phantoms))
    threads = min(len(phantoms), config.runtime.threads or len(os.sched_getaffinity(0)))
    peaks: list[int] = []
    share = 1.0
    while True:
        shares = [max(share, one.path_tokens / max(one.step_tokens, 1)) for one in students]
        parts = [step.part(min(part, 1.0)) for step, part in zip(steps, shares, strict=True)]
        peaks.append(other + _peak(phantoms, parts, threads))
        if all(part > share for part in shares):
            break
        share /= 2
    alone = [_peak([one], [part], 1) for one, part in zip(phantoms, parts, strict=True)]
    return MemoryPlan(
        device=device.type, students=students, other=other, peaks=tuple(peaks), one_at_a_time=other + max(alone, default=0)
    )


def _bases(phantoms: Sequence[Phantom]) -> list[int]:
    """Bytes each student's base adds: none where another one brought it."""
    keys = [one.base_key for one in phantoms]
    is_new = [not key or key not in keys[:index] for index, key in enumerate(keys)]
    return [one.base_bytes if new else 0 for one, new in zip(phantoms, is_new, strict=True)]


def _adapter(one: Phantom) -> int:
    return one.trained_bytes if isinstance(one.student.config.adapter, LoraConfig) else 0


def _texts(config: Config, phantoms: Sequence[Phantom]) -> int:
    """Tokenizers and the router's encoder."""
    words = sum(one.student.vocab_size for one in phantoms if not isinstance(one.student.config.source, TinySource))
    encoder = getattr(config.method.policy, "encoder", None)
    return words * _TOKENIZER_BYTES + (_ENCODER_BYTES[encoder.kind] if encoder else 0)


def _count(config: Config, one: Phantom, reading: Reading, device: torch.device) -> Footprint:
    peers = config.method.peers
    is_met = len(config.students) > 1 and peers.weight > 0 and isinstance(peers, PeerConfig)
    return footprint(
        one,
        reading,
        row_tokens=ROW_TOKENS[device.type],
        peer_rows=peers.max_positions if is_met else 0,
        support=peers.support if isinstance(peers, PeerConfig) else 0,
        device=device.type,
    )


def _peak(phantoms: Sequence[Phantom], steps: Sequence[Footprint], threads: int) -> int:
    """The largest of the three phases."""
    fixed = sum(_bases(phantoms)) + sum(_adapter(one) + 2 * one.trained_bytes for one in phantoms)
    graphs = sum(step.graph for step in steps)
    gradients = sum(one.trained_bytes for one in phantoms)
    beside = sorted(max(step.learn, step.backward - step.graph) for step in steps)
    reading = graphs + threads * max(step.look for step in steps)
    learning = graphs + sum(beside[-threads:])
    stepping = gradients + max(one.trained_bytes for one in phantoms)
    return fixed + max(reading, learning, stepping)


# --- fitting the machine -----------------------------------------------------------------------------------------------------


def available_bytes(config: Config, device: torch.device) -> int | None:
    """Memory a training may use in all: the recipe's limit, else what is free and what this process holds already."""
    if config.runtime.memory_gb:
        return round(config.runtime.memory_gb * 1e9)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    free = free_memory_bytes()
    return None if free is None else free // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) + held_memory_bytes()


def graph_limits(plan: MemoryPlan, available: int | None) -> list[int]:
    """How many tokens' graph each student may keep at once (0: a whole step's) so that the training fits.

    Raises:
        PausedError: it does not fit even with one path at a time.
    """
    for halvings, peak in enumerate(plan.peaks):
        is_last = halvings == len(plan.peaks) - 1
        if available is None or peak * (1.0 if is_last else _MARGIN) <= available:
            return [max(one.step_tokens >> halvings, one.path_tokens) if halvings else 0 for one in plan.students]
    raise PausedError(too_little_memory(plan, available or 0))


def too_little_memory(plan: MemoryPlan, available: int) -> str:
    """One sentence: what is needed, what is there, what to do."""
    heaviest = max(plan.students, key=lambda one: one.weights + one.trained + one.graph)
    most = heaviest.weights + heaviest.trained
    return (
        f"training needs {plan.peaks[-1] / 1e9:.1f} GB of memory even with one path at a time, and {available / 1e9:.1f} GB are "
        f"free (student {heaviest.name!r} alone has {most / 1e9:.1f} GB of weights, gradients and moments); free memory, train "
        "fewer students at once or smaller ones, or use LoRA instead of full fine-tuning, then run the same command again"
    )
