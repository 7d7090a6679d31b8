"""Students: models with their own tokenizers, templates and adapters; packed rows; text alignment; decoding."""

from qrdistill.students.align import aligned_offsets, aligned_positions, shared_pieces
from qrdistill.students.batch import PackedBatch, PathTokens, pack, tokenize_path
from qrdistill.students.decode import Decoded, decode
from qrdistill.students.head import LabelReading, has_frozen_head, read_labels, rows_at_once
from qrdistill.students.load import load_student
from qrdistill.students.student import Student

__all__ = [
    "Decoded",
    "LabelReading",
    "PackedBatch",
    "PathTokens",
    "Student",
    "aligned_offsets",
    "aligned_positions",
    "decode",
    "has_frozen_head",
    "load_student",
    "pack",
    "read_labels",
    "rows_at_once",
    "shared_pieces",
    "tokenize_path",
]
