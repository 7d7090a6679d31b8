"""What may stand around a bare answer and leaves it as it is: "42, not 17", "not 17 but 42", "42. That's my answer"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from qrdistill.tasks.extract.records import Source, Statement

_PLACES: frozenset[Source] = frozenset({"lead", "line", "bold", "predicate", "correction"})
_AFTER = r"(?<=[\w})\]$%.*])[\"'*)}\]]*"
_CONTRAST = re.compile(
    _AFTER
    + r"(?:(?:,[ ]*|[ ]?\(|[ ]?[\u2014\u2013-]+[ ]?)(?:and[ ]|but[ ])?(?:not|never)\b(?![ ](?:sure|certain|quite|really|100))"
    r"|[ ](?:rather[ ]than|instead[ ]of)\b)",
    re.IGNORECASE,
)
_NOT_BUT = re.compile(
    r"\W*(?:(?:it|that|this)(?:'s|[ ]is)[ ])?not\b[^.;\n]{1,80}?(?:,?[ ]but(?:[ ]rather)?|:|[,;][ ](?:it|that)(?:'s|[ ]is))[ ]+",
    re.IGNORECASE,
)
_REMARK = re.compile(
    _AFTER + r"(?:[.!]?[ ]*[,;:.!(\[\u2014\u2013-]+[ ]*[(\[]?"
    r"(?:(?:the[ ]|my[ ])?final[ ]answer|i[ ](?:think|believe|guess|suppose|would[ ]say|hope)|i'd[ ]say|in[ ]my[ ]opinion"
    r"|(?:most[ ])?(?:likely|probably)\b"
    r"|obviously|clearly|of[ ]course|certainly|definitely|for[ ]sure|no[ ]doubt|without[ ](?:a[ ])?doubt|undoubtedly|indeed"
    r"|hence\b|q\.?e\.?d|done\b|simple\b"
    r"|easy\b|(?:it|that|this)(?:'s|[ ]is)[ ](?:it\b|all\b|so\b|my\b|the[ ](?:\w+[ ])?answer|because|based|due|what)"
    r"|(?:here's|here[ ]is)[ ]|explanation|reason(?:ing)?\b"
    r"|the[ ]reason|rationale|justification|confidence|confident|considering|see[ ]above|let[ ]me[ ]know|hope[ ](?:this|that)"
    r"|thanks"
    r"|\d{1,3}%[ ](?:sure|confident|certain)|as[ ](?:it|the|they|this|we)\b|because\b|since\b|due[ ]to|given[ ](?:that|the)"
    r"|based[ ]on)"
    r"|[ ](?:because\b|since\b|due[ ]to|given[ ]that|based[ ]on|as[ ](?:explained|shown|stated|required|desired|expected|seen"
    r"|computed|calculated|above)\b"
    r"|is[ ]what[ ](?:i|we)[ ]|it[ ]is[.!]*$|[(\[]?final[ ]answer|<-)"
    r"|,[ ]as[ ](?:explained|shown|stated|required|desired|expected|seen|computed|calculated|above)\b)",
    re.IGNORECASE,
)
_DASH = re.compile(
    _AFTER + r"(?:[ ][\u2014\u2013-]{1,2}[ ]|[ ]?\u2014[ ]?)(?!(?:this[ ]|that[ ]|it[ ]|which[ ])?(?:is[ ]|was[ ])?(?:incorrect"
    r"|wrong|not|no|false|never|eliminated|ruled"
    r"|unlikely|too|but|or|maybe|perhaps|isn't|doesn't|can't|cannot)\b)(?=[A-Za-z]{2,})",
    re.IGNORECASE,
)


def without_tails(text: str, statement: Statement) -> Iterator[Statement]:
    """The place without what may be said around a bare answer, the shortest first; nothing for places that are no bare ones."""
    if statement.source not in _PLACES:
        return
    for pattern in (_CONTRAST, _REMARK, _DASH):
        cut = pattern.search(text, statement.start, min(statement.end, statement.start + 200))
        if cut and cut.start() > statement.start:
            yield replace(statement, end=cut.start())
    turned = _NOT_BUT.match(text, statement.start, statement.end)
    if turned:
        yield replace(statement, start=turned.end(), is_exact=True)
