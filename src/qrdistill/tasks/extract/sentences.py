"""The sentences of a reply, the courtesies that close it, and what its last sentence says of its subject.

"Adding them up gives 11 stickers", "The capital is London", "The statements are contradictory": a reply that announces nothing
often just says the answer in its last sentence. :func:`predicate` finds the words behind the last linking verb (or equals sign)
of such a sentence; each kind of answer accepts them only if they are an answer and nothing else. A sentence that asks, doubts,
denies, plans or sets a condition says no answer.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from qrdistill.tasks.extract.explained import before_explanation


class Sentence(NamedTuple):
    """Characters [start, end) of a text, and the mark the sentence stops with ("" at a line's end or where the text ends)."""

    start: int
    end: int
    stop: str


_STOP = re.compile(r"(?<!\d)(?<!\\)(?<!, i\.e)(?<!\(i\.e)(?<!, e\.g)(?<!\(e\.g)[.!?](?=[\s\"')*\]]|$)|(?<=\d)[.!?](?=\s|$)|\n+")
_COURTESY = re.compile(
    r"[\s*_>#\"'(-]*(?:i[ ])?(?:(?:really[ ]|do[ ])?hope[ ](?:this|that|it|you)\b|let[ ]me[ ]know|(?:please[ ])?feel[ ]free"
    r"|if[ ]you(?:'d|[ ]have|[ ]need|[ ]want"
    r"|[ ]would|[ ]still)\b|is[ ]there[ ]anything|(?:please[ ])?(?:ask|reach[ ]out)|thank|thanks|good[ ]luck"
    r"|happy[ ]to[ ]help|happy[ ](?:learning|studying|coding)"
    r"|any[ ](?:other[ ]|further[ ]|more[ ])?questions|have[ ]a[ ](?:great|nice|good|wonderful)|glad[ ]|you're[ ]welcome"
    r"|would[ ]you[ ]like|do[ ]you[ ](?:have|need|want)"
    r"|does[ ](?:this|that)[ ](?:help|make)|cheers|best[ ]regards|sincerely|keep[ ]up|great[ ](?:question|job)|i'm[ ](?:here"
    r"|happy)|enjoy\b|q\.e\.d|qed\b)",
    re.IGNORECASE,
)
_OPEN = re.compile(
    r"\b(?:if|whether|unless|suppose|let|assume|assuming|let's|need|should(?![ ]be\b)|could|might|may|maybe|perhaps|possibly"
    r"|want|wonder|wondering|consider|find|calculate"
    r"|compute|determine|figure|check|verify|how|what|why|doubt|unclear|unknown|unsure|uncertain|cannot|can't|not|never|no"
    r"|nor|neither|either|or|without|except|hardly|guess(?=[ ]the)|possible|conceivable|often|commonly|widely|claimed"
    r"|example|mentions?|mentioned|says|said|stated|asks|asked|asking|question|problem|puzzle|text|passage|story|chapter|page"
    r"|section|imagine|please|respond|reply|show|prove|tempting|mistake|(?:have|has|had|want|wants|going"
    r"|supposed)[ ]to(?![ ]be\b))\b|n't\b|\?"
    r"|(?<!\bi )(?<!\bwe )\b(?:thinks?|believes?|claims?|guess(?:es)?)\b"
    r"|\b(?:thought|assume[ds]?|believed|guessed|claimed|used[ ]to|according[ ]to[ ][A-Z]|were|had)\b(?=[^.]*\b(?:it|answer"
    r"|this|that|would)\b)"
    r"|\b(?:not|n't)[ ](?:\w+[ ])?(?:certain|sure|convinced|confident|positive)\b|\b(?:no[ ]way|in[ ]no[ ]case"
    r"|by[ ]no[ ]means)\b"
    r"|\b(?:worst|weakest|poorest|(?:least|less)[ ]\w+|second[ -]best)[ ](?:answer|choice|option|guess|pick)\b|\bdistractors?\b",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"(?<![<>!=:])(?:=>|->|=|\u2192|\u21d2|\u2248)(?!=)|\b(?:total(?:ing)?[ ]of|is|are|was|were|be|'s|equals?|equal[ ]to"
    r"|becomes?|means|makes?"
    r"|made|gives?|gave|(?<!\bafter[ ])(?<!\bbefore[ ])(?<!\bby[ ])(?<!\bwhen[ ])(?<!\bwhile[ ])(?<!\bwithout[ ])(?<!\bfor[ ])"
    r"(?:giving|yielding|leaving)|yields?|leaves?|left[ ]with"
    r"|(?<!\bin )totals?|sum[ ]of|comes?[ ](?:out[ ])?to|came[ ]to|amounts?[ ]to|(?:end|ends|ended)[ ]up[ ](?:with|at|as|being)"
    r"|lead(?:s|ing)?(?:[ ]us)?[ ]to|points?[ ]to|supports"
    r"|comes?[ ]down[ ]to|boils?[ ]down[ ]to|comes?[ ]out[ ](?:as|at)|stands?[ ]at|brings?[ ]us[ ]to|adds?[ ]up[ ]to"
    r"|works?[ ]out[ ](?:to|as|at)|results?[ ]in|get|gets|got|obtain|arrives?[ ]at|called|named)\b"
    r"(?:[ ](?:us|you|him|her|them|me|with|it|(?:the|our|my)[ ](?:final[ ])?answer)\b)?",
    re.IGNORECASE,
)
_EXCLAIMED = re.compile(r"[\s*_]*(?:no|nope|yes|well|ok|okay|hmm|right)(?:[,.!:][ ]+|[ ]+(?=(?:it|this|that)\b))", re.IGNORECASE)
_NEXT_CLAUSE = re.compile(
    r"[;,\u2014][ ]+(?:but[ ]|so[ ]|and[ ]|rather[ ])?(?=(?:it|this|that|they|the[ ]\w+(?:[ ]\w+)?)(?:'s|[ ](?:is|are|was"
    r"|must|should|equals))\b)",
    re.IGNORECASE,
)
_CONDITIONAL = re.compile(
    r"\b(?:if|unless|suppose|assum\w+|whether|might|may|could|maybe|perhaps|while|although|though|were|had)\b", re.IGNORECASE
)
_OPEN_FORMULA = re.compile(rf"{_CONDITIONAL.pattern}|\b(?:or|not|let)\b|n't\b", re.IGNORECASE)
_ASIDE = re.compile(
    r"(?:,?[ ]+\b(?:because|since|as|which|who|where|while|whereas|given|due[ ]to|so[ ]that|rather[ ]than|instead[ ]of|making"
    r"|considering|based[ ]on|according[ ]to|when|after|before"
    r"|thanks[ ]to|and[ ]so|and[ ]therefore)\b|,[ ]+(?:not|attained|achieved|reached|occurring)\b"
    r"|[ ]*\((?:since|because|as|not|i\.e|e\.g|that[ ]is|which|see)\b|;"
    r"|[ ][\u2014\u2013-]{1,2}[ ](?=[A-Za-z]{2}))",
    re.IGNORECASE,
)
_OUTCOME = re.compile(
    r",[ ](?:which|and[ ]this|and[ ]that)[ ](?:gives?|yields?|makes|leaves?|equals|totals|adds?[ ]up[ ]to|comes?[ ]to"
    r"|amounts?[ ]to|results?[ ]in)"
    r"(?:[ ](?:us|you|him|her|them|a[ ]total[ ]of))?\b",
    re.IGNORECASE,
)
_THERE = re.compile(
    r"[\s*_]*(?:(?:so|and|therefore|thus|hence|then|now|in[ ]total|altogether)[, ]+)*there[ ]?(?:is|are|was|were|'s)\b",
    re.IGNORECASE,
)
_IN_ALL = re.compile(
    r"\b(?:in[ ]total|in[ ]all|altogether|all[ ]together|left|remaining|remain|combined|overall)\b", re.IGNORECASE
)
_FIRST_PERSON = re.compile(r"[\s*_]*(?:i|my|me|we|our)\b", re.IGNORECASE)


def sentences(text: str, start: int, end: int) -> list[Sentence]:
    """The sentences (or lines) of text[start:end]."""
    found, begin = [], start
    for stop in _STOP.finditer(text, start, end):
        if text[begin : stop.start()].strip():
            found.append(Sentence(begin, stop.start(), stop.group().strip()))
        begin = stop.end()
    if text[begin:end].strip():
        found.append(Sentence(begin, end, ""))
    return found


def without_courtesies(text: str, start: int, end: int) -> int:
    """Where a reply ends if the courtesies behind it ("I hope this helps!") are left out."""
    for sentence in reversed(sentences(text, start, end)[-6:]):
        if any(char.isalnum() for char in text[sentence.start : sentence.end]) and not _COURTESY.match(
            text, sentence.start, sentence.end
        ):
            return min(end, sentence.end + len(sentence.stop))
    return end


def predicate(text: str, start: int, sentence: Sentence) -> tuple[int, int] | None:
    """What the last sentence of text[start:...] says of its subject; None where it claims nothing or restates a premise."""
    first, last = sentence.start, sentence.end
    if sentence.stop == "?" or last - first > 600:
        return None
    first = _clause_begin(text, first, last)
    links = list(_LINK.finditer(text, first, last))
    if not links:
        return None
    outcome = _OUTCOME.search(text, links[0].end(), last)
    if outcome and not _OPEN.search(text, first, outcome.start()):
        return outcome.end(), last
    aside = _ASIDE.search(text, links[0].end(), last)
    if aside and aside.group().strip().casefold() == "before":
        return None  # what held before is not what holds in the end
    close = aside.start() if aside else last
    link = [link for link in links if link.end() < close or link is links[0]][-1]
    is_sign = not link.group()[0].isalpha() and link.group()[0] != "'"
    if is_sign and before_explanation(text, first, link.end(), is_announced=False) < link.start():
        return None
    is_open = _OPEN_FORMULA if is_sign else _OPEN
    if is_open.search(text, first, link.end()) or link.start() == first:
        return None
    is_listing = _THERE.match(text, first, last) and not _IN_ALL.search(text, first, last)
    if is_listing and not is_sign and "=" not in text[start:first]:
        return None
    return link.end(), close


def _clause_begin(text: str, first: int, last: int) -> int:
    """Where the clause that makes the claim begins: behind "No," and behind "it isn't 17;", but not behind a condition."""
    exclaimed = _EXCLAIMED.match(text, first, last)
    first = exclaimed.end() if exclaimed else first
    clauses = list(_NEXT_CLAUSE.finditer(text, first, last))
    return clauses[-1].end() if clauses and not _CONDITIONAL.search(text, first, clauses[-1].start()) else first


def is_asserted(text: str, first: int, last: int) -> bool:
    """Whether what text[first:last] says holds: no condition, no mere possibility."""
    return not _CONDITIONAL.search(text, first, last)


def is_plain_claim(text: str, start: int, sentence: Sentence) -> bool:
    """Whether the last sentence is one plain claim about something else than the writer."""
    first, last = sentence.start, sentence.end
    is_open = _OPEN.search(text, first, last) or sentence.stop == "?" or last - first > 300
    return not (is_open or _FIRST_PERSON.match(text, first, last) or _THERE.match(text, first, last))
