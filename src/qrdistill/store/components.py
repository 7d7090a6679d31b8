"""Versions of what a config names: tasks, teachers, judge. They belong to rooms above this one, which are asked by name.

A stage's fingerprint must hold them (a task whose questions change must be asked again), and the store must not import the
rooms that know them. So the store names one function, as an entry point does, and looks it up when it is needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from qrdistill.config import Config

PROVIDER = ("qrdistill.quality.versions", "component_versions")
"""Module and function: from a config to, per stage, the versions that its results depend on."""


def component_versions(config: Config) -> Mapping[str, Any]:
    """Per stage, what its results depend on besides the config."""
    module, name = PROVIDER
    versions: Mapping[str, Any] = getattr(importlib.import_module(module), name)(config)
    return versions
