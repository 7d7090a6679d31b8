"""Cues: words that announce the final answer ("the answer is", "Final answer:", "I'll go with"), and where they do not claim it.

A cue does not count where it is not asserted: inside a condition ("if the answer is B"), a reported or mistaken thought ("one
might think the answer is B"), a denial ("I don't think the answer is B") or a question ("is the answer B?", "the answer is B?").
"""

from __future__ import annotations

import re
from functools import lru_cache

from qrdistill.tasks.extract.gated import Gated
from qrdistill.tasks.extract.records import Statement, sentence_end
from qrdistill.types import AnswerKind

MAX_CUES = 200
"""How many cues, from the end, are looked at; bounds the work on hostile input."""

_ADJECTIVE = (
    r"(?:final|correct|right|best|most[ ]\w{3,14}|only|overall|numeric(?:al)?|exact|simplified|complete|required|desired|revised"
    r"|corrected|updated|new|ultimate|actual|true|short|full|closest|logical|appropriate|intended|expected|proper|likely|real|own)"
)
_QUALIFIER = (
    r"(?:[ ]?\([^()\n]{0,40}\)|[ ]?#?\d{1,2}(?=[ ]?[:=])|,[ ][^.,;:?!\n]{1,30},|[ ](?:to|for|of|in|here|from|among|choice"
    r"|option|letter|now|then"
    r"|therefore|thus|by|that|which|i|we|you|given|based)\b[^.:;=?!\n$]{0,60}?)?"
)
_COPULA = (
    r"(?:(?:'s|[ ]{1,2}(?:(?:is|was|are|were)(?=n't)|is|are|was|were|(?:would|will|should|must|has[ ]to"
    r"|can[ ]only)[ ](?:(?:[a-z]+ly|instead|therefore|thus|then|indeed)[ ])?be|should[ ]have[ ]been|(?:seems"
    r"|appears)(?:[ ]to[ ]be)?|looks[ ](?:like|to[ ]be)"
    r"|becomes|equals|comes[ ](?:out[ ])?(?:to(?:[ ]be)?|as|at)|stands[ ]at|turns[ ]out[ ]to[ ]be|ends[ ]up[ ]being"
    r"|remains))(?=n't|\W|$)(?![ ](?:looking|seeking|searching|after|asked)\b)"
    r"|(?P<sign>[ ]{0,2}(?:={2,}>|:-|[.~]-?[ ]|[:=|\u2192\u21d2]|[-=]>|>{2,3}|[-\u2013\u2014](?=\s))))"
)
_ANSWER = r"answers?|ans\.?"
_VALUE_NOUNS = r"|(?:final|correct|overall|required|desired)[ ](?:result|value|total|number|amount|solution|count)"
_LABEL_NOUNS = r"|labels?|relation(?:ship)?|classification|verdict|category|inference|judge?ment|prediction"
_FOREIGN = (
    r"(?:r[e\u00e9]ponse|respuesta|antwort|risposta|resposta|odpowied\u017a|\u043e\u0442\u0432\u0435\u0442|\u0909\u0924\u094d\u0924\u0930)"
    r"(?:[ ](?:final|correcta|correcte|finale)\b)?[ ]?(?:[:=]|[ ](?:est|es|ist|lautet|is|\u00e8|\u00e9)\b[ :]*)"
    r"|(?:\u7b54\u6848|\u7b54\u3048|\u6b63\u89e3|\u56de\u7b54)[\])\"]?[ ]?(?:\u662f|\u4e3a|\u70ba|\u306f|:)+"
)
"""The same in a few other languages, in which models now and then slip."""


_ANSWER_WORDS = (
    *("ans", "r\u00e9ponse", "reponse", "respuesta", "antwort", "risposta", "resposta", "odpowied\u017a"),
    *(
        "\u043e\u0442\u0432\u0435\u0442",
        "\u0909\u0924\u094d\u0924\u0930",
        "\u7b54\u6848",
        "\u7b54\u3048",
        "\u6b63\u89e3",
        "\u56de\u7b54",
    ),
)
_VALUE_WORDS = ("final", "correct", "overall", "required", "desired")
_LABEL_WORDS = ("label", "relation", "classif", "verdict", "categor", "inference", "judg", "predict")


def _cue_regex(nouns: str, *words: str) -> Gated:
    return Gated(
        (*_ANSWER_WORDS, *words),
        rf"(?<![\w\"'])(?:{_ADJECTIVE}[ ,]{{1,2}}){{0,3}}(?:final_)?(?:{nouns})(?!\w|[\"'](?!s\b))(?:{_QUALIFIER}{_COPULA}"
        rf"|(?P<heading>[ :*_]*$))|{_FOREIGN}",
        re.IGNORECASE | re.MULTILINE,
    )


