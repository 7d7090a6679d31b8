"""The embedded teacher: every style written from a task's own worked solution, with planted flaws as hidden truth."""

from qrdistill.teacher.worked_solution.teacher import WorkedSolutionTeacher
from qrdistill.teacher.worked_solution.writers import WRITERS

__all__ = ["WRITERS", "WorkedSolutionTeacher"]
