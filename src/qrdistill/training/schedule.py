"""Learning rates over a training: linear warm-up, then a cosine."""

from __future__ import annotations

import math

from qrdistill.config import TrainingConfig


def token_learning_rate_factor(progress: float, step: int, training: TrainingConfig) -> float:
    """The schedule of `learning_rate_factor` over a student's token budget, of which the share `progress` is used at `step`."""
    mean_share = progress / step if step and progress else 0.01  # of a step; how many there will be is not known
    if progress < training.warmup_frac:
        return min((progress + mean_share) / training.warmup_frac, 1.0)
    done = (progress - training.warmup_frac) / max(1 - training.warmup_frac, 1e-9)
    return _cosine(min(done, 1.0), training)


def learning_rate_factor(step: int, num_steps: int, training: TrainingConfig) -> float:
    """Linear warm-up to 1, then a cosine down to `final_lr_frac`."""
    warmup = max(round(training.warmup_frac * num_steps), 1)
    if step < warmup:
        return (step + 1) / warmup
    return _cosine((step - warmup) / max(num_steps - warmup, 1), training)


def _cosine(done: float, training: TrainingConfig) -> float:
    return training.final_lr_frac + (1 - training.final_lr_frac) * 0.5 * (1 + math.cos(math.pi * done))
