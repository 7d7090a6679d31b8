"""Which of a training's steps reads most, student by student: gates are drawn as a policy is likely to draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from qrdistill.config import Config
from qrdistill.training.footprint import Reading
from qrdistill.training.pool import PoolQuestion, epoch_order

_MIN_STEPS, _MAX_STEPS = 100, 5_000
"""Steps that are drawn: a short training several times over, since the one to come may draw more than another; more than that
would hardly find a larger one."""


@dataclass(frozen=True, slots=True)
class PathSize:
    """Tokens of one path for each student [S]; paths of one question with the same `prompt` share its tokens."""

    style: str
    prompt: str
    prompt_tokens: tuple[int, ...]
    response_tokens: tuple[int, ...]


def sizes(question: PoolQuestion) -> list[PathSize]:
    """The sizes of a question's paths."""
    return [
        PathSize(
            style=path.path.style,
            prompt=repr(path.tokens[0].prompt_ids),
            prompt_tokens=tuple(len(tokens.prompt_ids) for tokens in path.tokens),
            response_tokens=tuple(len(tokens.response_ids) for tokens in path.tokens),
        )
        for path in question.paths
    ]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One step as it may come: its questions, and which of their paths (in order) each student reads."""

    questions: tuple[int, ...]
    is_read: tuple[tuple[bool, ...], ...]


def largest_steps(questions: Sequence[Sequence[PathSize]], config: Config) -> list[tuple[Drawn, Reading]]:
    """For each student the step in which it may read most, and what it reads there."""
    random = Random(config.seed)
    each = config.training.questions_per_step
    found: list[tuple[Drawn, Reading] | None] = [None] * len(config.students)
    per_epoch = -(-len(questions) // each)
    epochs = min(config.training.epochs, -(-_MAX_STEPS // per_epoch))
    for epoch in range(max(epochs, -(-_MIN_STEPS // per_epoch))):
        order = epoch_order(config.seed, epoch % epochs, len(questions))
        for start in range(0, min(len(order), _MAX_STEPS * each), each):
            chosen = tuple(order[start : start + each])
            paths = [path for index in chosen for path in questions[index]]
            drawn = Drawn(chosen, tuple(_draw(paths, [len(questions[index]) for index in chosen], config, random)))
            for student, is_read in enumerate(drawn.is_read):
                reading = _reading([path for path, is_one in zip(paths, is_read, strict=True) if is_one], student)
                best = found[student]
                if best is None or reading.num_tokens > best[1].num_tokens:
                    found[student] = (drawn, reading)
    return [one for one in found if one is not None]


def _draw(paths: Sequence[PathSize], counts: Sequence[int], config: Config, random: Random) -> list[tuple[bool, ...]]:
    """Which paths each student reads: those routed to it, and those that peers meet on."""
    of_path = [count for count in counts for _ in range(count)]
    routed = [
        [random.random() < _prob(config, path.style, student.name, count) for path, count in zip(paths, of_path, strict=True)]
        for student in config.students
    ]
    peers = config.method.peers
    shared: set[int] = set()
    if len(routed) > 1 and peers.weight > 0:
        anyone = [index for index, column in enumerate(zip(*routed, strict=True)) if any(column)]
        shared = set(random.sample(anyone, min(peers.max_paths, len(anyone))))
    return [tuple(is_one or index in shared for index, is_one in enumerate(row)) for row in routed]


def _prob(config: Config, style: str, student: str, num_paths: int) -> float:
    """How likely a path is read by a student, as far as the policy's settings tell; 1 where they do not."""
    policy, utility = config.method.policy, getattr(config.method.policy, "utility", None)
    if utility is not None and utility.kind == "rho":
        return 1.0  # its reference students are taught whole questions
    if policy.kind == "single_path":
        return float(style == policy.style)
    if policy.kind == "by_style":
        return float(student in policy.table.get(style, ()))
    if policy.kind == "released":
        return 1.0 - policy.drop_frac
    budget = getattr(policy, "budget", None)
    return min(1.0, budget / num_paths) if budget is not None else 1.0


def _reading(paths: Sequence[PathSize], student: int) -> Reading:
    by_prompt: dict[str, list[PathSize]] = {}
    for path in paths:
        by_prompt.setdefault(path.prompt, []).append(path)
    return Reading(
        prompts=tuple(group[0].prompt_tokens[student] for group in by_prompt.values()),
        responses=tuple(tuple(path.response_tokens[student] for path in group) for group in by_prompt.values()),
    )
