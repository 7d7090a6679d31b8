"""A story in the terminal. Texts are shown as they are: no markup of theirs is obeyed and no control character gets through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import StringIO

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from qrdistill.report.explain import PathStory, RouteSummary, Story
from qrdistill.report.text import marked, visible
from qrdistill.types import Prediction

ARMS = {"zero_shot": "before training", "trained": "after training"}
_MARKS = {"": "", "answer": "bold underline", "step": "bold reverse"}
_TONES = {"match": "green", "differ": "red", "unparsed": "yellow", "timeout": "yellow"}


def render_text(story: Story) -> RenderableType:
    """The story as something rich can print: question, paths with findings and routes, answers before and after."""
    question = story.question
    lines = [_words(question.text)]
    lines += [_words(f"  {label}) {text}") for label, text in question.choices]
    lines.append(_words(f"gold answer: {question.gold}", "bold"))
    about = " · ".join(part for part in dict.fromkeys((question.task, question.family, question.level, question.split)) if part)
    parts: list[RenderableType] = [Panel(Group(*lines), title=_words(question.id), subtitle=_words(about), title_align="left")]
    parts += [_path(path) for path in story.paths]
    if not story.paths:
        parts.append(Text("No reasoning paths (only training and validation questions get them).", "dim"))
    parts += [_answer(prediction) for prediction in story.predictions]
    if not story.predictions:
        parts.append(Text("No student answers (only test questions get them, in the evaluate stage).", "dim"))
    return Group(*parts)


def story_text(story: Story, *, width: int = 120) -> str:
    """The story as plain text without colours."""
    sink = StringIO()
    Console(file=sink, width=width, color_system=None, highlight=False, markup=False, emoji=False).print(render_text(story))
    return sink.getvalue()


def _words(text: str, style: str = "") -> Text:
    return Text(visible(text), style)


def _path(story: PathStory) -> RenderableType:
    path, verdict = story.path, story.verdict
    answer = (verdict.start, verdict.end) if verdict else (-1, -1)
    body = Text()
    for piece, mark in marked(path.text, answer=answer, step=story.failing_step):
        body.append(visible(piece), _MARKS[mark])
    parts: list[RenderableType] = [body, Text()]
    parts += [_words(line, "dim" if line.startswith("planted") else "") for line in findings(story)]
    if story.routes:
        parts.append(_routes(story.routes))
    is_kept = story.decision is not None and story.decision.is_kept
    title = f"{path.style} · {path.teacher} · sample {path.sample} · {outcome(story)}"
    return Panel(Group(*parts), title=_words(title), title_align="left", border_style="green" if is_kept else "dim")


def outcome(story: PathStory) -> str:
    """What became of a path, in a few words."""
    if story.decision is None:
        return "not decided yet"
    return f"kept, quality {story.decision.quality:.2f}" if story.decision.is_kept else f"dropped: {story.decision.reason}"


def findings(story: PathStory) -> list[str]:
    """One line for each check of a path."""
    lines = []
    if story.path.state != "done":
        lines.append(f"reply: {story.path.state}")
    if story.verdict is not None:
        read = f"read {story.verdict.extracted!r}" if story.verdict.extracted else "read no answer"
        why = f" ({story.verdict.reason})" if story.verdict.reason else ""
        lines.append(f"answer check: {story.verdict.verdict}, {read}{'' if story.verdict.is_strict else ' leniently'}{why}")
    for judgement in story.judgements:
        grade = f", grade {judgement.grade}" if judgement.grade else ""
        step = f"; step: {judgement.step}" if judgement.step else ""
        lines.append(
            f"judge {judgement.judge}: {judgement.decision}{grade}{': ' + judgement.reason if judgement.reason else ''}{step}"
        )
    if story.decision is not None and story.decision.detail:
        lines.append(f"filter: {story.decision.detail}")
    if story.planted is not None and story.planted.flaw != "none":
        lines.append(
            f"planted (hidden from the pipeline): {story.planted.flaw}{'; ' + story.planted.step if story.planted.step else ''}"
        )
    return lines


def _routes(routes: Sequence[RouteSummary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("student", "routed", "gate probability", "mean utility"):
        table.add_column(title)
    for route in routes:
        utility = "not measured" if math.isnan(route.mean_utility) else f"{route.mean_utility:+.2f}"
        probs = f"{route.first_prob:.2f} → {route.last_prob:.2f}"
        table.add_row(_words(route.student), f"{route.num_routed} of {route.num_decisions}", probs, utility)
    return table


def _answer(prediction: Prediction) -> RenderableType:
    cut = ", cut off at the token limit" if prediction.finish == "length" else ""
    said = f"{prediction.verdict}, read {prediction.extracted!r}{cut}"
    title = f"{prediction.student} · {ARMS.get(prediction.arm, prediction.arm)} · {said}"
    return Panel(
        _words(prediction.text), title=_words(title), title_align="left", border_style=_TONES.get(prediction.verdict, "")
    )
