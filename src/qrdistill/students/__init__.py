"""Students: models with their own tokenizers, templates and adapters; packed rows; text alignment; decoding."""

from qrdistill.students.batch import PackedBatch, PathTokens, pack, tokenize_path
from qrdistill.students.load import Student, load_student

__all__ = ["PackedBatch", "PathTokens", "Student", "load_student", "pack", "tokenize_path"]
