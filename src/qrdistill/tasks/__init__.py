"""Questions: where they come from, how they are asked, how an answer is graded."""

from qrdistill.tasks.base import SolvableTask, Task
from qrdistill.tasks.registry import TASKS, load_tasks
from qrdistill.tasks.verify import Grade, grade, grade_response

__all__ = ["TASKS", "Grade", "SolvableTask", "Task", "grade", "grade_response", "load_tasks"]
