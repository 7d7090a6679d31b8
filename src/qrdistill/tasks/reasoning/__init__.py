"""Procedural questions on top of reasoning-gym: one file and one entry in `FAMILIES` per family."""

from qrdistill.tasks.reasoning import calendar_arithmetic, chain_sum, gcd, leap_year, leg_counting, simple_equations
from qrdistill.tasks.reasoning.family import Draft, Family, ReasoningTask

_MODULES = (leg_counting, chain_sum, simple_equations, gcd, calendar_arithmetic, leap_year)
FAMILIES: dict[str, Family] = {module.FAMILY.name: module.FAMILY for module in _MODULES}
"""Every family by name."""

__all__ = ["FAMILIES", "Draft", "Family", "ReasoningTask"]
