"""How large students are, as far as files say without loading anything."""

from __future__ import annotations

import json
import math
from pathlib import Path

from qrdistill.config import Config, FolderSource, LoraConfig, PackageSource, StudentConfig, TinySource

_PACKAGED_WEIGHTS = {"smollm2-135m-instruct": 134_515_008, "gemma3-270m": 268_098_176}
_MOST_HEADER_BYTES = 100_000_000


def source_name(student: StudentConfig) -> str:
    """Where a student comes from, for people."""
    source = student.source
    if isinstance(source, TinySource):
        return f"tiny {source.architecture} (random weights)"
    return source.path if isinstance(source, FolderSource) else source.id


def num_weights(student: StudentConfig) -> int:
    """Weights of a student's base; 0 where no file on this machine says."""
    source = student.source
    if isinstance(source, PackageSource):
        return _PACKAGED_WEIGHTS[source.id]
    if isinstance(source, FolderSource) and Path(source.path).is_dir():
        return sum(_stored_weights(path) for path in Path(source.path).glob("*.safetensors"))
    return 0


def _stored_weights(path: Path) -> int:
    """Numbers in a safetensors file, from its header (8 bytes of length, then JSON); 0 where it cannot be read."""
    try:
        with path.open("rb") as handle:
            header = json.loads(handle.read(min(int.from_bytes(handle.read(8), "little"), _MOST_HEADER_BYTES)))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return 0


def trained_weights(student: StudentConfig) -> int:
    """Trained weights: all, none, or for LoRA about 0.24% of the weights per rank (all linear layers of a 135M model)."""
    if isinstance(student.adapter, LoraConfig):
        return int(num_weights(student) * min(1.0, 0.0024 * student.adapter.rank))
    return num_weights(student) if student.adapter.kind == "full" else 0


def disk_bytes(config: Config) -> int:
    """Trained students, checkpoints with two moments each (one more than are kept while one is written), converted packages."""
    num_checkpoints = config.training.keep_checkpoints + 1 + bool(config.training.validation.every_steps)
    trained = sum(4 * trained_weights(student) * (1 + 3 * num_checkpoints) for student in config.students)
    packages = {
        student.source.id: 4 * num_weights(student) for student in config.students if isinstance(student.source, PackageSource)
    }
    return trained + sum(packages.values())
