"""Variants: named changes of a recipe. Baselines, ablations and sweeps are each one entry, a pure function Config -> Config.

Names may be joined by "+", applied from left to right: ``all+fraction_30`` is plain SFT on 30% of the questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qrdistill.config import (
    METHODS,
    AllPolicyConfig,
    ByStylePolicyConfig,
    Config,
    DpoConfig,
    ExtraConfig,
    FrozenConfig,
    NoJudgeConfig,
    OrpoConfig,
    OwnSamplesConfig,
    PassRateConfig,
    PolicyConfig,
    QRDistillPolicyConfig,
    RandomPolicyConfig,
    ScorePolicyConfig,
    SinglePathPolicyConfig,
    WorkedSolutionTeacherConfig,
)
from qrdistill.errors import ConfigError, UsageError, suggest
from qrdistill.training.compute import compute_factor

Split = Literal["team", "solo", "frozen_peers"]
"""Who trains together: the whole team; each student in a run of its own; each student with the others frozen."""
JOIN = "+"
DEFAULT_VARIANTS = (
    "zero_shot",
    "single_path",
    "all",
    "equal_compute",
    "random",
    "score",
    "released",
    "paper",
    "qrdistill",
    "no_filter",
    "no_router",
    "no_peers",
)
_INFORMED_STYLES = ("fact", "cot", "backward")
"""What `by_style` teaches: the three styles that taught one student best in a pilot (method, section 4): hindsight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One arm of a study: `apply` makes its recipe from the study's. `is_trained` is false for students as they come."""

    name: str
    why: str
    apply: Callable[[Config], Config]
    split: Split = "team"
    is_trained: bool = True
    token_factor: Callable[[Config], float] = lambda config: 1.0
    """Of the study's label tokens; only a control that is not compared at equal tokens has another one."""


# --- changes -------------------------------------------------------------------------------------------------------------


def changed(config: Config, **sections: dict[str, Any]) -> Config:
    """The config with some fields of its sections replaced, for example training={"epochs": 2}."""
    return config.model_copy(update={name: getattr(config, name).model_copy(update=fields) for name, fields in sections.items()})


def budget_of(config: Config) -> float:
    """Paths per question and student that the recipe's policy aims at; 3 where it has no such setting."""
    return float(getattr(config.method.policy, "budget", 3.0))


def without_peers(config: Config) -> Config:
    """Students that do not teach each other."""
    return changed(config, method={"peers": config.method.peers.model_copy(update={"weight": 0.0})})


def with_policy(config: Config, policy: PolicyConfig) -> Config:
    """Another way to choose paths."""
    return changed(config, method={"policy": policy})


def _plain(make: Callable[[Config], PolicyConfig]) -> Callable[[Config], Config]:
    """A baseline that only chooses paths: no peers, no optional stages."""
    return lambda config: changed(without_peers(with_policy(config, make(config))), method={"extras": ()})


def _with_extra(extra: ExtraConfig) -> Callable[[Config], Config]:
    """The recipe's own method with one more optional stage (in place of one of that kind)."""

    def apply(config: Config) -> Config:
        others = tuple(other for other in qrdistill(config).method.extras if other.kind != extra.kind)
        return changed(qrdistill(config), method={"extras": (*others, extra)})

    return apply


def _backward_streams(config: Config) -> Config:
    """RevThink's two streams as more styles of the pool, routed like any other."""
    styles = dict.fromkeys((*config.generate.styles, "backward_question", "backward_reasoning"))
    return changed(qrdistill(config), generate={"styles": tuple(styles)})


def _single_path(config: Config) -> PolicyConfig:
    styles = config.generate.styles
    return SinglePathPolicyConfig(style="cot" if "cot" in styles else styles[0])


def _score(config: Config) -> PolicyConfig:
    watching = ("utility", "probe_steps", "probe_questions", "first_probe_questions")
    shared = {name: getattr(config.method.policy, name, None) for name in watching}
    return ScorePolicyConfig(budget=budget_of(config)).model_copy(update={k: v for k, v in shared.items() if v is not None})


def _by_style(config: Config) -> PolicyConfig:
    names = tuple(student.name for student in config.students)
    styles = [style for style in _INFORMED_STYLES if style in config.generate.styles] or list(config.generate.styles[:3])
    return ByStylePolicyConfig(table=dict.fromkeys(styles, names))


def _taught(*styles: str, samples: int = 1) -> Callable[[Config], Config]:
    """A published baseline: plain SFT on these styles and streams (see `qrdistill.teacher.streams`)."""

    def apply(config: Config) -> Config:
        return changed(_plain(lambda _: AllPolicyConfig())(config), generate={"styles": styles, "samples": samples})

    return apply


def _answer_augmentation(config: Config) -> Config:
    """As many answers in one style as the recipe has styles."""
    return _taught("cot", samples=max(len(config.generate.styles) * config.generate.samples, 2))(config)


