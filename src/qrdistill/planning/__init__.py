"""Before a recipe runs: what stands in its way, what it would do, what that would cost."""

from qrdistill.planning.pilot import Pilot, run_pilot
from qrdistill.planning.plan import Plan, plan
from qrdistill.planning.problems import check_names, problems

__all__ = ["Pilot", "Plan", "check_names", "plan", "problems", "run_pilot"]
