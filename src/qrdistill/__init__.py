"""QR-Distill: teach a team of small language models from many reasoning paths of one black-box teacher.

Everything public is listed in ``__all__`` and loaded when first used, so ``import qrdistill`` is quick and never loads torch::

    import qrdistill as qr

    config = qr.load_recipe("recipes/quickstart.yaml", seed=1)
    run = qr.Run("runs/quickstart-1", config)
    paths = qr.generate_paths(run)
    kept = qr.filter_paths(run)
    students = qr.train(run)
    scores = qr.evaluate(run)
    qr.write_report([run])

Source: Lei et al., "Learning from Diverse Reasoning Paths with Routing and Collaboration", EMNLP 2025 (arXiv 2508.16861).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qrdistill.config import Config, load_recipe
    from qrdistill.errors import QRDistillError
    from qrdistill.evaluation.evaluate import evaluate, regrade
    from qrdistill.pipeline import run_pipeline
    from qrdistill.planning import plan
    from qrdistill.quality.filter import filter_paths
    from qrdistill.report import explain, write_report
    from qrdistill.store import Run
    from qrdistill.tasks import grade, load_tasks
    from qrdistill.teacher.generate import generate_paths
    from qrdistill.training.loop import train

__version__ = "0.1.0"

__all__ = [
    "Config",
    "QRDistillError",
    "Run",
    "evaluate",
    "explain",
    "filter_paths",
    "generate_paths",
    "grade",
    "load_recipe",
    "load_tasks",
    "plan",
    "regrade",
    "run_pipeline",
    "train",
    "write_report",
]

_HOMES = {
    "Config": "qrdistill.config",
    "QRDistillError": "qrdistill.errors",
    "Run": "qrdistill.store",
    "evaluate": "qrdistill.evaluation.evaluate",
    "explain": "qrdistill.report",
    "filter_paths": "qrdistill.quality.filter",
    "generate_paths": "qrdistill.teacher.generate",
    "grade": "qrdistill.tasks",
    "load_recipe": "qrdistill.config",
    "load_tasks": "qrdistill.tasks",
    "plan": "qrdistill.planning",
    "regrade": "qrdistill.evaluation.evaluate",
    "run_pipeline": "qrdistill.pipeline",
    "train": "qrdistill.training.loop",
    "write_report": "qrdistill.report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'qrdistill' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
