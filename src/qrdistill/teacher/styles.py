"""Styles by name, and the prompt a real teacher gets in one: the built-in ones, those of the streams, a recipe's own."""

from __future__ import annotations

import re

from qrdistill.config import GenerateConfig
from qrdistill.errors import ConfigError, suggest
from qrdistill.tasks.prompts import answer_form, question_block
from qrdistill.teacher.streams import STREAMS
from qrdistill.teacher.templates import STYLES, Style
from qrdistill.types import Question

_BUILT_IN: dict[str, Style] = STYLES | {name: stream.style for name, stream in STREAMS.items()}


def style_named(name: str, config: GenerateConfig | None = None) -> Style:
    """A style by name: a built-in one, or one of a recipe's own.

    Raises:
        ConfigError: there is no such style.
    """
    known = styles_of(config) if config else _BUILT_IN
    if name not in known:
        raise ConfigError(f"unknown style {name!r}{suggest(name, list(known))}; known ones are {', '.join(known)}")
    return known[name]


def styles_of(config: GenerateConfig) -> dict[str, Style]:
    """Every style a recipe can name: the built-in ones, those of the streams (`streams.py`) and its own."""
    own = [Style(name=style.name, template=style.template, why=style.why) for style in config.custom_styles]
    return _BUILT_IN | {style.name: style for style in own}


def _knows_gold(style: Style) -> bool:
    """Only the streams that run backwards tell a teacher the answer; a style of your own cannot."""
    return style.name in ("backward_question", "backward_reasoning") and style == _BUILT_IN[style.name]


def render(style: Style, question: Question) -> str:
    """The prompt a real teacher gets. Text of a question is inserted as it is, braces and all."""
    parts = {"question": question_block(question), "answer_form": answer_form(question.kind), "gold": question.gold}
    return re.sub(
        r"\{(question|answer_form|gold)\}" if _knows_gold(style) else r"\{(question|answer_form)\}",
        lambda place: parts[place[1]],
        style.template,
    )
