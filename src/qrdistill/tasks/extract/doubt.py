"""Words around an answer that leave it unclaimed, and answers offered beside it.

"The answer is unlikely to be 42", "42 (not sure)", "42 would be wrong", "42 if it rains": the answer is named but not given.
"42. Or maybe 17" offers a second one, "42, but it's 17" replaces it.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.records import Reading, Statement
from qrdistill.types import AnswerKind

_CONTRAST = re.compile(
    r"\b(?:(?<!anything[ ])(?<!everything[ ])but|rather|instead|however|therefore|thus|hence)\b|,[ ]so\b|[;:]", re.IGNORECASE
)
_CLAUSE = re.compile(rf"{_CONTRAST.pattern}|\b(?:so|it's|it[ ]is)\b", re.IGNORECASE)
_BEFORE = re.compile(
    r"\b(?:hardly|unlikely|possibly|perhaps|maybe|might|may|could(?![ ]only)|can't|cannot|far[ ]from|close[ ]to"
    r"|anything[ ]but|no[ ]longer|used[ ]to"
    r"|similar|opposite|different|differs?|other[ ]than|related|next[ ]to|includes?|involves?|mentions?|contains?|excludes?"
    r"|rules?[ ]out|depends"
    r"|starts?[ ]with|nothing[ ]to[ ]do|whether|wish|want|wonder|tempted|misled|fooled|confused)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(r"\b(?:not|never|neither|nor)\b(?!\s*only)|n't\b", re.IGNORECASE)
_DOUBT = (
    r"(?:[\u2026.,]{0,4}[ ]?\(?(?:i'm[ ]|i[ ]am[ ])?(?:not[ ](?:so[ ]|really[ ]|entirely[ ]|100%[ ]|too[ ]|very[ ]"
    r"|quite[ ])?(?:sure|certain)|unsure|uncertain)\b"
    r"|[ ]?\(\?+\)|\?|,?[ ]?(?:but|though|although)[ ](?:i'm|i[ ]am)[ ](?:really[ ]|honestly[ ])?(?:not|un)"
    r"|,?[ ]?(?:is|was|would[ ]be|seems?|looks?)[ ](?:wrong|incorrect|false|not\b|out\b|excluded|impossible|ruled|eliminated"
    r"|unlikely|a[ ](?:mistake|trap|distractor))"
    r"|[ ]?(?:cannot|can't|can[ ]not|could[ ]not|couldn't)[ ]be\b|[ ]?isn't\b"
    r"|,?[ ]?(?:only[ ])?if\b(?![ ](?:i'm|i[ ]am|my|i|we[ ]want)\b)|,?[ ]?unless\b"
    r"|,?[ ](?:had|were)[ ](?:it|he|she|they|we|i|you|there|this|that|the)\b|,?[ ]?until\b|[ ]?in[ ](?:that"
    r"|the[ ](?:first|second|former|latter|other)|some|one)[ ](?:cases?|parts?)\b"
    r"|[ ]?for[ ](?:one|some|the[ ](?:one|first))\b|[ ]?to[ ]the[ ]first\b|[ ]?at[ ]first\b"
    r"|[ ]?[:\u2014\u2013-][ ]?(?:wrong|incorrect|false|nope|no[ ]good|rejected|eliminated)\b)"
)
_AFTER_LABEL = re.compile(r"[\"'*`)\]}$%\\]{0,8}[ ]{0,2}" + _DOUBT, re.IGNORECASE)
_AFTER_VALUE = re.compile(
    r"[\"'*`)\]}$%\\]{0,8}(?:[ ](?!(?:is|was|if|only|unless|in|for|to|at|but|would|seems?|isn't|can\w*|and|or|since|because"
    r"|as|not)\b)[A-Za-z]{1,15}){0,2}[ ]{0,2}" + _DOUBT,
    re.IGNORECASE,
)
"""What is counted may stand between a number and the doubt."""
_OFFERED = re.compile(
    r"[\s\"'*)\]}$%]{0,12}(?:[ ][A-Za-z]{1,30}){0,2}(?:,?[ ]i[ ](?:guess|think|believe"
    r"|suppose))?[\s.,;:!?\u2026\u2014\u2013()\"'*-]{0,12}"
    r"(?:\bor\b(?![ ]rather\b|[ ]so\b|[ ]else\b)|->|\u2192|[|&;]|\b(?:plus|vs\.?|versus)(?=[ ])|(?<=[\s.,(])(?:maybe|perhaps"
    r"|possibly)\b"
    r"|\b(?:though|although|but)[ ](?:it|this|that)[ ](?:might|could|may)(?:[ ]also)?[ ]be\b)[ ,$]*"
    r"(?:(?:maybe|possibly|perhaps|else|even|is[ ]it)[ ,$]+)?",
    re.IGNORECASE,
)
_REPLACED = re.compile(
    r"[\s\"'*)\]}$%]{0,12}(?:[ ][A-Za-z]{1,30}){0,2}[,;.]?[ ]+(?:but|however|yet)[ ,]+(?:(?:in[ ]fact|actually|really"
    r"|in[ ]reality)[ ,]+)?"
    r"(?:it|that|this|the[ ](?:correct[ ]|right[ ]|real[ ]|true[ ]|actual[ ])?answer)(?:'s|[ ]is|[ ]was)(?:[ ](?:really"
    r"|actually|in[ ]fact))?[ ]+",
    re.IGNORECASE,
)


def is_doubted(text: str, statement: Statement, found: Reading, kind: AnswerKind) -> bool:
    """Whether the words just before or behind an answer deny it, doubt it or tie it to a condition."""
    line_end = text.find("\n", found.end)
    after = _AFTER_VALUE if kind in {"number", "math"} else _AFTER_LABEL
    if after.match(text, found.end, len(text) if line_end < 0 else line_end):
        return True
    if statement.source in {"boxed", "tag", "json"}:
        return "?" in text[found.start : found.end]
    begin = statement.start
    if statement.source in {"bold", "emphasis", "predicate"}:
        begin = max(text.rfind(stop, 0, begin + 1) + len(stop) for stop in (". ", "! ", "? ", "\n"))
    lead = text[max(0, begin, found.start - 200) : found.start]
    is_open = _BEFORE.search(_CONTRAST.split(lead)[-1]) is not None
    reads_denials = kind in {"nli", "yesno", "choice"} and statement.source not in {"bold", "emphasis"}
    return is_open or (not reads_denials and _DENIED.search(_CLAUSE.split(lead)[-1]) is not None)


def offered(text: str, start: int, end: int) -> tuple[int, bool] | None:
    """(where another answer may begin behind an answer that ends at `start`, whether it would replace that one), or None."""
    replaced = _REPLACED.match(text, start, end)
    if replaced:
        return replaced.end(), True
    beside = _OFFERED.match(text, start, end)
    return (beside.end(), False) if beside else None
