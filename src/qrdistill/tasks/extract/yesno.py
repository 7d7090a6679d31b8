"""Reading yes or no.

Rules: "yes", "yeah", "yep", "true" are yes; "no", "nope", "false" are no (only yes and no are strict). "not yes" is no and "not
no" is yes; a bare "not" or "definitely not" is no. "no doubt", "no evidence", "no one" are not the answer no. "yes and no",
"yes or no", "neither" and "it depends" are refused. Without an explicit statement: a reply or last line that is only the word,
a bold one that stands alone, a concluding "So, yes, ...", or a reply that opens with "Yes," or "No.".
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.statements import Found, Reading, Refusal, Statement

_FILLER = re.compile(
    r"(?:[\s:,*`\"'(\[{$>]|\\[(\[]|\\(?:boxed|fbox|text|textbf|mathbf|mathrm|textit|emph|bf)\b[ ]?\{?"
    r"|(?:no[ ]doubt(?:[ ]about[ ]it)?|without[ ](?:a[ ])?doubt|undoubtedly|therefore|thus|hence|so|clearly|definitely"
    r"|certainly|obviously|surely|probably|likely|most[ ]likely|simply|just"
    r"|indeed|actually|now|then|that|a|an|the|is|again|a[ ](?:resounding|definite|clear|firm|simple|strong|qualified)"
    r"|resounding|definite|firm|most[ ]certainly|almost[ ]certainly|i[ ]think|i[ ]believe|i[ ]would[ ]say|i'd[ ]say"
    r"|in[ ]fact|of[ ]course|still|also|it's|it[ ]is|generally|technically|(?!only|early|daily|family|reply|july|italy|ugly"
    r"|holy)[a-z]{2,12}ly)\b)+",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"(?P<not>(?:(?:definitely|certainly|clearly|probably|most[ ]likely|absolutely|simply|actually)[ ])?(?:not"
    r"|n't)\b[\s\"'*`(]*(?:a[ ]|an[ ]|simply[ ]|just[ ])?[\"'*`(]*)?"
    r"(?P<word>yes|yeah|yep|yup|no|nope|nah|true|false|affirmative|negative)\b(?!['-]?\w|-\w)",
    re.IGNORECASE,
)
_BARE_NOT = re.compile(
    r"(?:(?:definitely|certainly|clearly|probably|most[ ]likely|absolutely|obviously|surely"
    r"|of[ ]course)[ ])*not[\s\"'*`)]*(?=[.!,;]|$)",
    re.IGNORECASE,
)
_YES = frozenset({"yes", "yeah", "yep", "yup", "true", "affirmative"})
_NO_GOES_ON = re.compile(
    r"[\s\"'*`)\]}$\\]*(?:$|[.,;:!?()\u2014\u2013\n-]|\\[)\]]|(?:because|since|as|for|it|its|it's|they|he|she|we|you|i|there|this|that|these|those|the|and|but|due|given|although|though|based"
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
    r"(?:\b(?:and|but|while|whereas)|[;,])[ ](?:also[ ])?(?:yes|no)\b,?[ ](?:for|if|when|in|to|on|with|at)\b", re.IGNORECASE
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
    if statement.source in {"emphasis", "sentence"}:
        return None
    filler = _FILLER.match(text, start, end)
    at = filler.end() if filler else start
    if filler and filler.group().rstrip().casefold().endswith(("no doubt", "without doubt", "without a doubt")) and at >= end:
        return None
    none = _NONE.match(text, at, end)
    if none:
        return Refusal("neither yes nor no", at, none.end())
    word = _WORD.match(text, at, end)
    if word is None:
        bare = _BARE_NOT.match(text, at, end)
        is_allowed = statement.source in {"cue", "boxed", "tag", "json", "correction"}
        return Reading("no", at, bare.end(), False) if bare and is_allowed else None
    if _HEDGE.match(text, word.end(), end) or _SPLIT.search(text, word.end(), end):
        return Refusal("both yes and no", at, end)
    said = word.group("word").casefold()
    if said in {"no", "negative", "nah"} and not word.group("not") and not _NO_GOES_ON.match(text, word.end(), end):
        return None
    if not _fits(text, statement, word.end()):
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
        said in {"yes", "no"} and statement.source in {"cue", "boxed", "tag", "json"},
    )


def _side(word: str) -> str:
    return "yes" if word.casefold() in _YES else "no"


def _fits(text: str, statement: Statement, stop: int) -> bool:
    """Lenient places must hold the word alone; an opening or a conclusion needs a stop or a comma after it."""
    rest = text[stop : statement.end]
    if statement.source in {"line", "bold"}:
        return not rest.strip(" .!*_`\"')]}$\\:,;")
    if statement.source in {"conclusion", "pronoun"} and text[stop - 4 : stop].casefold() in {"true", "alse"}:
        return not rest.strip(" .!*_`\"')")
    if statement.source == "lead":
        return bool(
            re.match(r"[\s*_`\"')]*(?:$|[.,;:!\u2014\u2013-])|[ ](?:it|they|he|she|you|we|i|there|this)\b", rest, re.IGNORECASE)
        )
    return True
