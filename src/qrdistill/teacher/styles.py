"""The six prompt styles of the paper (section 1 of the method), in our own words.

A style says *how* the teacher should reason; the question and the form of the answer are the same for all. A template's hash
is part of a path's identity: change a word and the paths are asked for again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qrdistill.config import GenerateConfig, content_hash
from qrdistill.errors import ConfigError, suggest
from qrdistill.tasks.prompts import answer_form, question_block
from qrdistill.types import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One way to reason. `template` has the places {question} and {answer_form}; `why` says what the style is for."""

    name: str
    template: str
    why: str

    @property
    def template_version(self) -> str:
        """Hash of the template."""
        return content_hash(self.template)


_STYLES = (
    Style(
        name="vanilla",
        template="{question}\n\nAnswer briefly, with no more explanation than one short sentence.\n{answer_form}",
        why="the short answer a teacher gives unasked: cheap, and the control for every other style",
    ),
    Style(
        name="cot",
        template=(
            "{question}\n\nWork this out step by step. Put each intermediate result into its own short sentence, in the order "
            "you need them, and do not skip a calculation.\n{answer_form}"
        ),
        why="chain of thought: one forward derivation with every intermediate result written out",
    ),
    Style(
        name="tot",
        template=(
            "{question}\n\nWeigh at least two ways to approach this. Follow each one far enough to see whether it can be right, "
            "say why the weaker ones fail, and finish the one that holds.\n{answer_form}"
        ),
        why="tree of thoughts: candidates are followed, compared and dropped, so wrong turns are seen and named",
    ),
    Style(
        name="program",
        template=(
            "{question}\n\nWrite a short Python program that computes the answer and prints it. Then state what the program "
            "prints and conclude from that.\n{answer_form}"
        ),
        why="program of thought: the reasoning as code whose output can be checked by running it",
    ),
    Style(
        name="backward",
        template=(
            "{question}\n\nFirst reason forward to an answer. Then check it backwards: start from your answer, undo the steps "
            "one by one, and confirm that you arrive at what the question states.\n{answer_form}"
        ),
        why="backward check: the answer is traced back to the givens, which ties the two directions together",
    ),
    Style(
        name="fact",
        template=(
            "{question}\n\nBegin by recalling the facts and rules this question depends on. Then reach the answer using only "
            "those facts and the numbers given.\n{answer_form}"
        ),
        why="fact retrieval: knowledge is stated before it is used, so recall and reasoning are learned apart",
    ),
)
STYLES: dict[str, Style] = {style.name: style for style in _STYLES}
"""Every style by name."""


def style_named(name: str, config: GenerateConfig | None = None) -> Style:
    """A style by name: a built-in one, or one of a recipe's own.

    Raises:
        ConfigError: there is no such style.
    """
    known = styles_of(config) if config else STYLES | _stream_styles()
    if name not in known:
        raise ConfigError(f"unknown style {name!r}{suggest(name, list(known))}; known ones are {', '.join(known)}")
    return known[name]


def styles_of(config: GenerateConfig) -> dict[str, Style]:
    """Every style a recipe can name: the built-in ones, those of the streams (`streams.py`) and its own."""
    own = [Style(name=style.name, template=style.template, why=style.why) for style in config.custom_styles]
    return STYLES | _stream_styles() | {style.name: style for style in own}


def _stream_styles() -> dict[str, Style]:
    from qrdistill.teacher.streams import STREAMS  # it needs Style, so it is imported when this file is there

    return {name: stream.style for name, stream in STREAMS.items()}


def _knows_gold(style: Style) -> bool:
    """Only the streams that run backwards tell a teacher the answer; a style of your own cannot."""
    return style.name in ("backward_question", "backward_reasoning") and style == _stream_styles()[style.name]


def render(style: Style, question: Question) -> str:
    """The prompt a real teacher gets. Text of a question is inserted as it is, braces and all."""
    parts = {"question": question_block(question), "answer_form": answer_form(question.kind), "gold": question.gold}
    return re.sub(
        r"\{(question|answer_form|gold)\}" if _knows_gold(style) else r"\{(question|answer_form)\}",
        lambda place: parts[place[1]],
        style.template,
    )