def _method(name: str) -> Callable[[Config], Config]:
    def apply(config: Config) -> Config:
        method = METHODS[name]
        encoder = getattr(config.method.policy, "encoder", None)
        policy = method.policy.model_copy(update={"encoder": encoder}) if encoder else method.policy
        return config.model_copy(update={"method": method.model_copy(update={"policy": policy})})

    return apply


def qrdistill(config: Config) -> Config:
    """The recipe itself where it is qrdistill's; else with the default method."""
    is_ours = isinstance(config.method.policy, QRDistillPolicyConfig)
    return config if is_ours else config.model_copy(update={"method": METHODS["qrdistill"]})


def _no_filter(config: Config) -> Config:
    return changed(qrdistill(config), filter={"check_answers": False, "judge": NoJudgeConfig()})


def _no_judge(config: Config) -> Config:
    return changed(qrdistill(config), filter={"judge": NoJudgeConfig()})


def _no_router(config: Config) -> Config:
    return with_policy(qrdistill(config), RandomPolicyConfig(budget=budget_of(qrdistill(config))))


def _budget(number: int) -> Callable[[Config], Config]:
    def apply(config: Config) -> Config:
        policy = qrdistill(config).method.policy
        return with_policy(qrdistill(config), policy.model_copy(update={"budget": float(number)}))

    return apply


def _fraction(percent: int) -> Callable[[Config], Config]:
    return lambda config: changed(config, training={"question_frac": percent / 100})


def _wrong(percent: int) -> Callable[[Config], Config]:
    def apply(config: Config) -> Config:
        teachers = config.generate.teachers
        others = [teacher.name for teacher in teachers if not isinstance(teacher, WorkedSolutionTeacherConfig)]
        if others:
            raise ConfigError(
                f"wrong_{percent:02d} sets how often a teacher is wrong, which only a worked_solution teacher obeys; "
                f"teacher {others[0]!r} is of another kind: leave the variant out or use a worked_solution teacher"
            )
        noisy = tuple(
            teacher.model_copy(
                update={"wrong_rate": percent / 100, "spurious_rate": min(teacher.spurious_rate, 1 - percent / 100)}
            )
            for teacher in teachers
            if isinstance(teacher, WorkedSolutionTeacherConfig)
        )
        return changed(config, generate={"teachers": noisy})

    return apply


def _students(number: int) -> Callable[[Config], Config]:
    def apply(config: Config) -> Config:
        if number > len(config.students):
            raise ConfigError(
                f"students_{number} needs {number} students, but the recipe has {len(config.students)}; "
                "add students or leave the variant out"
            )
        return config.model_copy(update={"students": config.students[:number]})

    return apply


# --- the list --------------------------------------------------------------------------------------------------------------


def _then(first: Callable[[Config], Config], second: Callable[[Config], Config]) -> Callable[[Config], Config]:
    return lambda config: second(first(config))


