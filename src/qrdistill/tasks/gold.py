"""Options and gold answers of a user's row, in canonical form."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from qrdistill.errors import DataError
from qrdistill.tasks.rows import shown
from qrdistill.types import AnswerKind

_NLI = ("entailment", "neutral", "contradiction")


def read_choices(value: Any, *, where: str) -> tuple[tuple[str, str], ...]:
    """Options in any of the usual shapes: texts, [label, text] pairs, {label: text}, {"label": [...], "text": [...]}.

    Raises:
        DataError: the shape is another one, a label stands twice, or there is only one option.

    >>> read_choices(["red", "blue"], where="line 1")
    (('A', 'red'), ('B', 'blue'))
    """
    if value is None or value == [] or value == {}:
        return ()
    pairs: list[tuple[Any, Any]]
    if isinstance(value, dict) and set(value) == {"label", "text"} and all(isinstance(part, list) for part in value.values()):
        if len(value["label"]) != len(value["text"]):
            raise DataError(f"{where}: choices has {len(value['label'])} labels and {len(value['text'])} texts; make them equal")
        pairs = list(zip(value["label"], value["text"], strict=True))
    elif isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list) and all(isinstance(item, list) and len(item) == 2 for item in value):
        pairs = [(label, text) for label, text in value]
    elif isinstance(value, list) and all(isinstance(item, str | int | float) for item in value) and len(value) <= 26:
        pairs = [(chr(ord("A") + number), text) for number, text in enumerate(value)]
    else:
        raise DataError(
            f"{where}: choices is {shown(value)}, expected a list of texts, a list of [label, text], a mapping from label to "
            'text, or {"label": [...], "text": [...]}'
        )
    if bad := [part for pair in pairs for part in pair if not isinstance(part, str | int | float) or not str(part).strip()]:
        raise DataError(f"{where}: choices holds {shown(bad[0])}, expected texts; mend that row")
    choices = tuple((str(label).strip(), str(text).strip()) for label, text in pairs)
    labels = [label for label, _ in choices]
    if len(set(labels)) < len(labels):
        raise DataError(f"{where}: choices has the label {max(labels, key=labels.count)!r} twice; labels must differ")
    if len(choices) < 2:
        raise DataError(f"{where}: choices has one option, expected at least two; mend that row")
    return choices


def read_gold(kind: AnswerKind, answer: str, choices: tuple[tuple[str, str], ...], where: str) -> str:
    """The answer of a row in canonical form.

    Raises:
        DataError: it does not fit the kind, or is no label of the choices.
    """
    lowered = answer.casefold()
    if kind == "choice":
        labels = [label for label, _ in choices]
        if answer in labels:
            return answer
        named = [label for label, text in choices if text.casefold() == lowered]
        if len(named) == 1:
            return named[0]
        raise DataError(f"{where}: the answer {shown(answer)} is no label of the choices ({', '.join(labels)}); mend that row")
    if kind == "yesno":
        words = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
        if lowered not in words:
            raise DataError(f"{where}: the answer is {shown(answer)}, expected yes or no; mend that row")
        return words[lowered]
    if kind == "nli":
        match = [label for label in _NLI if label.startswith(lowered)]
        if len(match) != 1:
            raise DataError(f"{where}: the answer is {shown(answer)}, expected {', '.join(_NLI)}; mend that row")
        return match[0]
    if kind == "number" and not _is_number(answer):
        raise DataError(f"{where}: the answer is {shown(answer)}, expected a number; mend that row (formulas: kind math)")
    return answer


def guess_kind(answer: str) -> AnswerKind:
    """The kind of an answer that comes without options.

    >>> [guess_kind(answer) for answer in ("yes", "neutral", "1,200", "x^2")]
    ['yesno', 'nli', 'number', 'math']
    """
    lowered = answer.casefold()
    if lowered in ("yes", "no"):
        return "yesno"
    if lowered in _NLI:
        return "nli"
    return "number" if _is_number(answer) else "math"


def _is_number(text: str) -> bool:
    try:
        Fraction(text.replace(",", "").removeprefix("$").removesuffix("%"))
    except (ValueError, ZeroDivisionError):
        return False
    return True
