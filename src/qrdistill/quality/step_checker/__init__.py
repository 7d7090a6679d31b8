"""The judge that re-computes every arithmetic statement, fact and program of a path."""

from qrdistill.quality.step_checker.checker import StepChecker, check_text
from qrdistill.quality.step_checker.finding import Finding

__all__ = ["Finding", "StepChecker", "check_text"]
