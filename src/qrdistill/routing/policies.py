"""Every policy by its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qrdistill.routing.fixed import AllPolicy, ByStylePolicy, RandomPolicy, ScorePolicy, SinglePathPolicy
from qrdistill.routing.learned import QRDistillPolicy
from qrdistill.routing.paper import PaperPolicy, ReleasedPolicy
from qrdistill.routing.policy import Policy, Setting
from qrdistill.routing.replay import FrozenPolicy, FrozenRouterPolicy

POLICIES: dict[str, Callable[..., Policy]] = {
    "all": AllPolicy,
    "random": RandomPolicy,
    "single_path": SinglePathPolicy,
    "by_style": ByStylePolicy,
    "score": ScorePolicy,
    "frozen": FrozenPolicy,
    "frozen_router": FrozenRouterPolicy,
    "paper": PaperPolicy,
    "released": ReleasedPolicy,
    "qrdistill": QRDistillPolicy,
}
"""kind -> class built with (config, setting)."""


def make_policy(config: Any, setting: Setting) -> Policy:
    """Build the policy a config asks for."""
    return POLICIES[config.kind](config, setting)
