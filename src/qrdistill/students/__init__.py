"""Students: models with their own tokenizers, templates and adapters; packed rows; text alignment; decoding."""

from qrdistill.students.align import aligned_offsets, aligned_positions, shared_pieces
from qrdistill.students.batch import PackedBatch, PathTokens, pack, tokenize_path
from qrdistill.students.decode import Decoded, decode
from qrdistill.students.head import has_frozen_head, head_pass, is_plain_head, read_labels
from qrdistill.students.head_rows import rows_at_once
from qrdistill.students.load import load_student, pick_device
from qrdistill.students.reading import HeadPass, LabelReading, PieceRequest
from qrdistill.students.student import Student

__all__ = [
    "Decoded",
    "HeadPass",
    "LabelReading",
    "PackedBatch",
    "PathTokens",
    "PieceRequest",
    "Student",
    "aligned_offsets",
    "aligned_positions",
    "decode",
    "has_frozen_head",
    "head_pass",
    "is_plain_head",
    "load_student",
    "pack",
    "pick_device",
    "read_labels",
    "rows_at_once",
    "shared_pieces",
    "tokenize_path",
]
