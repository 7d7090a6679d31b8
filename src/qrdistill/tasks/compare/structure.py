r"""The structure of a mathematical answer: what is ordered, what is open, what is a set, what is an equation.

========================  ======================================================================================================
``(1, 5)``, ``[1, 2)``    a sequence: order, length and both brackets matter ((1,5) is not (2,5), [1,2) is not [1,2])
``\{1, 2\}``              a set: neither order nor repetition matters
``1, 2`` / ``1 or 2``     a list of values: order does not matter, repetition does; equal to the set of the same values
``a \pm b``               the list a + b, a - b
``A \cup B``              a union: order does not matter
``x > 3``                 an inequality in one letter is the interval it describes; "or" is a union, "and" and chains an interval
``x = 5``, ``x \in A``     a named value: the name is ignored where the other side has none, and must agree where both have one
``2x + y = 3``            any other equation: equal to one with the same solutions up to a constant factor
matrix                    rows and entries; ``vmatrix`` is a determinant and something else
``3:4``                   a ratio: proportional terms are equal
``1011_2``                a numeral in a base: its value, or its digits where the other side leaves the base out
words                     case, punctuation and articles are ignored; a few phrases mean a set ("all real numbers", "no solution")
========================  ======================================================================================================
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Literal

from qrdistill.tasks.compare.notation import plain
from qrdistill.tasks.compare.quantity import parse_quantity

Kind = Literal["leaf", "text", "sequence", "set", "list", "union", "matrix", "relation", "ratio", "based"]
MAX_ITEMS = 60
MAX_DEPTH = 8

_RELATIONS = re.compile(r"\\leq(?![a-z])|\\geq(?![a-z])|\\neq(?![a-z])|\\in(?![a-z])|\\equiv(?![a-z])|\\approx(?![a-z])|<|>|=")
_MATRIX = re.compile(
    r"\\begin\s*\{(?P<env>[pbB]?matrix|smallmatrix|array)\}\s*(?:\{[^{}]*\})?(?P<body>.*)\\end\s*\{(?P=env)\}", re.DOTALL
)
_OUTER_MATRIX = re.compile(r"^[(\[]\s*(?=\\begin)|(?<=\})\s*[)\]]$")
GROUPED = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})(?:\.\d+)?%?|[-+]?0,\d+%?")
"""Commas that are no list: thousands, and a decimal comma behind a zero."""
_BASED = re.compile(r"(?P<digits>[0-9A-Fa-f]+)\s*_\s*(?:\{\s*(?P<base>\d{1,2})\s*\}|(?P<base1>\d{1,2}))$")
_RATIO = re.compile(r"[^:]+(?::[^:]+)+")
_NAME = re.compile(
    r"(?:[A-Za-z]|\\[a-z]+)(?:\s*_\s*(?:\{[^{}]*\}|\w))?'*(?:\s*\(\s*[^()]{0,20}\s*\)"
    r"|\s*\^\s*\{?\s*-1\s*\}?\s*\([^()]{0,20}\))?|\\text\s*\{[^{}]*\}|[A-Za-z][A-Za-z ]{2,40}"
    r"|\(\s*[A-Za-z](?:\s*,\s*[A-Za-z])+\s*\)|\|?[A-Z]{2,3}\|?"
)
_CALL = re.compile(r"[A-Za-z]\s*\(\s*[^()=]{1,20}\s*\)")
_WORDS = re.compile(r"\\text\s*\{([^{}]*)\}|([A-Za-z]{3,})")
_NOT_WORDS = re.compile(
    r"\\(?!text\b)[A-Za-z]+|[-+*/^=<>|_!]|\d\s*[A-Za-z(\\]|\b(?:sqrt|sin|cos|tan|log|ln|exp|pi|abs|arctan|arcsin|arccos)\b"
)
_SETS = {
    "all real numbers": "(-\\infty ,\\infty )",
    "all reals": "(-\\infty ,\\infty )",
    "real numbers": "(-\\infty ,\\infty )",
    "\\mathbb{R}": "(-\\infty ,\\infty )",
    "no solution": "\\emptyset",
    "no solutions": "\\emptyset",
    "there is no solution": "\\emptyset",
    "there are no solutions": "\\emptyset",
    "no real solution": "\\emptyset",
    "no real solutions": "\\emptyset",
    "empty set": "\\emptyset",
    "the empty set": "\\emptyset",
    "\\{\\}": "\\emptyset",
    "\\{ \\}": "\\emptyset",
    "does not exist": "DNE",
    "dne": "DNE",
}


@dataclass(frozen=True, slots=True)
class Form:
    """A parsed answer. `text` is its plain notation; `items` its parts; `mark` the brackets, the operators or the connective."""

    kind: Kind
    text: str
    items: tuple[Form, ...] = ()
    mark: str = ""


def parse_form(text: str) -> Form:
    """The structure of an answer as written."""
    return _form(plain(text), 0)


def as_list(form: Form) -> Form | None:
    """A leaf that could also be a list ("10,100" is a number or two numbers), as that list."""
    if form.kind == "leaf" and re.fullmatch(r"-?\d+(?:\s*,\s*-?\d+)+", form.text):
        return Form("list", form.text, tuple(Form("leaf", part.strip()) for part in form.text.split(",")), ",")
    return None


def _form(text: str, depth: int) -> Form:
    text = text.strip()
    if depth > MAX_DEPTH:
        return Form("leaf", text)
    boxed_words = _ONLY_TEXT.fullmatch(text)
    if boxed_words and _LETTERS.fullmatch(boxed_words.group(1)):
        text = boxed_words.group(1)
    text = _SETS.get(text.casefold() if not text.startswith("\\") else text, text)
    is_number = re.fullmatch(r"[-+]?[\d,. ]*\d%?", text) is not None and ", " not in text
    for attempt in (
        ()
        if is_number and _is_grouped(text)
        else (_list, _union, _relation, _enclosed, _matrix, _plus_minus, _ratio, _based, _text)
    ):
        found = attempt(text, depth)
        if found is not None:
            return found
    return Form("leaf", text)


def _is_grouped(text: str) -> bool:
    return "," not in text or GROUPED.fullmatch(text) is not None


def split_top(text: str, separators: re.Pattern[str]) -> list[tuple[str, str]]:
    """(part, separator behind it) of a text cut at the separators outside all brackets."""
    parts, depth, begin, index = [], 0, 0, 0
    while index < len(text):
        char = text[index]
        if text.startswith(("\\{", "\\langle", "\\begin", "\\lfloor", "\\lceil"), index):
            depth, index = depth + 1, index + 2
            continue
        if text.startswith(("\\}", "\\rangle", "\\end", "\\rfloor", "\\rceil"), index):
            depth, index = depth - 1, index + 2
            continue
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif depth == 0 and (found := separators.match(text, index)):
            parts.append((text[begin:index].strip(), found.group().strip()))
            begin = index = found.end()
            continue
        index += 1
    parts.append((text[begin:].strip(), ""))
    return parts


_LIST = re.compile(
    r"(?:,|;)\s*(?:\\text\s*\{\s*)?(?:and|or)\b\s*\}?|,|;|\s(?:and|or)\s|\\text\s*\{\s*(?:and|or)\s*\}|\\(?:or|and)\b"
)
_ONLY_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_LETTERS = re.compile(r"\s*[A-Za-z](?:(?:\s*,\s*(?:(?:and|or)\s+)?|\s+(?:and|or)\s+)[A-Za-z])+\s*")
_CONNECTIVES = re.compile(r"\b(?:and|or)\b")
_WITHOUT = re.compile(r"\\mathbb\s*\{R\}\s*(?:\\setminus|\\backslash|-|\\smallsetminus)\s*\\\{(?P<points>.*)\\\}")
_CUP = re.compile(r"\\cup(?![a-z])")
_PM = re.compile(r"\\pm(?![a-z])")
_ROW = re.compile(r"\\\\(?:\[[^\]]*\])?")
_CELL = re.compile(r"&")
_COLON = re.compile(r":|\\text\s*\{\s*to\s*\}")


def _items(parts: list[tuple[str, str]], depth: int) -> tuple[Form, ...]:
    return tuple(_form(part, depth + 1) for part, _ in parts if part)


def _list(text: str, depth: int) -> Form | None:
    if not ("," in text or ";" in text or "or" in text or "and" in text):
        return None
    parts = split_top(text, _LIST)
    if len(parts) < 2 or len(parts) > MAX_ITEMS or not all(part for part, _ in parts[:-1]):
        return None
    if _text(_CONNECTIVES.sub(" ", text), depth) is not None and "\\text" not in text:
        return None
    mark = (
        "or"
        if any("or" in separator for _, separator in parts)
        else "and"
        if any("and" in separator for _, separator in parts)
        else ","
    )
    return Form("list", text, _items(parts, depth), mark)


def _union(text: str, depth: int) -> Form | None:
    without = _WITHOUT.fullmatch(text)
    if without:
        return _reals_without(text, without.group("points"), depth)
    if "\\cup" not in text:
        return None
    body = text.removeprefix("x \\in").removeprefix("x\\in")
    parts = split_top(body, _CUP)
    return Form("union", text, _items(parts, depth)) if len(parts) > 1 else None


def _reals_without(text: str, points: str, depth: int) -> Form | None:
    r"""The union of intervals that "\mathbb{R} \setminus \{a, b\}" is, if the points are plain numbers."""
    quantities = [(parse_quantity(part), part) for part, _ in split_top(points, _LIST)]
    if any(quantity is None for quantity, _ in quantities):
        return None
    ordered = [part for _, part in sorted(((quantity.value, part) for quantity, part in quantities if quantity))]
    ends = ["-\\infty", *ordered, "\\infty"]
    pieces = tuple(_form(f"({low},{high})", depth + 1) for low, high in itertools.pairwise(ends))
    return Form("union", text, pieces)


def _relation(text: str, depth: int) -> Form | None:
    parts = split_top(text, _RELATIONS)
    if len(parts) < 2 or len(parts) > 6 or not all(part for part, _ in parts):
        return None
    rounded = next((index for index, (_, separator) in enumerate(parts) if separator == "\\approx"), None)
    if rounded is not None:  # "2\sqrt{3} \approx 3.46" is the value and its rounding, "x \approx 3.46" a named value
        if rounded > 0 or not is_name(Form("leaf", parts[0][0])):
            return _form(" ".join(f"{part} {separator}" for part, separator in parts[:rounded]) + parts[rounded][0], depth + 1)
        parts[0] = (parts[0][0], "=")
    marks = " ".join(separator for _, separator in parts[:-1])
    return Form("relation", text, tuple(_form(part, depth + 1) for part, _ in parts), marks)


def _enclosed(text: str, depth: int) -> Form | None:
    for opening, closing, kind in (("\\{", "\\}", "set"), ("\\langle", "\\rangle", "sequence"), ("{", "}", "set")):
        if text.startswith(opening) and text.endswith(closing) and _closes_last(text):
            inner = text[len(opening) : -len(closing)].strip()
            parts = split_top(inner, _LIST)
            if kind == "set" and re.search(r"\||:|\\mid", inner):
                return None
            if opening == "{" and len(parts) == 1:
                return _form(inner, depth + 1)
            return Form("set" if kind == "set" else "sequence", text, _items(parts, depth), opening + closing)
    if text[:1] in {"(", "["} and text[-1:] in {")", "]"} and _closes_last(text):
        parts = split_top(text[1:-1], _LIST)
        if len(parts) > 1 and all(part for part, _ in parts):
            return Form("sequence", text, _items(parts, depth), text[0] + text[-1])
        if text[0] == "(" and text[-1] == ")":
            return _form(text[1:-1], depth + 1)
    return None


def _closes_last(text: str) -> bool:
    """Whether the bracket that opens the text is closed by its last one."""
    level = 0
    for index, char in enumerate(text):
        if char in "([{" or text.startswith("\\langle", index):
            level += 1
        elif char in ")]}" or text.startswith("\\rangle", index):
            level -= 1
            if level == 0:
                return index >= len(text) - (7 if text.endswith("\\rangle") else 1)
    return False


def _matrix(text: str, depth: int) -> Form | None:
    found = _MATRIX.fullmatch(_OUTER_MATRIX.sub("", text).strip())
    if found is None:
        return None
    rows = [part for part, _ in split_top(found.group("body").strip(), _ROW) if part]
    cells = tuple(Form("list", row, tuple(_form(cell, depth + 1) for cell, _ in split_top(row, _CELL)), "&") for row in rows)
    return Form("matrix", text, cells)


def _plus_minus(text: str, depth: int) -> Form | None:
    if "\\pm" not in text or text.count("\\pm") > 1 or "\\mp" in text:
        return None
    plus, minus = _PM.sub("+", text), _PM.sub("-", text)
    return Form("list", text, (_form(plus, depth + 1), _form(minus, depth + 1)), "or")


def _ratio(text: str, depth: int) -> Form | None:
    if ":" not in text and "to" not in text:
        return None
    parts = split_top(text, _COLON)
    is_clock = re.fullmatch(r"\d{1,2}:\d\d(?::\d\d)?.*", text) is not None
    if is_clock or not 2 <= len(parts) <= 5 or not all(part for part, _ in parts):
        return None
    return Form("ratio", text, _items(parts, depth))


def _based(text: str, depth: int) -> Form | None:
    found = _BASED.fullmatch(text)
    if found is None or not found.group("digits")[0].isdigit():
        return None
    return Form("based", text, (Form("leaf", found.group("digits")),), found.group("base") or found.group("base1"))


def _text(text: str, depth: int) -> Form | None:
    """Words. A formula with letters in it is not words, and a single letter is a symbol."""
    if not _WORDS.search(text) or _NOT_WORDS.search(re.sub(r"\\text\s*\{[^{}]*\}", "word", text)) or "(" in text.strip("()"):
        single = re.fullmatch(r"\\text\s*\{\s*\(?\s*([A-Za-z])\s*\)?\s*\}", text)
        return Form("leaf", single.group(1)) if single else None
    bare = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text)
    single = re.fullmatch(r"\s*\(?\s*([A-Za-z])\s*\)?\s*", bare)
    if single:
        return Form("leaf", single.group(1))
    if "\\text" in text and not re.search(r"[A-Za-z]{2,}", bare):
        return _form(bare, depth + 1)
    meaning = _SETS.get(" ".join(bare.casefold().split()))
    if meaning:
        return _form(meaning, depth + 1)
    words = [word for word in re.findall(r"[^\W_]+(?:'[^\W_]+)?", bare.casefold()) if word not in {"a", "an", "the"}]
    return Form("text", " ".join(words))


def names_value(form: Form) -> tuple[str, Form] | None:
    r"""(name, value) of "x = 5" or "x \in A" (either way round); None for any other form."""
    if form.kind != "relation":
        return None
    marks = form.mark.split()
    if any(mark not in {"=", "\\in"} for mark in marks):
        return None
    first, last = form.items[0], form.items[-1]
    if is_name(first):
        return _compact(first.text), last
    if len(form.items) == 2 and is_name(last) and marks == ["="]:
        return _compact(last.text), first
    return None


def is_name(form: Form) -> bool:
    """Whether a form can name a value: a letter, f(x), a word, a tuple of letters."""
    return _NAME.fullmatch(form.text) is not None and form.text not in {"\\pi", "\\infty", "\\emptyset", "DNE", "e", "i"}


def _compact(text: str) -> str:
    return re.sub(r"\s+|\\text|[{}]", "", text)