_CUES: dict[AnswerKind, Gated] = {
    "choice": _cue_regex(_ANSWER),
    "yesno": _cue_regex(_ANSWER),
    "nli": _cue_regex(_ANSWER + _LABEL_NOUNS, *_LABEL_WORDS),
    "number": _cue_regex(_ANSWER + _VALUE_NOUNS, *_VALUE_WORDS),
    "math": _cue_regex(_ANSWER + _VALUE_NOUNS, *_VALUE_WORDS),
}
_GAP = re.compile(r"[ \t:*_`\"]*(?:\n[ \t>*_`]*(?:-[ ]+)?|(?:\$\$|\\\[)[ ]*(?=\n)){0,5}")
_PICK = Gated(
    ("i ", "i'", "we ", "let", "my "),
    r"\b(?:(?:i|we|i'd|i'll|i'm|i've|let's|let[ ]us)[ ](?:would[ ]|will[ ]|should[ ]|can[ ]|must[ ]|have[ ]to[ ]"
    r"|am[ ](?:inclined[ ]to[ ])?|have[ ]|inclined[ ]to[ ]){0,2}(?:therefore[ ]|thus[ ]"
    r"|probably[ ]|still[ ])?(?:choos(?:e|ing)|chose|chosen|put|vote[ ]for|vote|pick(?:ed)?|select(?:ed)?"
    r"|go(?:ing)?[ ](?:with|for)"
    r"|went[ ]with|opt(?:ed)?[ ]for"
    r"|stick(?:ing)?[ ](?:with|to)"
    r"|answer(?:[ ]with)?|agree[ ]with|settle[ ]on|conclude[ ]with|guess(?:ing)?|bet[ ]on|(?:am[ ])?confident[ ]in"
    r"|lean(?:ing)?[ ](?:towards?|to)|say"
    r"|submit)(?::|[ ])"
    r"|my[ ](?:best[ ]|educated[ ]|final[ ]|own[ ])?(?:guess|pick|choice|bet|gut(?:[ ]feeling)?|instinct|intuition|vote"
    r"|selection|estimate|prediction|money)"
    r"(?:[ ](?:is[ ]on|is|says|would[ ]be|goes[ ]to|remains|tells[ ]me)\b|[ ]?:)[ ]?)",
    re.IGNORECASE,
)
_HELD = Gated(
    ("is correct", "is right", "is the"),
    r"(?:^|(?<=[.,;:!?\n])[ ]?|\b(?:so|therefore|thus|hence|that|think|believe)[ ,]{1,2})(?P<content>(?:[^.,;:!?\n]"
    r"|[.,](?=\d)){1,40}?)[ ]"
    r"is[ ](?:correct|right|the[ ](?:one|right[ ]one|correct[ ]one))(?=[\s.!*]*$|[,;][ ]|[ ]and[ ])",
    re.IGNORECASE | re.MULTILINE,
)
_NO_CLAIM_WORDS = (
    *("if", "whether", "unless", "suppos", "assum", "imagin", "why", "how", "not", "never", "hardly", "n't", "initial", "first"),
    *("previous", "old", "draft", "origin", "earlier", "former", "naive", "alternat", "other", "no way", "no case", "no means"),
    *(
        "seem",
        "often",
        "common",
        "wide",
        "sometimes",
        "think",
        "say",
        "said",
        "claim",
        "believ",
        "argu",
        "guess",
        "suspect",
        "'s",
    ),
    *("last", "example", "sample", "maybe", "perhaps", "possib", "thought", "figured", "expect", "doubt", "wrong", "incorrect"),
    *("false", "mistak", "erron", "untrue", "tempt", "trap", "might", "may", "could", "would", "some", "people", "many"),
    *("student", "friend", "least", "less", "worst", "second", "weak", "wish"),
)
_NOT_ASSERTED = Gated(
    _NO_CLAIM_WORDS,
    r"\b(?:if|whether|unless|(?<!\bi )suppose|supposing|assume|assuming|imagine|why|how)(?:[ ]that)?[ ](?:the[ ]|my[ ]"
    r"|your[ ]|our[ ]"
    r"|its[ ]|this[ ])?$"
    r"|(?:\b(?:not|never|cannot|hardly)|n't)[ ](?:\w+[ ]){0,3}(?:think|say|said|believe|conclude|mean|claim|agree|assume"
    r"|suggest|imply|accept|clear|certain|convinced|confident|positive|sure)\b[^.;:!?\n]{0,30}$"
    r"|(?:\b(?:not|never|cannot|hardly)|n't)[ ](?:\w+[ ]){0,3}(?:true|possible|the[ ]case)\b[^.,;:!?\n]{0,30}$"
    r"|\bnot[ ](?:the|my|our)[ ]$|\b(?:least|less|worst|second|weakest)[ -]$|\bwish(?:es|ed)?[ ](?:that[ ])?(?:the[ ]|my[ ])?$"
    r"|\b(?:initial|first|previous|old|draft|original|earlier|former|naive|alternative|other)[ ]$"
    r"|\b(?:no[ ]way|in[ ]no[ ]case|by[ ]no[ ]means|may[ ]seem|might[ ]seem|could[ ]seem|often|commonly|widely"
    r"|sometimes)\b[^.,;:!?\n]{0,40}$"
    r"|\b(?:thinks|says|claims|believes|argues|guesses|suspects)[ ](?:that[ ])?(?:the[ ]|it[ ])?$"
    r"|(?<!\bhere)(?<!\blet)(?<!\bthat)(?<!\bit)'s[ ](?:\w+[ ])?$"
    r"|\b(?:previous|last|another|other|earlier)[ ](?:question|problem|example|time|one|case)\b[^.;\n]{0,20}$|\bin[ ](?:the"
    r"|this|that)[ ](?:example|sample)\b[^.;\n]{0,20}$"
    r"|\b(?:maybe|perhaps|possibly)[ ,]{1,2}(?:the[ ]|my[ ])?$"
    r"|\b(?:thought|assumed|believed|guessed|figured|expected|suspected|supposed)(?:[ ]that)?[ ](?:the[ ]|my[ ])?$"
    r"|\b(?:doubt|wrong|incorrect|false|mistaken|mistake|incorrectly|wrongly|erroneously|untrue|tempting|tempted|trap)\b[^.;:!?,\n]{0,40}$"
    r"|(?:\b(?:might|may|could)|(?<!\bi )(?<!\bwe )\bwould)[ ](?:\w+[ ])?(?:think|say|guess|assume|argue|believe|suppose"
    r"|conclude|suggest"
    r"|be[ ]tempted)\b[^.,;:!?\n]{0,40}$"
    r"|\b(?:some|someone|somebody|people|many|others|students|friend|he|she|they)[ ](?:\w+[ ])?(?:thinks?|says?|said"
    r"|guess(?:es)?|claims?|argues?|believes?)\b[^.,;:!?\n]{0,40}$",
    re.IGNORECASE,
)
_IF = re.compile(
    r"\b(?:if(?![ ](?:we|you|one|i)[ ](?:\w+[ ])?(?:look|consider|think|recall|read|take|compare|go|check|follow|examine"
    r"|apply|use|analy[sz]e"
    r"|add|multiply|divide|subtract)\b)|unless|suppose|in[ ]case|had)\b",
    re.IGNORECASE,
)
_WOULD = re.compile(r"\bwould\b", re.IGNORECASE)
_OPEN_CUE = Gated(
    ("answer",),
    r"\b(?:is|was|could|would|can|might|may|should)[ ](?:the[ ])?(?:\w+[ ])?answer\b(?:[ ](?:be|really|actually))?"
    r"|\banswer\b[^.\n]{0,30}?[ ](?P<might>might|may|could)\b(?:[ ]\w+)?[ ]be\b",
    re.IGNORECASE,
)
_BUT = re.compile(r"\b(?:but|however|yet|although|though|nevertheless)\b", re.IGNORECASE)
_TURNS = re.compile(r"[,;][ ](?:but|however|yet|although|though|nevertheless)\b|[ ]but[ ]", re.IGNORECASE)


