"""Published data sets: one small file each, one entry in :data:`DATASETS` each."""

from qrdistill.tasks.datasets.registry import DATASETS
from qrdistill.tasks.datasets.task import DatasetTask

__all__ = ["DATASETS", "DatasetTask"]
