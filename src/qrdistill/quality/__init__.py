"""Which paths are good enough to learn from: answers, judges, and the stage that decides."""

from qrdistill.quality.audit import FlawAudit, audit_filter
from qrdistill.quality.filter import filter_paths
from qrdistill.quality.judge import Judge
from qrdistill.quality.registry import JUDGES
from qrdistill.quality.step_checker import StepChecker

__all__ = ["JUDGES", "FlawAudit", "Judge", "StepChecker", "audit_filter", "filter_paths"]