def cues(text: str, start: int, end: int, kind: AnswerKind) -> list[Statement]:
    """Asserted cues with what they announce, in order (which nouns make a cue depends on the kind)."""
    found = []
    for cue, is_asserted in _announcements(text, start, end, kind)[-MAX_CUES:]:
        if not is_asserted:
            continue
        gap = _GAP.match(text, cue.end(), end)
        content = gap.end() if gap else cue.end()
        close = sentence_end(text, content, end)
        if content >= close or text.startswith("?", close):
            continue
        is_assignment = cue.group("sign") is not None and "=" in cue.group("sign")
        before = _GUESSING.sub("", text[max(start, cue.start() - 90) : cue.start()])
        is_conditional = _IF.search(before[_last_stop(before) :]) is not None
        if not (is_conditional and _WOULD.search(cue.group())):
            found.append(Statement(content, close, "cue", is_assignment, is_conditional))
    return found


@lru_cache(maxsize=4)
def _announcements(text: str, start: int, end: int, kind: AnswerKind) -> tuple[tuple[re.Match[str], bool], ...]:
    """Every cue, and whether what it announces is claimed there."""
    return tuple(
        (cue, not _is_denied(text, cue.start(), start) and not _ELSEWHERE.search(cue.group()))
        for cue in _CUES[kind].finditer(text, start, end)
    )