_FIXED = (
    Variant(name="zero_shot", why="the students as they come", apply=lambda config: config, is_trained=False),
    Variant(
        name="single_path", why="symbolic chain-of-thought distillation (SKD): one style, no routing", apply=_plain(_single_path)
    ),
    Variant(
        name="all", why="plain multi-path SFT: every kept path to every student", apply=_plain(lambda config: AllPolicyConfig())
    ),
    Variant(
        name="equal_compute",
        why="plain multi-path SFT on as many more label tokens as qrdistill's peers and probes cost to read",
        apply=_plain(lambda config: AllPolicyConfig()),
        token_factor=lambda config: compute_factor(qrdistill(config)),
    ),
    Variant(
        name="random",
        why="a fresh random subset of the paths every epoch (RS2), the honest baseline",
        apply=_plain(lambda config: RandomPolicyConfig(budget=budget_of(config))),
    ),
    Variant(name="score", why="top-budget paths by the utility, no router, no peers", apply=_plain(_score)),
    Variant(name="by_style", why="three styles fixed in hindsight to every student, no peers", apply=_plain(_by_style)),
    Variant(
        name="step_by_step",
        why="Distilling Step-by-Step: the reasoning, and the label alone as a second task",
        apply=_taught("cot", "label"),
    ),
    Variant(
        name="question_rephrasing",
        why="Question Rephrasing: also solutions of the question in other words",
        apply=_taught("cot", "rephrase"),
    ),
    Variant(
        name="question_augmentation",
        why="Question Augmentation: also solutions of new questions of the same sort",
        apply=_taught("cot", "new_question"),
    ),
    Variant(name="answer_augmentation", why="Answer Augmentation: several answers in one style", apply=_answer_augmentation),
    Variant(
        name="revthink",
        why="RevThink: forward reasoning, the backward question, backward reasoning",
        apply=_taught("cot", "backward_question", "backward_reasoning"),
    ),
    Variant(name="released", why="what the authors' code does", apply=_method("released")),
    Variant(name="paper", why="equations 1 to 9 as the text intends", apply=_method("paper")),
    Variant(name="qrdistill", why="the recipe's own method: routing and peers", apply=qrdistill),
    Variant(name="no_filter", why="qrdistill on every path, right or wrong", apply=_no_filter),
    Variant(name="no_judge", why="qrdistill on every path with a right answer", apply=_no_judge),
    Variant(name="no_router", why="qrdistill with random subsets instead of a router", apply=_no_router),
    Variant(name="no_peers", why="qrdistill without the peer loss", apply=_then(qrdistill, without_peers)),
    Variant(name="frozen_peers", why="each student learns from peers that do not learn", apply=qrdistill, split="frozen_peers"),
    Variant(
        name="solo", why="each student in a run of its own, without peers", apply=_then(qrdistill, without_peers), split="solo"
    ),
)
_STAGES = (
    Variant(name="backward_streams", why="qrdistill with RevThink's backward streams in the pool", apply=_backward_streams),
    Variant(
        name="own_samples",
        why="qrdistill with the students' own right answers re-entering the pool",
        apply=_with_extra(OwnSamplesConfig()),
    ),
    Variant(
        name="pass_rate",
        why="qrdistill with questions weighed by p (1 - p) of the students' answers",
        apply=_with_extra(PassRateConfig()),
    ),
    Variant(name="orpo", why="qrdistill with a final ORPO epoch on wrong paths", apply=_with_extra(OrpoConfig())),
    Variant(name="dpo", why="qrdistill with a final DPO epoch on wrong paths", apply=_with_extra(DpoConfig())),
)
_SWEEPS = (
    *(Variant(name=f"budget_{n}", why=f"qrdistill with {n} paths per question", apply=_budget(n)) for n in range(1, 7)),
    *(
        Variant(name=f"fraction_{p}", why=f"the recipe on {p}% of its questions", apply=_fraction(p))
        for p in (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    ),
    *(
        Variant(name=f"wrong_{p:02d}", why=f"the teacher is wrong in {p}% of its paths", apply=_wrong(p))
        for p in (0, 10, 20, 30, 40)
    ),
    *(Variant(name=f"students_{n}", why=f"the first {n} of the students", apply=_students(n)) for n in (1, 2, 3)),
)
VARIANTS: dict[str, Variant] = {variant.name: variant for variant in (*_FIXED, *_STAGES, *_SWEEPS)}
"""Every variant by name."""


def variant_named(name: str) -> Variant:
    """A variant, or several joined by "+".

    Raises:
        UsageError: a name is not known, or two of the parts say who trains together.
    """
    parts = name.split(JOIN)
    for part in parts:
        if part not in VARIANTS:
            known = ", ".join(VARIANTS)
            raise UsageError(
                f"there is no variant {part!r}{suggest(part, list(VARIANTS))}; known: {known} (see: qrdistill ls variants)"
            )
    variants = [VARIANTS[part] for part in parts]
    splits = [variant.split for variant in variants if variant.split != "team"]
    untrained = [variant.name for variant in variants if not variant.is_trained]
    if len(parts) > 1 and untrained:
        raise UsageError(f"the variant {untrained[0]} trains nothing, so nothing can be joined to it; name it alone")
    if len(splits) > 1:
        raise UsageError(f"the variants {' and '.join(parts)} do not go together; join at most one of solo and frozen_peers")

    def apply(config: Config) -> Config:
        for variant in variants:
            config = variant.apply(config)
        return config

    def token_factor(config: Config) -> float:
        return math.prod(variant.token_factor(config) for variant in variants)

    return Variant(
        name=name,
        why="; ".join(variant.why for variant in variants),
        apply=apply,
        split=splits[0] if splits else "team",
        is_trained=variants[0].is_trained,
        token_factor=token_factor,
    )


def parts(variant: Variant, config: Config) -> dict[str, Config]:
    """The runs an arm is made of: name of the student whose answers count ("" for all of them) -> recipe."""
    config = variant.apply(config)
    if variant.split == "team":
        return {"": config}
    if variant.split == "solo":
        return {student.name: config.model_copy(update={"students": (student,)}) for student in config.students}
    return {
        taught.name: config.model_copy(
            update={
                "students": tuple(
                    student if student is taught else student.model_copy(update={"adapter": FrozenConfig()})
                    for student in config.students
                )
            }
        )
        for taught in config.students
    }


def names_of(text: str | Sequence[str]) -> list[str]:
    """The names in a comma-separated list; empty: the default ones.

    Raises:
        UsageError: a name is not known or stands twice.
    """
    names = [part.strip() for part in (text.split(",") if isinstance(text, str) else text) if part.strip()] or list(
        DEFAULT_VARIANTS
    )
    for name in names:
        variant_named(name)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"the variant {twice[0]!r} stands twice; name each once")
    return names


def seeds_of(text: str) -> list[int]:
    """Seeds as "0-4" or "0,3,7".

    >>> seeds_of("0-2,7")
    [0, 1, 2, 7]

    Raises:
        UsageError: the text is neither.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise UsageError(f"--seeds {text!r} is not a list of seeds; write 0-4 or 0,1,2")
        seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text!r} names a seed twice; name each once")
    return seeds
