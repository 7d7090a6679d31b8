"""Four hundred payloads that try to become active, and a run that carries each of them in every text field."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from qrdistill.store import Run, write_text
from qrdistill.types import (
    AnswerVerdict,
    FilterDecision,
    JudgeVerdict,
    PlantedFlaw,
    Prediction,
    Question,
    ReasoningPath,
    Record,
    Route,
    Score,
)
from report.synthetic import Size, config, metrics_text

MARK = "window.pwned=1"
BAIT = "http://attacker.invalid/x"
CORES = (
    f"<script>{MARK}</script>",
    f"</script><script>{MARK}</script>",
    f"<img src=x onerror={MARK}>",
    f"<img src={BAIT}>",
    f"<svg onload={MARK}>",
    f"<svg><script>{MARK}</script></svg>",
    f"<iframe srcdoc='<script>parent.{MARK}</script>'></iframe>",
    f"<iframe src={BAIT}></iframe>",
    f"<a href='javascript:{MARK}'>x</a>",
    f"<body onload={MARK}>",
    f"<details open ontoggle={MARK}>",
    f"<input autofocus onfocus={MARK}>",
    f"<style>@import '{BAIT}';*{{display:none}}</style>",
    f"<link rel=stylesheet href={BAIT}>",
    f"<meta http-equiv=refresh content='0;url={BAIT}'>",
    f"<base href={BAIT}>",
    f"<form action={BAIT}><button>x</button></form>",
    f"<object data={BAIT}></object>",
    f"<math><mtext><img src=x onerror={MARK}></mtext></math>",
    f"<template><script>{MARK}</script></template>",
    f"<!--<script>{MARK}</script>",
    f"--><script>{MARK}</script>",
    f"]]><script>{MARK}</script>",
    f"</style><script>{MARK}</script>",
    f"</textarea></title><script>{MARK}</script>",
    f"</pre></td></table><script>{MARK}</script>",
    f'"><script>{MARK}</script>',
    f"' onmouseover='{MARK}",
    f"{{{{ cycler.__init__.__globals__ }}}}<script>{MARK}</script>",
    f"{{% for x in ().__class__.__base__.__subclasses__() %}}{MARK}{{% endfor %}}",
    f"![x]({BAIT})",
    f"[x](javascript:{MARK})",
    f"<{BAIT}>",
    "|---|---|\n| a | b |",
    "```\n# heading\n<script>window.pwned=1</script>\n```",
    "\x1b]0;title\x07\x1b[2J\x1b[31m\x1b]8;;http://attacker.invalid\x07link",
    "\u202etxt.exe\u2066\u2069 \u200f",
    "\x00\x01\x08\x7f\x9b",
    "\ud800\udfff lone \udc00",
    "\u2028</script>\u2029",
)
WRAPS = ("{}", "{}{}", "a{}", "{}b", "\n{}\n", "&lt;{}", "\\u003c{}", "[bold]{}[/bold]", "=1+1{}", "'\"`{}`\"'")
PAYLOADS = tuple(wrap.replace("{}", core) for wrap, core in itertools.product(WRAPS, CORES))
assert len(PAYLOADS) == 400


def records(payloads: tuple[str, ...] = PAYLOADS) -> Iterator[Record]:
    """One question, path, verdict, judgement, decision, flaw, routes and answer a payload, which stands in every text field."""
    for index, text in enumerate(payloads):
        name = f"{index:03d}{text}"
        yield Question(
            id=name,
            task=text,
            split="train",
            text=text,
            kind="choice",
            gold=text,
            choices=((text, text),),
            family=text,
            level=text,
            metadata={text: text},
        )
        yield ReasoningPath(
            id=name, question_id=name, teacher=text, style=text, sample=0, text=f"{text} so {text}", model=text, reasoning=text
        )
        yield PlantedFlaw(path_id=name, flaw="spurious_step", step=text)
        yield AnswerVerdict(
            path_id=name, verdict="match", extracted=text, start=0, end=len(text), reason=text, grader_version=text
        )
        yield JudgeVerdict(path_id=name, judge=text, decision="drop", grade=1, step=text, reason=text)
        yield FilterDecision(path_id=name, question_id=name, style=text, is_kept=False, reason=text, detail=text)
        yield Route(step=index, epoch=0, path_id=name, student=text, prob=0.5, is_routed=True, utility=0.1)
        for arm in ("zero_shot", "trained", text):
            yield Prediction(
                id=f"{name}{arm}",
                arm=arm,
                student=text,
                question_id=name,
                text=text,
                finish="length",
                num_tokens=3,
                verdict="differ",
                extracted=text,
                reason=text,
                grader_version=text,
            )
    for arm, student in (("trained", payloads[0]), (payloads[-1], "smollm2")):
        yield Score(
            arm=arm, student=student, task=payloads[len(payloads) // 2], n=9, num_correct=3, accuracy=0.3, low=0.1, high=0.6
        )


def text_fields() -> set[str]:
    """Every free-text field the payloads stand in, as Record.field."""
    planted: set[str] = set()
    for record in records((PAYLOADS[0],)):
        for field in dataclasses.fields(record):
            if PAYLOADS[0] in str(getattr(record, field.name)):
                planted.add(f"{type(record).__name__}.{field.name}")
    return planted


def build_hostile_run(folder: Path) -> Run:
    """A finished run full of payloads, its metrics file and stage notes included."""
    run = Run(folder, config(name="hostile"))
    with run.owned():
        run.ledger.add(records())
        row = {"step": 1, f"loss/sft/{PAYLOADS[0]}": 2.0, f"routing/load/{PAYLOADS[7]}": 0.5}
        write_text(run.metrics, json.dumps(row) + "\n" + metrics_text_of_garbage() + "\n")
        for stage in ("generate", "filter", "train", "evaluate"):
            run.begin(stage)
            run.finish(stage, {PAYLOADS[0]: PAYLOADS[2], "kept": 3})
    return run


def metrics_text_of_garbage() -> str:
    """Lines that are no metrics: cut JSON, deep nesting, numbers no float holds, other types."""
    cut = metrics_text(Size(steps=1)).strip()
    return "\n".join(
        [
            cut[: len(cut) // 2],
            "[" * 5_000,
            "[1]",
            "null",
            '{"step": "x"}',
            '{"step": 1e400}',
            '{"step": 2, "loss/router": NaN}',
            "\x00",
        ]
    )