def picks(text: str, start: int, end: int) -> list[Statement]:
    """Choices the writer makes in the first person ("I'll go with B"): they count where nothing is explicit."""
    found = []
    for pick in list(_PICK.finditer(text, start, end))[-MAX_CUES:]:
        close = sentence_end(text, pick.end(), end)
        if pick.end() < close and not text.startswith("?", close) and not is_unsure(text, pick.start(), start):
            found.append(Statement(pick.end(), close, "conclusion"))
    found += [
        Statement(*held.span("content"), "predicate", True)
        for held in _HELD.finditer(text, start, end)
        if not is_unsure(text, held.start("content"), start)
    ]
    return found


_GUESSING = re.compile(
    r"\bif (?:i|we) (?:had|have) to (?:guess|choose|pick|bet|answer|decide)|\bno doubt\b|\bwithout (?:a )?doubt\b", re.IGNORECASE
)
_UNSURE = Gated(
    (
        "if",
        "whether",
        "unless",
        "not",
        "n't",
        "suppos",
        "assum",
        "why",
        "how",
        "never",
        "doubt",
        "might",
        "may",
        "perhaps",
        "wrong",
        "tempt",
        "mistake",
    ),
    r"\b(?:if|whether|unless|not|n't|suppose|assuming|why|how|cannot|can't|never|doubt|might|may|perhaps|maybe)\b[^.;\n]{0,25}$|n't[^.;\n]{0,25}$"
    r"|\b(?:wrong|tempting|mistake)\b[^.,;\n]{0,25}$",
    re.IGNORECASE,
)


def is_unsure(text: str, at: int, start: int) -> bool:
    """Whether the words just before `at` deny or condition what follows; a "but" in between lifts that."""
    before = _GUESSING.sub("", _BUT.split(text[max(start, at - 60) : at])[-1])
    return _UNSURE.search(before) is not None


def denied(text: str, start: int, end: int, kind: AnswerKind) -> list[tuple[int, int]]:
    """Spans that speak of an answer without claiming it: questions, conditions, denials, mere possibilities."""
    spans = []
    for cue, is_asserted in _announcements(text, start, end, kind)[-MAX_CUES:]:
        close = _region_end(text, cue.end(), end, kind)
        if text.startswith("?", close):
            spans.append((cue.end(), close))
        elif not is_asserted:
            spans.append((cue.end(), _turn_of_thought(text, cue.end(), close)))
    for opened in list(_OPEN_CUE.finditer(text, start, end))[-MAX_CUES:]:
        close = _region_end(text, opened.end(), end, kind)
        if opened.group("might") or text.startswith("?", close):
            spans.append((opened.end(), _turn_of_thought(text, opened.end(), close)))
    return spans


def _turn_of_thought(text: str, start: int, end: int) -> int:
    """Where a clause turns ("..., but it is B"), or `end`."""
    turn = _TURNS.search(text, start, end)
    return turn.start() if turn else end


def _region_end(text: str, start: int, end: int, kind: AnswerKind) -> int:
    """The end of the sentence that goes on at `start`; in "might be B. Paris." the first stop belongs to the label."""
    close = sentence_end(text, start, end)
    return (
        sentence_end(text, close + 1, end) if kind == "choice" and close - start < 5 and text.startswith(". ", close) else close
    )


_ELSEWHERE = re.compile(r"\b(?:previous|last|another|other|earlier)[ ](?:question|problem|example|one)\b", re.IGNORECASE)


def _is_denied(text: str, at: int, start: int) -> bool:
    before = _GUESSING.sub("", _BUT.split(text[max(start, at - 90) : at])[-1])
    return _NOT_ASSERTED.search(before) is not None


def _last_stop(text: str) -> int:
    return max(text.rfind(mark) for mark in ".!?\n;") + 1
