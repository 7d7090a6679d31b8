"""Before the first step: does the training fit into memory and onto the disk, and in how large pieces does it work?"""

from __future__ import annotations

import torch

from qrdistill.errors import StorageError
from qrdistill.machine import free_disk_bytes
from qrdistill.progress import Progress
from qrdistill.students.phantom import phantom
from qrdistill.training.largest import largest_steps, sizes
from qrdistill.training.memory import available_bytes, graph_limits, plan_memory
from qrdistill.training.trainer import Trainer

_PLENTY = 3
"""A machine with so many times what a generous estimate says needs no planning."""
_RUNTIME_BYTES = 1_000_000_000


def fit(trainer: Trainer, progress: Progress) -> None:
    """Insist on disk and memory for the whole training, and choose how much of a step each student keeps at once.

    Raises:
        StorageError: checkpoints and trained students do not fit onto the disk.
        PausedError: a step does not fit into memory, even with one path at a time.
    """
    if trainer.team.ranks.is_first:
        _insist_on_disk(trainer)
    if trainer.team.is_sharded:
        return
    device = trainer.team.students[0].device
    available = available_bytes(trainer.config, device)
    if available is None or _PLENTY * _generous_estimate(trainer) < available:
        return
    phantoms = [phantom(student.config, device=device) for student in trainer.team.students]
    known = [each for each in phantoms if each is not None]
    steps = largest_steps([sizes(question) for question in trainer.train_pool], trainer.config)
    plan = plan_memory(trainer.config, known, [reading for _, reading in steps], device=device)
    trainer.team.limits.tokens_S = graph_limits(plan, available)
    if any(trainer.team.limits.tokens_S):
        names = [student.name for student in trainer.team.students]
        limits = zip(names, trainer.team.limits.tokens_S, strict=True)
        progress.note(
            f"memory: {plan.peaks[0] / 1e9:.1f} GB for whole steps, {available / 1e9:.1f} GB are there; reading in pieces of "
            + ", ".join(f"{limit} tokens ({name})" for name, limit in limits if limit)
            + ", which takes longer"
        )


def _generous_estimate(trainer: Trainer) -> int:
    """Weights and moments, and as if every path of the longest questions were read with many activations a token."""
    total = _RUNTIME_BYTES if trainer.team.students[0].device.type == "cpu" else 0
    longest = sorted((question.paths for question in trainer.train_pool), key=lambda paths: -_tokens(paths))
    tokens = sum(_tokens(paths) for paths in longest[: trainer.config.training.questions_per_step])
    for student in trainer.team.students:
        config = student.causal_lm.config
        wide = 16 * student.width + 6 * int(getattr(config, "intermediate_size", 4 * student.width))
        total += sum(weight.numel() * weight.element_size() for weight in student.model.parameters())
        total += sum(12 * weight.numel() for _, weight in student.trainable())
        total += 4 * tokens * wide * int(config.num_hidden_layers)
    return total


def _tokens(paths: object) -> int:
    return sum(max(tokens.num_tokens for tokens in path.tokens) for path in paths)  # type: ignore[attr-defined]


def _insist_on_disk(trainer: Trainer) -> None:
    """Room for every checkpoint that is kept, the one that is being written, and the trained students."""
    trained = sum(_bytes(weight) for student in trainer.team.students for _, weight in student.trainable())
    checkpoint = 3 * trained + sum(_bytes(value) for value in trainer.method.policy.state().values())
    folder = trainer.run.checkpoints
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    validation = trainer.config.training.validation
    num_checkpoints = trainer.config.training.keep_checkpoints + 1 + bool(validation.every_steps)
    needed = num_checkpoints * checkpoint + trained - there
    free = free_disk_bytes(trainer.run.folder)
    if needed > free:
        raise StorageError(
            f"{trainer.run.folder} has {free / 1e9:.2f} GB free, and the checkpoints and trained students take up to "
            f"{needed / 1e9:.2f} GB more; free disk space or lower training.keep_checkpoints, then run the same command again"
        )


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
