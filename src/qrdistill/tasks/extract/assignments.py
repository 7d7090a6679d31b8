"""Clauses that give two values: "x = 1 and x = 2" (both roots), "x = 3 and y = 4" or a line "x = 3, y = 4" (one value each).

Behind the last equals sign of such a clause stands only half of what it says.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from qrdistill.tasks.extract.records import Source, Statement

_UNSAID: frozenset[Source] = frozenset({"bold", "line", "lead", "predicate", "pronoun", "conclusion"})
"""Places that do not announce an answer; what announces one is read whole anyway."""
MAX_PAIR = 160
"""How far before the end of a place its two values may begin."""
_SIDE = r"(?P<{0}>[A-Za-z])(?:_\{{?\w\}}?)?[ ]?=[ ]?(?P<{0}_value>(?:(?![ ][A-Za-z]{{3}})[^=\n]){{1,40}}?)"
_PAIR = re.compile(
    r"(?:^|(?<=[\s$(,:*]))(?<![\d+*/^=-][ ])(?P<whole>"
    + _SIDE.format("first")
    + r"(?:[$)\\]{0,2}[ ]?(?:[,;](?:[ ](?P<joined>and|or)\b)?|[ ]?\b(?P<joined2>and|or)\b)[\s$(\\]*)"
    + _SIDE.format("second")
    + r")[\s$)\\.*]*$",
)


class Pair(NamedTuple):
    """Two values as one list, and where they stand."""

    value: str
    start: int
    end: int


def pair(text: str, statement: Statement) -> Pair | None:
    """The two values of the clause a place ends; None where it gives one, or works one out from another ("r = 5, A = 25")."""
    if statement.source not in _UNSAID:
        return None
    begin = max(0, statement.end - MAX_PAIR)
    line = text.rfind("\n", begin, statement.start) + 1
    found = _PAIR.search(text, max(begin, line), statement.end)
    if found is None:
        return None
    is_point = ord(found["second"]) - ord(found["first"]) == 1 and not text[line : found.start()].strip(" *_$([")
    if not (found["first"] == found["second"] or found["joined"] or found["joined2"] or is_point):
        return None
    first, second = (found[side] + " = " + found[f"{side}_value"].strip(" $()\\") for side in ("first", "second"))
    return Pair(f"{first}, {second}", *found.span("whole"))
