"""What the memory planner says of a recipe before there is a training: from kept paths, or from paths like those to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qrdistill.config import Config, WorkedSolutionTeacherConfig
from qrdistill.errors import DataError, PausedError
from qrdistill.store import Run
from qrdistill.students import Student
from qrdistill.students.load import local_tokenizer, pick_device
from qrdistill.students.phantom import phantom
from qrdistill.tasks import load_tasks
from qrdistill.teacher.layout import make_request
from qrdistill.teacher.styles import styles_of
from qrdistill.teacher.worked_solution import WorkedSolutionTeacher
from qrdistill.training.largest import PathSize, largest_steps, sizes
from qrdistill.training.memory import MemoryPlan, available_bytes, graph_limits, plan_memory
from qrdistill.training.pool import load_pool

EMBEDDED = "paths like those the embedded teacher writes"
_SAMPLED_QUESTIONS = 12
_ASSUMED_BYTES = 900
"""Of a path nobody has written yet: about 300 tokens."""
_BYTES_PER_TOKEN = 3
"""Of a tokenizer that is not on this machine; numbers and short words make tokens short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What training takes, and whether it fits."""

    memory: MemoryPlan
    available: int | None
    """Bytes training may take; None where the system does not say."""
    graph_tokens: tuple[int, ...]
    """Tokens whose graph each student may keep at once, 0: a whole step's."""
    basis: str
    """Which paths the prediction rests on."""
    problem: str = ""
    """Why it does not."""


def room_for(config: Config, run: Run | None) -> Room | None:
    """The prediction for a recipe; None where a student's config.json is not on this machine, or ranks hold pieces of students.

    Raises:
        ConfigError: wrong target modules, no GPU.
        DataError: a student's folder or tokenizer that cannot be used, or paths longer than a student may read.
    """
    if config.runtime.sharding != "none":
        return None
    device = pick_device(config.runtime.device)
    phantoms = [phantom(student, device=device, tokenizer=local_tokenizer(student)) for student in config.students]
    known = [each for each in phantoms if each is not None]
    if len(known) < len(phantoms):
        return None
    students = [each.student for each in known]
    is_readable = all(each.has_tokenizer for each in known)
    if run is not None and is_readable and run.is_done("filter"):
        questions, basis = [sizes(question) for question in load_pool(run, students)[0]], "its kept paths"
    else:
        counters = [each.student if each.has_tokenizer else None for each in known]
        questions, basis = _sampled(config, counters)
        _insist_on_windows(questions, counters, basis)
    memory = plan_memory(config, known, [reading for _, reading in largest_steps(questions, config)], device=device)
    available = available_bytes(config, device)
    try:
        limits, problem = tuple(graph_limits(memory, available)), ""
    except PausedError as error:
        limits, problem = tuple(one.path_tokens for one in memory.students), str(error)
    return Room(memory=memory, available=available, graph_tokens=limits, basis=basis, problem=problem)


def _sampled(config: Config, students: Sequence[Student | None]) -> tuple[list[list[PathSize]], str]:
    """Sizes of a few questions' paths: the embedded teacher's own, or of an assumed length."""
    tasks = load_tasks(config)
    teacher = next((t for t in config.generate.teachers if isinstance(t, WorkedSolutionTeacherConfig)), None)
    writer = WorkedSolutionTeacher(teacher, tasks=tasks, seed=config.seed) if teacher else None
    styles = [style for name, style in styles_of(config.generate).items() if name in config.generate.styles]
    number = min(-(-_SAMPLED_QUESTIONS // len(tasks)), config.questions.num_train)
    found: list[list[PathSize]] = []
    for task in tasks.values():
        for question in task.questions("train", number):
            prompt = task.prompt(question)
            paths = []
            for style in styles:
                text = "x" * _ASSUMED_BYTES
                if writer is not None:
                    request = make_request(question, writer, style, 0, writer.sampling(style.name))
                    reply = writer.reply(request, question)
                    text = reply.path.text if reply.path else ""
                paths.append(_size(style.name, prompt, text, students))
            found.append(paths * config.generate.samples * len(config.generate.teachers))
    basis = EMBEDDED if writer else f"paths of about {_ASSUMED_BYTES} bytes (assumed)"
    return found, basis


def _insist_on_windows(questions: Sequence[Sequence[PathSize]], students: Sequence[Student | None], basis: str) -> None:
    """Say before anything is paid for that paths would not fit; an assumed length says nothing."""
    if basis != EMBEDDED:
        return
    for number, student in enumerate(students):
        longest = max((p.prompt_tokens[number] + p.response_tokens[number] for q in questions for p in q), default=0)
        if student is not None and longest > student.max_length:
            raise DataError(
                f"student {student.name!r} may read {student.max_length} tokens, and {basis} have up to {longest} with their "
                "prompt; raise its max_length, take a student with a longer window, or leave long styles out of generate.styles "
                "(a path is never cut: its answer would be lost)"
            )


def _size(style: str, prompt: str, text: str, students: Sequence[Student | None]) -> PathSize:
    def count(of: Student | None, is_prompt: bool) -> int:
        if of is None:
            return len((prompt if is_prompt else text).encode()) // _BYTES_PER_TOKEN + 1
        return len(of.template.prompt_ids(prompt)) if is_prompt else len(of.template.response_ids(text)[0])

    return PathSize(
        style=style,
        prompt=prompt,
        prompt_tokens=tuple(count(student, True) for student in students),
        response_tokens=tuple(count(student, False) for student in students),
    )
