"""Reading yes or no.

Rules: "yes", "yeah", "yep", "true" are yes; "no", "nope", "false" are no (only yes and no are strict). "not yes" is no and "not
no" is yes; a bare "not" or "definitely not" is no. "no doubt", "no evidence", "no one" are not the answer no. "yes and no",
"yes or no", "neither" and "it depends" are refused. Without an explicit statement: a reply or last line that is only the word
or a set phrase ("no way", "absolutely not"), a bold one that stands alone, a concluding "So, yes, ...", a reply that opens with
"Yes," or "No.", a last sentence that ends in the word ("..., so no.") or calls the statement true or false.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.cues import is_unsure
from qrdistill.tasks.extract.records import ADVERB, EXPLICIT, Found, Reading, Refusal, Statement

_FILLER = re.compile(
    r"(?:[\s:,*`\"'(\[{$>\u2026]|\\[(\[]|\\(?:boxed|fbox|text|textbf|mathbf|mathrm|textit|emph|bf)\b[ ]?\{?"
    r"|(?:no[ ]doubt(?:[ ]about[ ]it)?|without[ ](?:a[ ])?doubt|undoubtedly|therefore|thus|hence|so|clearly|definitely"
    r"|certainly|obviously|surely|probably|likely|most[ ]likely|simply|just|indeed|none[ ]other[ ]than|given[ ]by|actually"
    r"|now|then|that|a|an|the|is|again|resounding|definite|clear|simple|strong|qualified|hard|solid"
    r"|firm|most[ ]certainly|almost[ ]certainly|i[ ]think|i[ ]believe|i[ ]would[ ]say|i'd[ ]say|in[ ]fact|of[ ]course|still"
    r"|also|it's|it[ ]is|generally|technically|" + ADVERB + r")\b)+",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"(?P<not>(?:(?:definitely|certainly|clearly|probably|most[ ]likely|absolutely|simply|actually)[ ])?(?:not"
    r"|n't)\b[\s\"'*`(]*(?:a[ ]|an[ ]|simply[ ]|just[ ])?[\"'*`(]*)?"
    r"(?P<word>yes|yeah|yep|yup|no|nope|nah|true|false|affirmative|negative|(?P<letter>[yn])(?=[\s.)\]}\"'*`]*$))\b(?!['-]?\w|-\w|\.\d)",
    re.IGNORECASE,
)
_BARE_NOT = re.compile(
    r"(?:(?P<sure>definitely|certainly|clearly|probably|most[ ]likely|absolutely|obviously|surely"
    r"|of[ ]course)[ ])*not[\s\"'*`)]*(?=[.!,;]|$)"
    r"|(?P<phrase>no[ ]way|not[ ]at[ ]all|by[ ]no[ ]means|not[ ]a[ ]chance|no[ ]chance|in[ ]no[ ]way"
    r"|under[ ]no[ ]circumstances)\b(?=[\s\"'*`)]*(?:[.!,;]|$))",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"(?:[,;:\u2014\u2013-]|\b(?:so|therefore|thus|hence|is|be|then))[ ][\"']?(?P<word>yes|no)[\"']?[\s.!)*_]*$"
    r"|\b(?:hard|firm|definite|clear|resounding|big|solid|strong|simple|emphatic|definitive|confident|easy|straightforward"
    r"|absolute)[ ]"
    r"[\"']?(?P<firm>yes|no)\b(?![ ](?:one|doubt|evidence|longer|other)\b)",
    re.IGNORECASE,
)
_JUDGED = re.compile(
    r"\b(?:statement|claim|assertion|proposition|premise|hypothesis|belief|idea|this|that|it)\b(?:[ ](?!is\b|was\b)\w+){0,5}?"
    r"(?:'s|[ ](?:is|was|must[ ]be|would[ ]be)|[ ](?P<isnt>isn't|wasn't))[ ]"
    r"(?:(?:\w+ly|therefore|thus|indeed|in[ ]fact"
    r"|of[ ]course)[ ])?(?P<not>not[ ](?:\w+ly[ ])?)?"
    r"(?P<word>true|false|correct|incorrect|wrong|right|accurate|inaccurate|untrue)[\s.!*_]*$",
    re.IGNORECASE,
)
_RELATED = re.compile(
    r"\b(?:if|whether|or|unless|said|says?|asks?|asked|votes?|voted|respond|reply|question|maybe|perhaps|might|could|show"
    r"|prove|have[ ]to|find[ ]out|need[ ]to|(?:others|people|some|many)[ ]claim|claimed|believed?|thinks?|often|commonly"
    r"|assumed|no[ ]way|recall|wish|want|was[ ]wrong)\b",
    re.IGNORECASE,
)
_ALONE = re.compile(
    r"[\s*_\"'(]*(?:(?P<yes>absolutely|definitely|certainly|of[ ]course|indeed|correct|right|exactly|sure|most[ ]certainly"
    r"|without[ ](?:a[ ])?doubt)"
    r"|(?P<no>incorrect|wrong|untrue|never|hardly))[\s.!*_\"')]*$",
    re.IGNORECASE,
)
_YES = frozenset({"y", "yes", "yeah", "yep", "yup", "true", "affirmative"})
_NO_GOES_ON = re.compile(
    r"[\s\"'*`)\]}$\\]*(?:$|[.,;:!?()\u2014\u2013\n-]|\[\d|\\[)\]]|(?:because|since|as|for|it|its|it's|they|he|she|we|you|i|there|this|that|these|those|the|and|but|due|given|although|though|based"
    r"|not|in|under|according|while|so|if|unless|when|is|at|on|with|are|was|a|an|by|most|all|only|from|however|to)\b)",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"[\s\"'*`)\]}$.\u2026]*(?:[,(]?[ ]?(?:and|or|/|and/or|but[ ]also|as[ ]well[ ]as)[ ]?(?:also[ ]|maybe[ ]|possibly[ ]"
    r"|perhaps[ ])?[\"'*`(]*(?:yes|no|not|true|false|maybe)\b(?![ ](?:one|doubt|other|more|longer|evidence|need|such))"
    r"|[/|][ ]?(?:yes|no|maybe)\b)",
    re.IGNORECASE,
)
_SPLIT = re.compile(
    r"(?:\b(?:and|but|while|whereas)|[;,])[ ](?:also[ ])?(?:yes|no)\b,?[ ](?:for|if|when|in|to|on|with|at)\b"
    r"|[;,][ ](?:and[ ]|but[ ])?(?:partly|sometimes|[a-z]+ly|in[ ]\w+)[ ,]+(?:yes|no)\b",
    re.IGNORECASE,
)
_OTHER = re.compile(r"[\"'*]*(?:,|[ ]\()[ ]?[\"'*]*(?P<word>yes|no|true|false)[\"'*\s.!)]*$", re.IGNORECASE)
_QUOTED = re.compile(
    r"[,.!]?[\"'\u201d][ ]?(?:(?:\w+[ ]){1,3}?(?:said|says|replied|replies|answered|answers|shouted)"
    r"|(?:said|says|replied|answered)[ ]\w)",
    re.IGNORECASE,
)
_NONE = re.compile(
    r"(?:neither|both|either|it[ ]depends|depends|maybe|perhaps|unclear|unknown|uncertain|ambiguous|cannot[ ]be[ ]determined"
    r"|can't[ ]be[ ]determined|not[ ](?:clear|known|certain|sure|possible|determinable|enough|given|available)"
    r"|impossible[ ]to|i[ ]don't[ ]know|inconclusive|n/a)\b",
    re.IGNORECASE,
)
_CONTRAST = re.compile(
    r"[^.\n]{0,20}?\b(?:but|rather|it's|it[ ]is|instead)\b[\s\"'*`]*(?P<word>yes|no|true|false)\b", re.IGNORECASE
)


def read(text: str, statement: Statement) -> Found:
    """The yes or no a statement gives."""
    start, end = statement.start, statement.end
    if statement.source == "emphasis":
        return None
    if statement.source == "sentence":
        return _sentence(text, statement)
    filler = _FILLER.match(text, start, end)
    at = filler.end() if filler else start
    if filler and filler.group().rstrip().casefold().endswith(("no doubt", "without doubt", "without a doubt")) and at >= end:
        return None
    none = _NONE.match(text, at, end)
    if none:
        return Refusal("neither yes nor no", at, none.end())
    bare = _BARE_NOT.match(text, start, end) or _BARE_NOT.match(text, at, end)
    if bare:
        is_meant = bare.group("sure") or bare.group("phrase") or statement.source in EXPLICIT or statement.source == "correction"
        return Reading("no", bare.start(), bare.end(), False) if is_meant else None
    word = _WORD.match(text, at, end)
    if word is None or (word.group("letter") and statement.source not in EXPLICIT):
        return None
    if _HEDGE.match(text, word.end(), end) or _SPLIT.search(text, word.end(), end):
        return Refusal("both yes and no", at, end)
    if _QUOTED.match(text, word.end(), end):
        return None
    said = word.group("word").casefold()
    other = _OTHER.match(text, word.end(), end)
    if other and _side(other.group("word")) != _side(said):
        return Refusal("both yes and no", at, end)
    if said in {"no", "negative", "nah"} and not word.group("not") and not _NO_GOES_ON.match(text, word.end(), end):
        return None
    if not _fits(text, statement, word.end(), said):
        return None
    if word.group("not"):
        contrast = _CONTRAST.match(text, word.end(), end)
        if contrast:
            return Reading(_side(contrast.group("word")), contrast.start("word"), contrast.end("word"), False)
        return Reading("no" if said in _YES else "yes", at, word.end("word"), False)
    return Reading(
        _side(said),
        word.start("word"),
        word.end("word"),
        said in {"yes", "no"} and statement.source in EXPLICIT,
    )


def _sentence(text: str, statement: Statement) -> Found:
    """What the last sentence says in passing: "..., so no.", "that's a hard no", "the statement is false", "Absolutely."."""
    start, end = statement.start, statement.end
    alone = _ALONE.match(text, start, end) if statement.is_exact else None
    if alone:
        return Reading("yes" if alone.group("yes") else "no", start, end, False)
    if _RELATED.search(text, start, end):
        return None
    closing = _CLOSING.search(text, start, end)
    clause = max(text.rfind(mark, start, closing.start() + 1) for mark in ",;:\u2014") if closing else -1
    is_denied = closing and is_unsure(text, closing.start("word" if closing.group("word") else "firm"), max(start, clause))
    is_listed = closing and re.search(r"\b(?:yes|no),?$", text[start : closing.start() + 1], re.IGNORECASE)
    if closing and not is_denied and not is_listed:
        word = "word" if closing.group("word") else "firm"
        return Reading(_side(closing.group(word)), *closing.span(word), False)
    judged = _JUDGED.search(text, start, end)
    if judged is None:
        return None
    is_true = judged.group("word").casefold() in {"true", "correct", "right", "accurate"}
    if judged.group("isnt") and not statement.is_exact:
        return None  # "yes? That isn't right."
    is_denied = bool(judged.group("not")) != bool(judged.group("isnt"))
    return Reading("yes" if is_true != is_denied else "no", *judged.span("word"), False)


def _side(word: str) -> str:
    return "yes" if word.casefold() in _YES else "no"


def _fits(text: str, statement: Statement, stop: int, said: str) -> bool:
    """Lenient places must hold the word alone; an opening or a conclusion needs a stop or a comma after it."""
    rest = re.sub(rf"(?:[\s,.!]+{said})+\b", "", text[stop : statement.end], flags=re.IGNORECASE)
    if statement.source in {"bold", "predicate"}:
        return not rest.strip(" .!*_`\"')]}$\\:,;")
    if statement.source in {"conclusion", "pronoun"} and text[stop - 4 : stop].casefold() in {"true", "alse"}:
        return not rest.strip(" .!*_`\"')")
    if statement.source in {"lead", "line"}:
        return bool(
            re.match(
                r"[\s*_`\"')$}\]]*(?:$|[.,;:!(\u2014\u2013-]|\[\d)"
                r"|[ ](?:indeed|of[ ]course|it|they|he|she|you|we|i|there|this)\b",
                rest,
                re.IGNORECASE,
            )
        )
    return True
