"""Reading an inference label: entailment, contradiction or neutral.

Rules: three vocabularies, each whole: entailment / contradiction / neutral (and entails, entailed, contradicts, contradictory);
true / false / neither; yes / no / maybe. "Inconclusive", "undetermined", "unknown", "cannot be determined" and "neither
entailed nor contradicted" are neutral. Only the first vocabulary's nouns are strict. "not entailment" names no label unless it
goes on ("but neutral"). Without an explicit statement: a reply or last line that is only the label, a bold one that stands
alone, a reply that opens with the label and a stop, or a concluding or last sentence about the pair that asserts exactly one
label, those it denies ("does not entail it; it contradicts it") left out.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.records import ADVERB, EXPLICIT, Found, Reading, Refusal, Statement

_FILLER = re.compile(
    r"(?:[\s:,*`\"'(\[{$>]|\\[(\[]|\\(?:boxed|fbox|text|textbf|mathbf|mathrm|textit|emph|bf)\b[ ]?\{?"
    r"|[a-e0-4]\)?[ ]?[.):\u2013-](?=[ ])|(?:either|therefore|thus|hence|so|clearly|definitely|certainly|obviously|probably"
    r"|likely|most[ ]likely|simply|just|indeed|none[ ]other[ ]than|given[ ]by|actually|that|this|it|a|an|the|is|of|one[ ]of"
    r"|option|label|relation(?:ship)?|classified[ ]as|best[ ]described[ ]as|an?[ ]example[ ]of|a[ ]case[ ]of|i[ ]think"
    r"|i[ ]believe|i[ ]would[ ]say|considered|labell?ed[ ]as|labell?ed|there[ ]is|it's|towards?|as|clear|plain|direct"
    r"|outright|simple|" + ADVERB + r")\b)+",
    re.IGNORECASE,
)
_LABELS = {
    "entailment": r"entail(?:ment|s|ed|ing)?|true|yes",
    "contradiction": r"contradict(?:ion|s|ory|ed|ing)?|false|no",
    "neutral": r"neutral(?:ity)?|neither(?![ ][\w ]{1,30}[ ]n?or\b)|maybe|inconclusive|undetermined|undeterminable"
    r"|indeterminate|unknown|unrelated|uncertain"
    r"|(?:not[ ]enough|insufficient)[ ]information"
    r"|(?:can(?:not|'t|[ ]not)[ ]be|impossible[ ]to)[ ](?:determined?|inferred|tell|say|know|verified|confirmed|concluded)",
}
_NEITHER = (
    r"neither[ ](?:an?[ ]|the[ ])?(?:\w+[ ])?(?:entail\w*|true|contradict\w*|false)(?:[ ](?:by"
    r"|the)\b[^.,;\n]{0,30}?)?[ ]n?or[ ](?:an?[ ])?"
    r"(?:is[ ]it[ ]|does[ ]it[ ])?(?:entail\w*|false|contradict\w*|true)"
)
_WORD = re.compile(
    rf"(?P<not>(?:not|n't|no|non)\b[\s\"'*`-]*(?:an?[ ])?[\"'*`]*)?(?:(?P<both>{_NEITHER})|"
    + "|".join(rf"(?P<{label}>{words})" for label, words in _LABELS.items())
    + r")\b(?![\w'-]*\w)",
    re.IGNORECASE,
)
_SAID = {
    "entailment": r"entail\w*|(?:follow|derive)\w*[ ](?:\w+ly[ ])?from[ ]the[ ](?:premise|context|passage|first)"
    r"|(?:implied|supported|guaranteed)[ ]by[ ]the[ ](?:premise|context|passage|first)",
    "contradiction": r"contradict\w*|(?:conflict|clash)\w*[ ]with|(?:inconsistent|incompatible)[ ]with|(?:refuted"
    r"|ruled[ ]out)[ ]by",
    "neutral": rf"{_NEITHER}|neutral(?=[\s\"'*]*(?:$|[.,;:!)]|(?:because|since|as|with|to|in|for|given|due|here|rather|and"
    rf"|but|pair|case|relation\w*|label"
    r"|answer|category|class)\b))|inconclusive|undetermined|indeterminate|not[ ]enough[ ]information|(?:may"
    r"|might)[ ]or[ ](?:may|might)[ ]not\b"
    r"|not[ ]necessarily[ ](?:true|false|the[ ]case|follow\w*|entailed|implied)|can(?:not|'t|[ ]not)[ ]be[ ](?:determined"
    r"|inferred|concluded|verified)",
}
_SAY = re.compile("|".join(rf"(?P<{label}>\b(?:{words}))" for label, words in _SAID.items()), re.IGNORECASE)
"""The words for a label in running text about a premise and a hypothesis."""
_HYPOTHESIS = re.compile(
    r"\b(?:hypothesis|statement|claim|conclusion|second[ ]sentence)[ ](?:is|must[ ]be|has[ ]to[ ]be)[ ](?:therefore[ ]"
    r"|thus[ ])?(?:\w+ly[ ])?"
    r"(?P<word>true|false|neither|undetermined|inconclusive|correct|incorrect)\b",
    re.IGNORECASE,
)
_JUDGEMENTS = {"true": "entailment", "correct": "entailment", "false": "contradiction", "incorrect": "contradiction"}
_QUOTED = re.compile(r"\"[^\"\n]{4,200}\"|(?<!\w)'[^'\n]{4,200}'(?!\w)")
_ASSURED = re.compile(r"\b(?:no|without(?:[ ]a)?|beyond)[ ](?:doubt|question)\b", re.IGNORECASE)
_LEADS_TO = re.compile(
    r"(?:^|[,;:\u2014\u2013\u2192-]|\b(?:is|are|be|been|was|as|an?|of|in|to|towards?|so|therefore|thus|hence|making|relation(?:ship)?|label|called|this|it|the|for|with|us|say"
    r"|choose|pick|select|answer|go|leaves|means|\w+ly)|\d)[\s\"'*(]*$",
    re.IGNORECASE,
)
_JUDGED_WRONG = re.compile(
    r"\b(?:is|was|would[ ]be|seems)[ ](?:wrong|incorrect|false|out|impossible|a[ ]mistake)\b", re.IGNORECASE
)
_OR = re.compile(r"[\s\"'*]*(?:or|and|/)\b", re.IGNORECASE)
_EITHER = re.compile(r"\b(?:either|both)\b[\s\"'*]*$|\b(?:either|both)\b", re.IGNORECASE)
_NOUN = re.compile(r"entailment|contradiction|neutral", re.IGNORECASE)
_HEDGE = re.compile(
    r"[\s\"'*`)\]}$]*(?:,?[ ]?\(?(?:or|and|and/or|as[ ]well[ ]as)[ ]|[/|][ ]?|,[ ])(?:also[ ]|maybe[ ]|possibly[ ]"
    r"|perhaps[ ])?[\"'*`(]*(?P<next>entail\w*"
    r"|contradict\w*|neutral|neither|true|false|maybe|yes|no)\b(?![ ](?:is|one|other|further|information))",
    re.IGNORECASE,
)
_CONTRAST = re.compile(r"[^\n]{0,60}?\b(?:but|rather|it's|it[ ]is|instead|so)\b", re.IGNORECASE)
_CLAUSE = re.compile(
    r"[,;:\u2014]|[ ]-[ ]|\b(?:but|rather|instead|however|so|and[ ](?:therefore|thus|hence)|although|though)\b", re.IGNORECASE
)
_DENIAL = re.compile(
    r"\b(?:not|neither|nor|no|never|cannot|without|rather[ ]than|instead[ ]of|isn't|doesn't)\b|n't\b", re.IGNORECASE
)
_OPEN = re.compile(
    r"\b(?:if|whether|unless|would(?<!i would)(?![ ](?:be[ ]classified|say|label|classify|call))|could|may(?![ ]or)"
    r"|might(?![ ]or)|means?|defined|need|needs|requires?|check|determine|decide"
    r"|consider(?!ed)|options?|possible|either|or(?<!may or)(?<!might or)|which|partially|partly|tempting|wrong|mistake"
    r"|doubt|people|some[ ]say|(?:others|people|some|many)[ ]claim|claimed|believed|thinks?|assumed|often|commonly|no[ ]way"
    r"|show|prove|have[ ]to|seems?|appears?)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:if|unless|suppose|assume|assuming|were[ ]the|had[ ]the|used[ ]to|thought|ruled?[ ]out|eliminate|exclude|in[ ]nli"
    r"|means[ ]that[ ]the[ ]hypothesis|is[ ]defined)\b",
    re.IGNORECASE,
)
_PAIR = re.compile(
    r"\b(?:premise|hypothesis|sentences?|statements?|claim|pair|two|text|context|passage|relation\w*|label|inference|they|this|it|these)\b",
    re.IGNORECASE,
)


def read(text: str, statement: Statement) -> Found:
    """The label a statement gives."""
    start, end = statement.start, statement.end
    if statement.source == "emphasis":
        return None
    if statement.source == "sentence":
        return _conclusion(text, start, end) if _PAIR.search(text, start, end) else None
    if statement.source in {"conclusion", "pronoun"}:
        alone = read(text, Statement(start, end, "predicate", True))
        return alone if isinstance(alone, Reading) else _conclusion(text, start, end)
    filler = _FILLER.match(text, start, end)
    word = _WORD.match(text, filler.end() if filler else start, end)
    if word is None:
        return _conclusion(text, start, end) if statement.source == "cue" else None
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
    rest = re.sub(rf"(?:[\s,.!]+{re.escape(word.group())})+\b", "", text[word.end() : end], flags=re.IGNORECASE)
    if statement.source in {"line", "bold", "predicate"} and rest.strip(" .!*_`\"')]}$\\:,;"):
        return None
    if statement.source == "lead" and not re.match(r"[\s*_`\"')]*(?:$|[.,;:!(\u2014\u2013-])", rest):
        return None
    is_strict = bool(_NOUN.fullmatch(word.group())) and statement.source in EXPLICIT
    return Reading(label, word.start(), word.end(), is_strict)


def _label(word: re.Match[str]) -> str:
    if word.group("both"):
        return "neutral"
    return next(label for label in _LABELS if word.group(label))


def _conclusion(text: str, start: int, end: int) -> Found:
    """The one label that a sentence asserts; those it denies are left out."""
    if _CONDITION.search(text, start, end):
        return None
    asserted: dict[str, tuple[int, int]] = {}
    begin = start
    for cut in [*_CLAUSE.finditer(text, start, end), None]:
        close = cut.start() if cut else end
        for said in _SAY.finditer(text, begin, close):
            label = said.lastgroup or ""
            lead = _ASSURED.sub("", _QUOTED.sub("", text[begin : said.start()]))
            if _OPEN.search(lead) or (
                label != "neutral" and _OR.match(text, said.end(), close) and "neither" not in lead.casefold()
            ):
                return None
            if _NOUN.fullmatch(said.group()) and not _LEADS_TO.search(lead):
                return None
            if _JUDGED_WRONG.search(text, said.end(), close):
                return None
            if not _DENIAL.search(lead):
                asserted[label] = said.span()
        begin = cut.end() if cut else end
    if not asserted:
        judged = _HYPOTHESIS.search(text, start, end)
        if judged and not _OPEN.search(text, start, judged.start()) and not _DENIAL.search(text, start, judged.start()):
            return Reading(_JUDGEMENTS.get(judged.group("word").casefold(), "neutral"), *judged.span("word"), False)
    if len(asserted) != 1:
        return None
    label, span = asserted.popitem()
    return Reading(label, *span, False)
