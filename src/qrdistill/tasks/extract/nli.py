"""Reading an inference label: entailment, contradiction or neutral.

Rules: three vocabularies, each whole: entailment / contradiction / neutral (and entails, entailed, contradicts, contradictory);
true / false / neither; yes / no / maybe. "Inconclusive", "undetermined", "unknown", "cannot be determined" and "neither
entailed nor contradicted" are neutral. Only the first vocabulary's nouns are strict. "not entailment" names no label unless it
goes on ("but neutral"). Without an explicit statement: a reply or last line that is only the label, a bold one that stands
alone, a reply that opens with the label and a stop, or a concluding sentence that names exactly one label and denies none.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.statements import Found, Reading, Refusal, Statement

_FILLER = re.compile(
    r"(?:[\s:,*`\"'(\[{$>]|\\[(\[]|\\(?:boxed|fbox|text|textbf|mathbf|mathrm|textit|emph|bf)\b[ ]?\{?"
    r"|(?:either|therefore|thus|hence|so|clearly|definitely|certainly|obviously|probably|likely|most[ ]likely|simply|just"
    r"|indeed|actually|that|a|an|the|is|of|one[ ]of"
    r"|option|label|relation(?:ship)?|classified[ ]as|best[ ]described[ ]as|an?[ ]example[ ]of|i[ ]think|i[ ]believe"
    r"|i[ ]would[ ]say|considered|labell?ed[ ]as|labell?ed|there[ ]is|it's|it[ ]is|(?!only|early|daily|family|reply|july"
    r"|italy|ugly|holy)[a-z]{2,12}ly|[a-c0-2][.):](?=[ ]))\b)+",
    re.IGNORECASE,
)
_LABELS = {
    "entailment": r"entail(?:ment|s|ed|ing)?|true|yes",
    "contradiction": r"contradict(?:ion|s|ory|ed|ing)?|false|no",
    "neutral": r"neutral(?:ity)?|neither|maybe|inconclusive|undetermined|undeterminable|indeterminate|unknown|unrelated"
    r"|uncertain|not[ ]enough[ ]information|(?:can(?:not|'t)[ ]be|impossible[ ]to)[ ](?:determined?|inferred|tell|say|know"
    r"|verified)",
}
_NEITHER = (
    r"neither[ ](?:an?[ ])?(?:entail\w*|true|contradict\w*|false)(?:[ ](?:by"
    r"|the)\b[^.,;\n]{0,30}?)?[ ]n?or[ ](?:an?[ ])?(?:entail\w*|false|contradict\w*|true)"
)
_WORD = re.compile(
    rf"(?P<not>(?:not|n't|no|non)\b[\s\"'*`-]*(?:an?[ ])?[\"'*`]*)?(?:(?P<both>{_NEITHER})|"
    + "|".join(rf"(?P<{label}>{words})" for label, words in _LABELS.items())
    + r")\b(?![\w'-]*\w)",
    re.IGNORECASE,
)
_EITHER = re.compile(r"\b(?:either|both)\b[\s\"'*]*$|\b(?:either|both)\b", re.IGNORECASE)
_NOUN = re.compile(r"entailment|contradiction|neutral", re.IGNORECASE)
_TOPIC = re.compile(r"entail\w*|contradict\w*|neutral\w*|neither|inconclusive|undetermined", re.IGNORECASE)
_HEDGE = re.compile(
    r"[\s\"'*`)\]}$]*(?:,?[ ]?(?:or|and|and/or)[ ]|[/|][ ]?|,[ ])(?:also[ ]|maybe[ ]|possibly[ ]"
    r"|perhaps[ ])?[\"'*`(]*(?P<next>entail\w*|contradict\w*|neutral|neither|true|false|maybe|yes|no)\b(?![ ](?:is|one|other"
    r"|further|information))",
    re.IGNORECASE,
)
_CONTRAST = re.compile(r"[^\n]{0,60}?\b(?:but|rather|it's|it[ ]is|instead|so)\b", re.IGNORECASE)
_DENIAL = re.compile(r"\b(?:not|n't|neither|nor|no|cannot|without|if|whether|rather[ ]than|instead[ ]of)\b|n't\b", re.IGNORECASE)
_PAIR = re.compile(r"\b(?:premise|hypothesis)\b", re.IGNORECASE)
_MODAL = re.compile(
    r"\b(?:must|should|would|could|might|may|can|means|need|needs|require|requires|to be|check|determine|see|decide|consider"
    r"|seems|appears)\b",
    re.IGNORECASE,
)
_HYPOTHESIS = re.compile(
    r"\b(?:hypothesis|statement|claim|conclusion|second sentence)[ ](?:is|must[ ]be)[ ](?:\w+ly[ ])?(?P<word>true|false"
    r"|neither|undetermined|inconclusive)\b",
    re.IGNORECASE,
)


def read(text: str, statement: Statement) -> Found:
    """The label a statement gives."""
    start, end = statement.start, statement.end
    if statement.source == "emphasis":
        return None
    if statement.source == "sentence":
        is_about_pair = _PAIR.search(text, start, end) and not _MODAL.search(text, start, end)
        return _conclusion(text, start, end) if is_about_pair else None
    if statement.source in {"conclusion", "pronoun"}:
        return _conclusion(text, start, end)
    filler = _FILLER.match(text, start, end)
    word = _WORD.match(text, filler.end() if filler else start, end)
    if word is None:
        return _named_once(text, start, end) if statement.source == "cue" else None
    if _EITHER.search(text, start, word.start()):
        return Refusal("more than one label is named", start, end)
    if word.group("not"):
        contrast = _CONTRAST.match(text, word.end(), end)
        if contrast is None:
            return None
        return read(text, Statement(contrast.end(), end, statement.source, statement.is_exact))
    label = _label(word)
    hedge = _HEDGE.match(text, word.end(), end)
    if hedge and not word.group("both"):
        other = _WORD.match(hedge.group("next"))
        if other is None or _label(other) != label:
            return Refusal("more than one label is stated", word.start(), end)
    rest = text[word.end() : end]
    if statement.source in {"line", "bold"} and rest.strip(" .!*_`\"')]}$\\:,;"):
        return None
    if statement.source == "lead" and not re.match(r"[\s*_`\"')]*(?:$|[.,;:!\u2014\u2013-])", rest):
        return None
    if statement.source in {"line", "lead", "bold"} and word.group().casefold() == "yes" and not rest.strip():
        return Reading(label, word.start(), word.end(), False)
    is_strict = bool(_NOUN.fullmatch(word.group())) and statement.source in {"cue", "boxed", "tag", "json"}
    return Reading(label, word.start(), word.end(), is_strict)


def _label(word: re.Match[str]) -> str:
    if word.group("both"):
        return "neutral"
    return next(label for label in _LABELS if word.group(label))


def _named_once(text: str, start: int, end: int) -> Found:
    """The one label of a clause that denies none: "that the premise contradicts the hypothesis"."""
    found = _conclusion(text, start, end)
    return found if isinstance(found, Reading) else None


def _conclusion(text: str, start: int, end: int) -> Found:
    sentence = text[start:end]
    both = re.search(_NEITHER, sentence, re.IGNORECASE)
    if both:
        return Reading("neutral", start + both.start(), start + both.end(), False)
    hypothesis = _HYPOTHESIS.search(sentence)
    named = list(_TOPIC.finditer(sentence)) or ([hypothesis] if hypothesis else [])
    labels = set()
    for topic in named:
        word = _WORD.match(topic.groupdict().get("word") or topic.group())
        labels.add(_label(word) if word else "")
    if len(labels) != 1 or "" in labels or _DENIAL.search(sentence):
        return None
    topic = named[-1]
    return Reading(labels.pop(), start + topic.start(), start + topic.end(), False)
