"""Procedural questions on top of reasoning-gym: one file and one entry in `FAMILIES` per family."""

from qrdistill.tasks.reasoning import chain_sum, gcd, leg_counting, simple_equations
from qrdistill.tasks.reasoning.family import Draft, Family, ReasoningTask

FAMILIES: dict[str, Family] = {module.FAMILY.name: module.FAMILY for module in (leg_counting, chain_sum, simple_equations, gcd)}
"""Every family by name."""

__all__ = ["FAMILIES", "Draft", "Family", "ReasoningTask"]
