"""Optional stages of the method, each off unless a recipe lists it under `method.extras` (equations and sources: docs/method.md).

Every kind here is one class in `qrdistill.training.extras` and one entry in its registry.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

OWN_STYLE = "own"
"""Style of a student's own answer that has entered the pool."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class _Sampling(_Model):
    """How students answer training questions beside their training."""

    samples: int = Field(2, ge=1, le=64)
    """Answers per question and student in a round."""
    questions: int = Field(0, ge=0)
    """Training questions per round, drawn anew each time; 0: all."""
    temperature: float = Field(0.8, gt=0, le=5)
    max_new_tokens: int = Field(160, ge=1)
    every_steps: int = Field(0, ge=0)
    """A round every so many steps; 0: at the start of every epoch."""


class OwnSamplesConfig(_Sampling):
    """Students' own right answers enter the pool, for all students, from the second round on (the first is before step 0)."""

    kind: Literal["own_samples"] = "own_samples"
    keep: int = Field(1, ge=1, le=64)
    """Most answers of one student a question has in the pool; a new round's take the place of older ones."""
    quality: float = Field(1.0, gt=0, le=1)
    """Quality q of such a path."""


class PassRateConfig(_Sampling):
    """Questions weigh p (1 - p) + floor in a student's loss, p its share of right answers in the last round."""

    kind: Literal["pass_rate"] = "pass_rate"
    samples: int = Field(4, ge=1, le=64)
    floor: float = Field(0.05, gt=0, le=1)
    """Weight of a question that is always or never answered right; weights then have mean 1 over the questions."""


class _Preference(_Model):
    """A last phase in which right paths are set against wrong ones of the same question."""

    token_frac: float = Field(0.2, gt=0, lt=1)
    """Share of `training.max_label_tokens` that is kept for this phase; without such a budget it is one pass over the pairs."""
    learning_rate_frac: float = Field(0.1, gt=0, le=1)
    """Of the students' peak learning rates, constant in this phase."""


class OrpoConfig(_Preference):
    """A final epoch with the odds-ratio loss: nll(right) - weight log sigmoid(log odds(right) - log odds(wrong))."""

    kind: Literal["orpo"] = "orpo"
    weight: float = Field(0.1, gt=0)
    """Weight of the odds ratio beside the right path's loss per token."""


class DpoConfig(_Preference):
    """A final epoch with direct preferences: -log sigmoid(beta (gain of the right path - gain of the wrong one))."""

    kind: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0)
    """Weight of a gain, the change of a path's log probability since the phase began."""


ExtraConfig = Annotated[OwnSamplesConfig | PassRateConfig | OrpoConfig | DpoConfig, Field(discriminator="kind")]
PREFERENCES = ("orpo", "dpo")
"""Kinds that need pairs, of which a recipe may list one."""
