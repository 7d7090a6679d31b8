"""Extraction: the final answer a response states, and where.

The last explicitly stated answer wins. A response is cut into turns and the first turn that states an answer is the reply; in it
explicit statements (:mod:`qrdistill.tasks.extract.statements`) are read from the last to the first, and the first one that reads as
an answer of the kind is the final answer - unless it is taken back right after ("wait, that's wrong") and nothing replaces it, or
it names more than one answer. Where nothing is explicit, a few places that can only be meant as the answer are tried
(:mod:`qrdistill.tasks.extract.lenient`). A letter, word or number that merely occurs is never an answer, and neither is an empty
reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from qrdistill.tasks.extract import choice, formula, lenient, nli, yesno
from qrdistill.tasks.extract.options import Options
from qrdistill.tasks.extract.statements import Found, Reading, Refusal, Statement, corrections, explicit, unclosed_box, withdrawn
from qrdistill.tasks.extract.text import segments, view
from qrdistill.types import AnswerKind

Choices = Sequence[tuple[str, str]] | None
Reader = Callable[[str, Statement], Found]

MAX_STATEMENTS = 40
"""How many explicit statements, from the end, are read; bounds the work on hostile input."""

_RECHECK = re.compile(
    r"[\s.,;:!)*_\"'$\\\]}]*(?:(?:but|hmm+|oh|ah|ok|okay|well|wait|hold on|actually|no)[,.!\s\u2014-]+){0,3}"
    r"(?:(?:wait|hold on|hmm+|actually)\b|(?:let me|let's|i should|i will|i'll|i need to)[ ](?:just[ ]|quickly[ ])?(?:re-?\w+|double|verify|check|think|try|go|look)\b)",
    re.IGNORECASE,
)

_READERS: dict[AnswerKind, Reader] = {
    "yesno": yesno.read,
    "nli": nli.read,
    "number": formula.read_number,
    "math": formula.read,
}


def extract(kind: AnswerKind, choices: Choices, response: str) -> Found:
    """The final answer of a response with its span in the raw text; a refusal says why a stated one is none; None: nothing stated.

    >>> extract("number", None, "3 * 8 = 24. The answer is 24.").value
    '24'
    """
    plain = view(response)
    text, bold = lenient.emphasis(plain.text)
    options = Options.of(choices or ())
    found: Found = None
    for start, end in segments(text):
        found = _read_turn(kind, options, text, start, end, bold)
        if found is not None:
            break
    if found is None:
        return None
    raw_start, raw_end = plain.raw_span(found.start, found.end)
    if isinstance(found, Refusal):
        return Refusal(found.reason, raw_start, raw_end)
    return Reading(found.value, raw_start, raw_end, found.is_strict)


def _read_turn(kind: AnswerKind, options: Options, text: str, start: int, end: int, bold: list[tuple[int, int]]) -> Found:
    """The final answer of one turn."""

    def read(statement: Statement) -> Found:
        return choice.read(text, statement, options) if kind == "choice" else _READERS[kind](text, statement)

    end = unclosed_box(text, start, end) if "\\" in text else end
    statements = explicit(text, start, end, kind)
    weak: list[Statement] = []
    if kind == "choice":
        strong, weak = choice.explicit(text, start, end, options)
        statements = sorted(statements + strong, key=lambda statement: statement.start)
    statements = formula.merge_boxes(text, statements) if kind == "math" else statements
    statements = _asserted(_outside_boxes(statements))[-MAX_STATEMENTS:]
    if statements:
        statements += corrections(text, statements[0].start, end)
        statements.sort(key=lambda statement: statement.start)
    for index in range(len(statements) - 1, -1, -1):
        statement = statements[index]
        if statement.source == "correction" and not any(_is_answer(read(earlier)) for earlier in statements[:index]):
            continue
        found = read(statement)
        if isinstance(found, Reading):
            taken_back = withdrawn(text, statement.end, end)
            if taken_back >= 0:
                later = _read_leniently(kind, options, text, taken_back, end, bold, weak, read)
                return later or Refusal("the answer was taken back", found.start, found.end)
            agreed = _agreed(text, statements, index, found, read)
            return _rechecked(text, statement.end, end, read) or agreed
        if found is not None:
            return found
    return _read_leniently(kind, options, text, start, end, bold, weak, read)


def _outside_boxes(statements: list[Statement]) -> list[Statement]:
    """Statements but for cues inside a box ("boxed{The answer is 5}"), which the box stands for."""
    boxes = [statement for statement in statements if statement.source == "boxed"]
    return [
        statement
        for statement in statements
        if statement.source != "cue" or not any(box.start <= statement.start < box.end for box in boxes)
    ]


def _asserted(statements: list[Statement]) -> list[Statement]:
    """Statements without a condition where there are any."""
    return [statement for statement in statements if not statement.is_conditional] or statements


def _rechecked(text: str, start: int, end: int, read: Callable[[Statement], Found]) -> Found:
    """What a reply that goes on to check itself concludes in its last sentence ("let me recompute ... So it's 18"), if anything."""
    if not _RECHECK.match(text, start, end):
        return None
    last = lenient.last_conclusion(text, start, end)
    found = read(last) if last else None
    return found if isinstance(found, Reading) else None


def _is_answer(found: Found) -> bool:
    return found is not None


def _agreed(text: str, statements: list[Statement], index: int, found: Reading, read: Callable[[Statement], Found]) -> Found:
    """The reading of a box, refused if the box right before it is its alternative ("boxed A or boxed B")."""
    if index and statements[index].source == statements[index - 1].source == "boxed":
        pair = formula.merge_boxes(text, statements[index - 1 : index + 1])
        if len(pair) == 1:
            other = read(statements[index - 1])
            if isinstance(other, Reading) and other.value != found.value:
                return Refusal("more than one answer is boxed", other.start, found.end)
    return found


def _read_leniently(
    kind: AnswerKind,
    options: Options,
    text: str,
    start: int,
    end: int,
    bold: list[tuple[int, int]],
    weak: list[Statement],
    read: Callable[[Statement], Found],
) -> Found:
    places = lenient.places(text, start, end, bold, kind == "choice") + [
        statement for statement in weak if statement.start >= start
    ]
    places.sort(key=lambda statement: (statement.start, statement.end))
    if kind == "choice" and choice.restates_list(text, start, end, options):
        places = [place for place in places if place.source not in {"line", "lead"}]
    for place in reversed(places):
        found = read(place)
        if found is not None and place.source in {"lead", "line"}:
            return _corrected(text, found, end, read)
        if found is not None:
            return found
    return None


def _corrected(text: str, found: Found, end: int, read: Callable[[Statement], Found]) -> Found:
    """What a bare opening answer is corrected to ("A. No, B."), or the opening answer itself."""
    if found is None:
        return None
    for correction in reversed(corrections(text, found.end, end)[-MAX_STATEMENTS:]):
        later = read(correction)
        if isinstance(later, Reading):
            return later
    return found
