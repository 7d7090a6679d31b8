"""Where reasoning paths come from: styles, teachers, and the stage that asks them."""

from qrdistill.teacher.base import Reply, Teacher
from qrdistill.teacher.generate import generate_paths
from qrdistill.teacher.registry import TEACHERS
from qrdistill.teacher.templates import STYLES, Style

__all__ = ["STYLES", "TEACHERS", "Reply", "Style", "Teacher", "generate_paths"]
