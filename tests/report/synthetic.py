"""A run folder made by hand: records of every sort written straight into a ledger, so that the report can be tested alone."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qrdistill.config import Config, validate
from qrdistill.store import Run, write_text
from qrdistill.types import (
    AnswerVerdict,
    Attempt,
    FilterDecision,
    JudgeVerdict,
    PathRequest,
    PlantedFlaw,
    Prediction,
    Question,
    ReasoningPath,
    Record,
    Route,
    Score,
)

STYLES = ("vanilla", "cot", "tot", "program", "backward", "fact")
STUDENTS = ("smollm2", "gemma3")
TASKS = ("leg_counting", "chain_sum")
TASTE = {("smollm2", "fact"): 0.85, ("smollm2", "vanilla"): 0.1, ("gemma3", "program"): 0.8, ("gemma3", "tot"): 0.2}
_letters = random.Random(0)
WORDS = ["".join(_letters.choices("etaoinshrdlcumwfgypbvk", k=_letters.randint(2, 9))) for _ in range(8_000)]
ANIMALS = ("cats", "spiders", "ducks", "crabs", "horses", "ants")


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    train: int = 12
    validation: int = 2
    test: int = 20
    steps: int = 30
    epochs: int = 2
    seed: int = 0
    words: int = 0
    """Random words added to each path, to make its text as long and as hard to pack as real reasoning."""


def config(name: str = "toy", seed: int = 0, **changes: object) -> Config:
    students = [{"name": student, "source": {"kind": "tiny"}} for student in STUDENTS]
    tasks = [{"kind": "reasoning", "name": task} for task in TASKS]
    return validate({"name": name, "seed": seed, "questions": {"tasks": tasks}, "students": students, **changes})


def build_run(folder: Path, size: Size | None = None, *, until: str = "evaluate", **changes: object) -> Run:
    """A run whose stages up to `until` are finished."""
    size = size or Size()
    run = Run(folder, config(seed=size.seed, **changes))
    stages = ("generate", "filter", "train", "evaluate")
    makers = (generated, filtered, trained, evaluated)
    with run.owned():
        for stage, make in zip(stages, makers, strict=True):
            run.begin(stage)
            number = run.ledger.add(make(size))
            if stage == "train":
                write_text(run.metrics, metrics_text(size))
            run.finish(stage, {"records": number})
            if stage == until:
                break
    return run


def questions(size: Size) -> Iterator[Question]:
    for task in TASKS:
        for split, number in (("train", size.train), ("validation", size.validation), ("test", size.test)):
            for index in range(number):
                rng = random.Random(f"{task}{split}{index}{size.seed}")
                a, b = rng.randint(2, 40), rng.randint(2, 40)
                text = (
                    f"A farmer keeps {a} {rng.choice(ANIMALS)} and {b} {rng.choice(ANIMALS)}. How many legs have they together?"
                    if task == "leg_counting"
                    else f"State the final answer to the following arithmetic problem: {a} + {b} - {rng.randint(1, 9)} = ?"
                )
                yield Question(
                    id=f"{task}-{split}-{index:05d}",
                    task=task,
                    split=split,
                    text=text,
                    kind="number",
                    gold=str(4 * (a + b)),
                    family=task,
                    level=str(1 + index % 3),
                )


def cells(size: Size) -> Iterator[tuple[Question, str, str, random.Random]]:
    """Question, style, path id and its own random numbers, for every cell of the grid."""
    for question in questions(size):
        if question.split == "test":
            continue
        for style in STYLES:
            rng = random.Random(f"{question.id}{style}{size.seed}")
            yield question, style, f"{rng.getrandbits(64):016x}", rng


def fate(style: str, rng: random.Random) -> tuple[str, str]:
    """(planted flaw or state, drop reason) of a path."""
    draw = rng.random()
    if draw < 0.02:
        return "truncated", "truncated"
    if draw < 0.16:
        return "wrong_answer", "differ"
    if draw < 0.26:
        return "spurious_step", "judge" if rng.random() < 0.96 else "kept"
    if draw < 0.28:
        return "none", "duplicate"
    return "none", "kept"


def path_text(question: Question, style: str, kind: str, rng: random.Random, words: int = 0) -> tuple[str, str]:
    """A text and the false step in it."""
    a, b = rng.randint(2, 40), rng.randint(2, 40)
    false = f"{a} * 4 = {a * 4 + 2}"
    steps = [f"Each animal has four legs, and {a} of them have {a} * 4 = {a * 4}.", f"The other {b} have {b} * 4 = {b * 4}."]
    if kind == "spurious_step":
        steps.insert(1, f"Looking again, {false}, which we keep in mind.")
    intro = {"program": f"legs = 4 * ({a} + {b})\nprint(legs)\n", "fact": "Facts: a cat has four legs. A duck has two.\n"}.get(
        style, ""
    )
    answer = int(question.gold) + (3 if kind == "wrong_answer" else 0)
    body = " ".join(steps[: 1 if style == "vanilla" else None])
    if words:
        body += " " + " ".join(WORDS[int(len(WORDS) * rng.random() ** 3)] for _ in range(words)) + "."
    return (
        f"{intro}{body}\nSo the number of legs is {a * 4} + {b * 4}. The answer is {answer}.",
        false if kind == "spurious_step" else "",
    )


def generated(size: Size) -> Iterator[Record]:
    yield from questions(size)
    for question, style, path_id, rng in cells(size):
        kind, _ = fate(style, rng)
        text, false = path_text(question, style, kind, rng, size.words)
        yield PathRequest(
            id=path_id,
            question_id=question.id,
            teacher="worked_solution",
            style=style,
            sample=0,
            template_version="1",
            sampling="{}",
        )
        yield Attempt(
            id=f"{path_id}-1", path_id=path_id, started_s=1.0, finished_s=2.0, outcome="ok", completion_tokens=90, cost_usd=0.0002
        )
        yield ReasoningPath(
            id=path_id,
            question_id=question.id,
            teacher="worked_solution",
            style=style,
            sample=0,
            text=text,
            state="truncated" if kind == "truncated" else "done",
            completion_tokens=len(text) // 4,
            cost_usd=0.0002,
        )
        yield PlantedFlaw(path_id=path_id, flaw="none" if kind == "truncated" else kind, step=false)


def filtered(size: Size) -> Iterator[Record]:
    for question, style, path_id, rng in cells(size):
        kind, reason = fate(style, rng)
        text, false = path_text(question, style, kind, rng, size.words)
        if kind != "truncated":
            start = text.rindex("The answer is ") + len("The answer is ")
            yield AnswerVerdict(
                path_id=path_id,
                verdict="differ" if reason == "differ" else "match",
                extracted=text[start:-1],
                start=start,
                end=len(text) - 1,
                is_strict=True,
                grader_version="1",
            )
        if reason in ("judge", "kept"):
            is_bad = reason == "judge"
            yield JudgeVerdict(
                path_id=path_id,
                judge="step_checker",
                decision="drop" if is_bad else "keep",
                grade=1 if is_bad else 5,
                step=false if is_bad else "",
                reason="the arithmetic does not hold" if is_bad else "",
            )
        is_kept = reason == "kept"
        yield FilterDecision(
            path_id=path_id,
            question_id=question.id,
            style=style,
            is_kept=is_kept,
            reason=reason,
            detail="" if is_kept else f"dropped by the {reason} rule",
            quality=1.0 if is_kept else 0.0,
        )


def trained(size: Size) -> Iterator[Record]:
    kept = [
        (question, style, path_id)
        for question, style, path_id, rng in cells(size)
        if question.split == "train" and fate(style, rng)[1] == "kept"
    ]
    per_epoch = max(1, size.steps // size.epochs)
    for epoch in range(size.epochs):
        for index, (_, style, path_id) in enumerate(kept):
            step = epoch * per_epoch + index * per_epoch // len(kept)
            progress = step / size.steps
            for student in STUDENTS:
                rng = random.Random(f"{path_id}{student}{epoch}")
                wanted = TASTE.get((student, style), 0.5)
                prob = min(0.97, max(0.03, 0.5 + (wanted - 0.5) * min(1, 1.6 * progress) + rng.gauss(0, 0.05)))
                yield Route(
                    step=step,
                    epoch=epoch,
                    path_id=path_id,
                    student=student,
                    prob=prob,
                    is_routed=rng.random() < prob,
                    utility=math.nan if progress < 0.1 else (wanted - 0.5) * 2 + rng.gauss(0, 0.5),
                )


def evaluated(size: Size) -> Iterator[Record]:
    right: dict[tuple[str, str, str], list[int]] = {}
    for question in questions(size):
        if question.split != "test":
            continue
        for student in STUDENTS:
            for arm, share in (("zero_shot", 0.12), ("trained", 0.42)):
                rng = random.Random(f"{question.id}{student}{arm}")
                draw = rng.random()
                verdict = "match" if draw < share else "differ" if draw < 0.9 else "unparsed"
                said = question.gold if verdict == "match" else str(rng.randint(1, 99)) if verdict == "differ" else ""
                for task in ("all", question.task):
                    right.setdefault((arm, student, task), []).append(verdict == "match")
                yield Prediction(
                    id=f"{arm}-{student}-{question.id}",
                    arm=arm,
                    student=student,
                    question_id=question.id,
                    text=f"There are two groups of animals. Let us count them. The answer is {said}."
                    if said
                    else "I like animals",
                    finish="stop" if rng.random() < 0.99 else "length",
                    num_tokens=24,
                    verdict=verdict,
                    extracted=said,
                )
    for (arm, student, task), found in right.items():
        yield score(arm, student, task, sum(found), len(found))
    for arm, student, share in (
        ("zero_shot", "vote", 0.1),
        ("zero_shot", "oracle", 0.22),
        ("trained", "vote", 0.44),
        ("trained", "oracle", 0.62),
    ):
        n = len(right["trained", STUDENTS[0], "all"])
        yield score(arm, student, "all", round(share * n), n)


def score(arm: str, student: str, task: str, k: int, n: int, **fields: float) -> Score:
    z = 1.96
    center, spread = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    return Score(
        arm=arm,
        student=student,
        task=task,
        n=n,
        num_correct=k,
        accuracy=k / n,
        low=(center - spread) / (n + z * z),
        high=(center + spread) / (n + z * z),
        unparsed_frac=fields.get("unparsed_frac", 0.1),
        truncated_frac=fields.get("truncated_frac", 0.01),
    )


def metrics_text(size: Size) -> str:
    lines = []
    for step in range(size.steps):
        rng = random.Random(f"metrics{step}")
        done = step / size.steps
        row: dict[str, float] = {
            "step": step,
            "epoch": done * size.epochs,
            "train/seconds_s": 2 + rng.random(),
            "loss/router": -0.3 * done,
        }
        row |= {"peer/agreement": 0.4 + 0.3 * done + rng.gauss(0, 0.02), "unknown/thing": 3}
        row |= {"peer/agreement_shuffled": 0.05, "peer/entropy_nats": 1.2 - done, "routing/entropy_nats": 0.69 - 0.2 * done}
        for index, student in enumerate(STUDENTS):
            row |= {
                f"loss/sft/{student}": (2.2 + index) * math.exp(-2 * done) + 0.4 + rng.gauss(0, 0.1),
                f"loss/peer/{student}": 0.3 * math.exp(-done) + rng.gauss(0, 0.01),
                f"routing/load/{student}": 0.5 + 0.05 * rng.gauss(0, 1),
                f"routing/kappa/{student}": 0.6 * done - 0.1,
                f"optim/lr/{student}": 4e-4 * (1 - done),
                f"optim/grad_norm/{student}": 1 + rng.random(),
                f"train/label_tokens/{student}": 700 * (step + 1) + rng.randint(0, 99),
                f"peer/gate_frac/{student}": 0.5 * done,
            }
        lines.append(json.dumps(row))
    return "\n".join(lines) + "\n"
