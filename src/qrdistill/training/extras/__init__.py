"""Optional stages of the method: each a small file and one entry here, off unless a recipe lists it under `method.extras`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qrdistill.training.extras.base import Desk, Extra
from qrdistill.training.extras.own_samples import OwnSamples
from qrdistill.training.extras.pass_rate import PassRate
from qrdistill.training.extras.preference import Preference

EXTRAS: dict[str, Callable[[Any], Extra]] = {
    "own_samples": OwnSamples,
    "pass_rate": PassRate,
    "orpo": Preference,
    "dpo": Preference,
}
"""kind -> class built with its config."""


def make_extras(configs: Sequence[Any]) -> list[Extra]:
    """The optional stages a recipe lists, in its order."""
    return [EXTRAS[config.kind](config) for config in configs]


__all__ = ["EXTRAS", "Desk", "Extra", "make_extras"]
