"""What a recipe would do: questions, paths, calls, students, sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qrdistill.config import Config, FolderSource, LoraConfig, PackageSource, StudentConfig, TinySource
from qrdistill.planning.forecast import Forecast, bounds
from qrdistill.planning.problems import problems

_PACKAGED_WEIGHTS = {"smollm2-135m-instruct": 134_515_008, "gemma3-270m": 268_098_176}
_RUNTIME_BYTES = 530_000_000
"""What Python, torch, transformers and the sentence encoder take before any weight is loaded (526 MB measured, CPU build)."""
_SAMPLED_PROMPTS = 4
"""Prompts whose length stands for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentPlan:
    """One student: where it comes from and how many weights it has (0: not known before it is downloaded)."""

    name: str
    source: str
    num_weights: int
    adapter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a recipe would do. `problems` names everything that stands in its way, one sentence each.

    `memory_bytes` is weights, gradients and optimizer states plus the runtime: a lower bound, activations come on top.
    `disk_bytes` is adapters, checkpoints and the cache of converted weights.
    """

    name: str
    seed: int
    questions: dict[str, dict[str, int]]
    num_paths: int
    calls: dict[str, int]
    students: tuple[StudentPlan, ...]
    policy: str
    memory_bytes: int
    disk_bytes: int
    problems: tuple[str, ...]
    exit_code: int
    forecasts: tuple[Forecast, ...] = ()
    """Calls, tokens and money of each paid teacher and judge and, last, of all together: bounds, unless a pilot measured them."""


def plan(config: Config) -> Plan:
    """Lay out what a recipe would do. Writes nothing, calls nobody and loads no model."""
    questions = config.questions
    splits = {"train": questions.num_train, "validation": questions.num_validation, "test": questions.num_test}
    num_asked = (questions.num_train + questions.num_validation) * len(questions.tasks)
    per_teacher = num_asked * len(config.generate.styles) * config.generate.samples
    students = tuple(
        StudentPlan(
            name=student.name,
            source=_source_name(student),
            num_weights=_num_weights(student),
            adapter=student.adapter.kind,
        )
        for student in config.students
    )
    errors = problems(config)
    return Plan(
        name=config.name,
        seed=config.seed,
        questions={task.name: dict(splits) for task in questions.tasks},
        num_paths=per_teacher * len(config.generate.teachers),
        calls={teacher.name: per_teacher for teacher in config.generate.teachers},
        students=students,
        policy=config.method.policy.kind,
        memory_bytes=_RUNTIME_BYTES + sum(_memory(student) for student in config.students),
        disk_bytes=sum(_disk(student, config.training.keep_checkpoints) for student in config.students),
        problems=tuple(str(error) for error in errors),
        exit_code=errors[0].exit_code if errors else 0,
        forecasts=() if errors else _forecasts(config),
    )


def _forecasts(config: Config) -> tuple[Forecast, ...]:
    from qrdistill.tasks import load_tasks
    from qrdistill.teacher.client.checks import paid_endpoints

    if not paid_endpoints(config):
        return ()
    tasks = load_tasks(config)
    each = -(-_SAMPLED_PROMPTS // len(tasks))
    drawn = [task.questions("train", min(each, config.questions.num_train)) for task in tasks.values()]
    return bounds(config, [question for questions in drawn for question in questions])


# --- sizes -------------------------------------------------------------------------------------------------------------------


def _source_name(student: StudentConfig) -> str:
    source = student.source
    if isinstance(source, TinySource):
        return f"tiny {source.architecture} (random weights)"
    return source.path if isinstance(source, FolderSource) else source.id


def _num_weights(student: StudentConfig) -> int:
    source = student.source
    if isinstance(source, PackageSource):
        return _PACKAGED_WEIGHTS[source.id]
    if isinstance(source, FolderSource) and Path(source.path).is_dir():
        return sum(path.stat().st_size for path in Path(source.path).glob("*.safetensors")) // 4
    return 0


def _num_trained(student: StudentConfig) -> int:
    """Trained weights: all, none, or for LoRA about 0.24% of the weights per rank (all linear layers of a 135M model)."""
    if isinstance(student.adapter, LoraConfig):
        return int(_num_weights(student) * min(1.0, 0.0024 * student.adapter.rank))
    return _num_weights(student) if student.adapter.kind == "full" else 0


def _memory(student: StudentConfig) -> int:
    """Weights in float32 plus gradient and two optimizer moments of what is trained."""
    return 4 * _num_weights(student) + 12 * _num_trained(student)


def _disk(student: StudentConfig, num_checkpoints: int) -> int:
    """The final adapter, checkpoints with two optimizer moments each, and the cache of a packaged model."""
    converted = 4 * _num_weights(student) if isinstance(student.source, PackageSource) else 0
    return converted + 4 * _num_trained(student) * (1 + 3 * num_checkpoints)
