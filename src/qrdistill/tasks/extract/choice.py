"""Reading a choice: a label or an option's text, stated as the answer.

Rules:

* A label counts as a label in brackets, before a stop, or before a word that cannot belong to a phrase: "(b)", "B.", "B because";
  in "A dog" and "E coli" there is no label. Lower case is fine where the label stands apart.
* An option's text counts when it is written out in full, up to case, punctuation and a leading article, and nothing goes on after
  it ("Paris Hilton" is not Paris). The longest text wins; a text beats a label where both could be read and the text is longer
  ("C major"). Where labels are numbers, a bare number is a label first. A number equal to just one option names it (0.5 for 1/2).
* "A or B", "both A and B", "A, C" are refused. So is a label with another option's text ("B) London" when London is A).
* "not A but B" is B; "B, not A" is B; "not A" alone names nothing. A label that is no option is an answer, and a wrong one.
* Explicit statements beside the usual: "the correct option is B", "B is the correct answer", "I choose B".
* Without an explicit statement: a last or first line that is only an answer (several such lines that differ are a restated list
  and count for nothing), a bold answer that stands alone, and a last sentence that concludes with one option.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.options import Options, label_pattern
from qrdistill.tasks.extract.statements import Found, Reading, Refusal, Statement, sentence_end

_FILLER = re.compile(
    r"(?:[\s:,*`\"'<>]|\.{2,}|\u2026|\\[(\[]|\$(?=[\\({A-Za-z]|\w\$)|\\(?:boxed|fbox|text|textbf|mathbf|mathrm|textit|emph|bf"
    r"|mathit|mathsf)\b[ ]?\{?|\{"
    r"|(?:therefore|thus|hence|so|clearly|definitely|certainly|obviously|surely|probably|likely|most[ ](?:likely|probably)"
    r"|simply|just|indeed|actually|then|again|indicated[ ]by|given[ ]by"
    r"|that|is|option|choice|letter|label|answer|number|statement|i[ ](?:think|believe|would[ ]say)|in[ ]fact|of[ ]course"
    r"|as[ ]follows|it[ ]is|it's|still|also|represented[ ]by|denoted[ ]by|found[ ]in|(?:correct|right|best)[ ]is|(?!only"
    r"|early|daily|family|reply|july|italy|ugly|holy)[a-z]{2,12}ly)\b"
    r"|the[ ](?=option|choice|letter))+",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[\s:,*`\"'<>]*")
_NEGATED = re.compile(r"(?:definitely|certainly|clearly|obviously|actually)?[ ]?(?:not|n't|never)\b[\s\"'*(]*", re.IGNORECASE)
_CONTRAST = re.compile(
    r"\b(?:but|rather|it's|it[ ]is|instead|so)\b(?![ ]of)(?:[ ](?:rather|instead|is|it[ ]is|it's))?[ ,:]*", re.IGNORECASE
)
_SEVERAL = re.compile(
    r"(?:either|both|neither|between|one[ ]of|any[ ]of|all[ ](?:of|the|three|four)|multiple|more[ ]than[ ]one)\b", re.IGNORECASE
)
_NONE = re.compile(
    r"(?:none|not[ ](?:listed|given|present|among|one[ ]of|in[ ]the|any[ ]of)|no(?:ne)?[ ](?:option|choice)"
    r"|nothing)\b[^.\n]{0,40}",
    re.IGNORECASE,
)
_STRAY = re.compile(r"[(\[]?(?P<label>[A-Z])(?![\w'-])[)\]]?[\s*`\"'}$\\]*(?:$|[.,;:!\n)])")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_ORDINAL = re.compile(rf"(?:the[ ])?(?P<rank>{'|'.join(_ORDINALS)}|last)[ ](?:option|choice|one|answer)\b", re.IGNORECASE)
_JOIN = re.compile(
    r"[\s\"'*`)\]}$\\]*(?P<join>,?[ ]?\(?(?:or|and|and/or|as[ ]well[ ]as)[ ]|[ ]?[/&|+][ ]?|,[ ])(?:(?:possibly|maybe"
    r"|perhaps|also|even|either|option|choice|answer|letter|potentially|equally)[ ,]{1,2}){0,3}(?:[\"'*`$]|\\[(\[])*",
    re.IGNORECASE,
)
_NEW_CLAUSE = re.compile(
    r"[)\]\"'*`]*[ ](?:is|was|can|could|does|do|would|has|isn't|doesn't|can't|won't|wasn't|cannot|describes|refers"
    r"|represents|would)\b",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    r"[ ](?:is|must[ ]be|would[ ]be|should[ ]be|has[ ]to[ ]be|seems|appears[ ]to[ ]be)[ ](?:(?:therefore|thus|clearly|indeed"
    r"|probably|definitely|actually|obviously|likely)[ ])?"
    r"(?:(?P<noun2>(?:the|our|my)[ ](?:final[ ])?(?:answer|choice|pick))\b|(?:(?:the|our|my)[ ])?(?:(?:only|single|most"
    r"|one)[ ])?(?:correct|right|best|appropriate|accurate|suitable|likely|true|final|logical)(?P<noun>[ ](?:answer|option"
    r"|choice|response|one|selection|statement))?)\b(?![ ](?:about|that|for|in|only|but))",
    re.IGNORECASE,
)
_PICK = re.compile(
    r"\b(?:i|we|i'd|i'll|i'm|let's|let[ ]us)[ ](?:would[ ]|will[ ]|should[ ]|can[ ]|must[ ]|have[ ]to[ ])?(?:therefore[ ]"
    r"|thus[ ])?(?:choose|chose|pick|select|go[ ]with|going[ ]with|went[ ]with|answer|settle[ ]on|conclude[ ]with|vote[ ]for"
    r"|guess)[ ]"
    r"|(?:^|(?<=[.!?][ ]))(?:choose|select|pick|go[ ]with)[ ](?=(?:option[ ]|choice[ ])?\W{0,2}\w\W{0,2}(?:$|[.\n]))"
    r"|\b(?:left[ ]with|leaves|leaving|leaves[ ]us[ ]with|leaves[ ]us"
    r"|leaving[ ]us[ ]with)[ ](?:only[ ])?(?=\W{0,2}(?:option[ ]|choice[ ]|\w\W|\w$))"
    r"|\b(?:makes|making)[ ](?=(?:option[ ]|choice[ ])?\W{0,2}\w\W{0,2}[ ](?:the[ ])?(?:only[ ]|most[ ])?(?:correct|right|best))",
    re.IGNORECASE | re.MULTILINE,
)
_CORRECT_OPTION = re.compile(
    r"(?:\b(?:correct|right|best|final|appropriate|proper|likely|suitable|accurate|only|my|valid|selected|chosen|picked"
    r"|logical|sensible|plausible|reasonable|probable|closest)[ ](?:option|choice|letter|selection|pick|guess|label|statement"
    r"|response|alternative)s?"
    r"(?:[ ](?:here|for|to|from|among|in|that|which|letter)\b[^.:;?!\n]{0,60}?)?[ ]?(?:is|would[ ]be|must[ ]be|should[ ]be"
    r"|will[ ]be|has[ ]to[ ]be|:|=|[-\u2013\u2014](?=\s))"
    r"|^[ *_#>]*(?:option|choice|letter|selection)[ ]?[*_]*:)[\s:*_]*",
    re.IGNORECASE | re.MULTILINE,
)
_CUT = re.compile(r"[\n!?;]")
_LISTED = r"\b(?:or|and|nor|neither|either|both)[ ]$|(?:^|[^\w])LABEL[)\]]?,[ ]$"
_TAGGED = r"[\s,]*[(\[](?:option|choice|answer)?[ ]?(LABEL)[)\]]"
_SUBJECT_LABEL = (
    r"(?:^|[\s,(\"'*])(?P<what>(?:(?:option|choice|answer|letter|statement)[ ])?[(\[\"'*]*(?P<label>LABEL)[)\]\"'*]*)$"
)
_SUBJECT_TITLED = r"(?:^|[\s,(\"'*])[(\[\"'*]*(?P<label>LABEL)(?:[)\].:,]+|[ ](?=\())[ ]?\(?(?P<text>[^\n]{1,120}?)\)?$"
_SUBJECT_TEXT = re.compile(
    r"(?:^|[.,:]|\b(?:so|therefore|thus|hence|that|think|believe|means|because))[ ]*(?P<text>(?:(?:the"
    r"|an?)[ ])?[^.,:\n]{1,100})$",
    re.IGNORECASE,
)
_NAMED_LAST = (
    r"\b(?:corresponds?[ ](?:to|with)|match(?:es)?|listed[ ](?:as|under|in)|which[ ]is|given[ ](?:in|as|by)|found[ ]in"
    r"|same[ ]as|represented[ ]by|points?[ ]to|leaves?(?:[ ]us)?(?:[ ]with)?(?:[ ]only)?|making[ ]it|labell?ed)"
    r"[ ](?:the[ ])?(?:(?:option|choice|answer|letter)[ ])[\"'*(\[]*(?P<label>LABEL)[)\]\"'*]*[.!]?\s*$"
)
_LINE = re.compile(r"[^\n]*\S[^\n]*")
_REASON = re.compile(r"[\s*_`\"']*(?:[)\].:,;\u2014\u2013-]|\b(?:because|since|as|due|given|based)\b)", re.IGNORECASE)
_DENIED_LABEL = re.compile(
    r"[\s*_`\"')\].:,;\u2014\u2013-]*(?:(?:is|was|this[ ]is|that's|it's|it[ ]is|which[ ]is|would[ ]be|can)[ ]?)?(?:incorrect"
    r"|wrong|not|false|no(?!,|[ ]wait)|n't|isn't|invalid|unlikely)\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\b(?:if|whether|unless|not|n't|suppose|assuming|why|how|cannot|never|doubt)\b[^.;\n]{0,25}$|n't[^.;\n]{0,25}$",
    re.IGNORECASE,
)


def read(text: str, statement: Statement, options: Options) -> Found:
    """The option a statement names, as its label."""
    start, end = statement.start, statement.end
    if statement.source in {"emphasis", "sentence"}:
        return None
    at, named = _first_name(text, start, end, options)
    if named is None:
        return _otherwise(text, at, statement, options)
    label, stop, is_label = named
    line_end = text.find("\n", stop)
    line_end = len(text) if line_end < 0 else line_end
    if is_label:
        if options.other_text_follows(text, stop, end if statement.is_exact else max(end, line_end), label):
            return Refusal("the label and the text name different options", at, end)
        stop = _own_text_end(text, stop, end if statement.is_exact else max(end, line_end), options, label)
    else:
        tagged = re.compile(_TAGGED.replace("LABEL", label_pattern(options.labels)), re.IGNORECASE).match(text, stop, end)
        if tagged and options.canonical(tagged.group(1)) != label:
            return Refusal("the label and the text name different options", at, end)
        stop = tagged.end() if tagged else stop
    end = max(end, sentence_end(text, stop, line_end)) if is_label and not statement.is_exact else end
    if _joined(text, stop, end, options, label):
        return Refusal("more than one option is named", at, end)
    is_lenient = statement.source in {"line", "lead", "bold"} and not (is_label and _is_contrasted(text[stop:end], options))
    if is_lenient and not _stands_alone(text, stop, end, statement, is_label):
        return None
    return Reading(label, at, stop, is_label and statement.source in {"cue", "boxed", "tag", "json"})


def _first_name(text: str, start: int, end: int, options: Options) -> tuple[int, tuple[str, int, bool] | None]:
    """Where the words that lead up to an answer end, and the option named there. An option may itself begin like such words."""
    bare = _MARKUP.match(text, start, end)
    at = bare.end() if bare else start
    written = options.text_at(text, at, end)
    if written:
        return at, _name_at(text, at, end, options)
    filler = _FILLER.match(text, start, end)
    at = filler.end() if filler else start
    return at, _name_at(text, at, end, options)


def _name_at(text: str, at: int, end: int, options: Options) -> tuple[str, int, bool] | None:
    """(label, end, is a label rather than a text) of the option named at `at`."""
    label = options.label_at(text, at, end)
    written = options.text_at(text, at, end)
    if written and (label is None or (written[1] > label.end() and not label.group("close"))):
        spans_label = label is not None and re.match(r"[.):]", text[label.end("label") : label.end("label") + 1])
        if not spans_label:
            return options.labels[written[0]], written[1], False
    if label:
        return options.canonical(label.group("label")), label.end(), True
    return None


def _own_text_end(text: str, stop: int, end: int, options: Options, label: str) -> int:
    """The end of the label's own text if it is written right behind the label, else `stop`."""
    gap = re.compile(r"[\s\"'*`)\].:,(\u2014\u2013-]*").match(text, stop, end)
    own = options.text_at(text, gap.end(), end) if gap else None
    return own[1] if own and options.labels[own[0]] == label else stop


def _joined(text: str, stop: int, end: int, options: Options, label: str) -> bool:
    """Whether another option is named in the same breath ("A or B", "A and C", "A, B")."""
    join = _JOIN.match(text, stop, end)
    if join is None:
        return False
    named = _name_at(text, join.end(), end, options)
    if named is None or named[0] == label:
        return False
    is_alternative = "or" in join.group("join") or "/" in join.group("join")
    return is_alternative or not _NEW_CLAUSE.match(text, named[1], len(text))


def _stands_alone(text: str, stop: int, end: int, statement: Statement, is_label: bool) -> bool:
    """Whether a lenient place holds an answer and nothing that makes it something else: a label may be followed by its reason."""
    rest = text[stop:end]
    if not rest.strip(" .!*_`\"')]}$\\:,;"):
        return True
    if statement.source == "bold" or not is_label or _DENIED_LABEL.match(rest):
        return False
    return text[stop - 1] in ")]" or bool(_REASON.match(rest))


def _is_contrasted(rest: str, options: Options) -> bool:
    """Whether a label is followed by the denial of another one: "C, not B"."""
    return (
        re.match(
            rf"[\s,(]*(?:not|rather[ ]than|instead[ ]of|over)[ ](?:option[ ])?\(?{label_pattern(options.labels)}(?!\w)", rest
        )
        is not None
    )


def _otherwise(text: str, at: int, statement: Statement, options: Options) -> Found:
    """A statement that does not begin with an option."""
    end = statement.end
    negated = _NEGATED.match(text, at, end)
    if negated and not _NONE.match(text, at, end):
        contrast = _CONTRAST.search(text, negated.end(), end)
        if contrast is None:
            return None
        return read(text, Statement(contrast.end(), end, statement.source, statement.is_exact), options)
    ordinal = _ORDINAL.match(text, at, end)
    if ordinal:
        rank = ordinal.group("rank").casefold()
        index = len(options.labels) - 1 if rank == "last" else _ORDINALS.index(rank)
        return Reading(options.labels[index], at, ordinal.end(), False) if index < len(options.labels) else None
    if _SEVERAL.match(text, at, end):
        return Refusal("more than one option is named", at, end)
    if statement.source in {"cue", "boxed", "tag", "json", "correction"}:
        none = _NONE.match(text, at, end)
        if none:
            return Reading("none", at, none.end(), False)
        stray = _STRAY.match(text, at, end)
        if stray and stray.group("label") not in {"I", *map(str.upper, options.labels)}:
            return Reading(stray.group("label"), at, stray.end("label"), False)
    index_of_number = options.number_at(text, at, end)
    if index_of_number is not None:
        return Reading(options.labels[index_of_number], at, end, False)
    if statement.source in {"cue", "conclusion", "pronoun"}:
        return _mentioned(text, at, statement, options)
    return None


def _mentioned(text: str, start: int, statement: Statement, options: Options) -> Found:
    """The one option a clause mentions by label ("listed as option C"), or ends with by text ("the capital is Paris")."""
    end = statement.end
    pattern = label_pattern(options.labels)
    mention = re.compile(
        rf"\b(?:options?|choices?|letter|answer)[ ][\"'*(\[]*(?P<named>{pattern})(?![\w'])|[(\[](?P<bracketed>{pattern})[)\]]",
        re.IGNORECASE,
    )
    found = list(mention.finditer(text, start, end))
    if found and not re.search(r"\b(?:not|nor|neither|cannot)\b|n't\b", text[start:end]):
        labels = {options.canonical(match.group("named") or match.group("bracketed")) for match in found}
        last = found[-1]
        if len(labels) == 1 and not _joined(text, last.end(), end, options, next(iter(labels))):
            return Reading(labels.pop(), last.start(), last.end(), False)
        return None
    ends_with = re.compile(r"\b(?:is|are|was|be|means|called|choose|:)[ ]+").finditer(text, start, end)
    last_written: Found = None
    for verb in ends_with:
        written = options.text_at(text, verb.end(), end)
        if written and not text[written[1] : end].strip(" .!*_`\"')$"):
            last_written = Reading(options.labels[written[0]], verb.end(), written[1], False)
    if last_written and re.search(r"\b(?:not|nor|neither|cannot)\b|n't\b", text[start:end]):
        return None
    return last_written


def explicit(text: str, start: int, end: int, options: Options) -> tuple[list[Statement], list[Statement]]:
    """Statements in the forms only choices have: (explicit ones, weaker ones that count where nothing is explicit).

    Explicit: "the correct option is B", "B is the correct answer". Weaker: "I choose B", "B is correct".
    """
    strong: list[Statement] = []
    weak: list[Statement] = []
    for pattern, found in ((_CORRECT_OPTION, strong), (_PICK, weak)):
        for cue in pattern.finditer(text, start, end):
            close = sentence_end(text, cue.end(), end)
            if not _UNSURE.search(text[max(start, cue.start() - 60) : cue.start()]) and not text.startswith("?", close):
                found.append(Statement(cue.end(), close, "cue" if found is strong else "conclusion"))
    for naming in re.finditer(_NAMED_LAST.replace("LABEL", label_pattern(options.labels)), text[start:end], re.IGNORECASE):
        if not _UNSURE.search(text[max(start, start + naming.start() - 60) : start + naming.start()]):
            weak.append(Statement(start + naming.start("label"), start + naming.end("label"), "conclusion", True))
    for verdict in _VERDICT.finditer(text, start, end):
        span = _subject(text, max(start, verdict.start() - 160), verdict.start(), options)
        if span and not _UNSURE.search(text[max(start, span[0] - 40) : span[0]]):
            if verdict.group("noun") or verdict.group("noun2"):
                strong.append(Statement(*span, "cue", True))
            else:
                weak.append(Statement(*span, "conclusion", True))
    return strong, weak


def restates_list(text: str, start: int, end: int, options: Options) -> bool:
    """Whether several lines begin with options and differ: the list written out again, or discussed one by one.

    A first line that is an answer and nothing else, set off by an empty line, is one all the same.
    """
    lines = list(_LINE.finditer(text, start, end))
    answers: list[tuple[str, bool]] = []
    for line in lines:
        found = read(text, Statement(*line.span(), "line", True), options)
        if isinstance(found, Reading):
            answers.append((found.value, not text[found.end : line.end()].strip(" .!*_`\"')]}$\\:,;")))
    exact = {label for label, is_exact in answers if is_exact}
    is_set_off = bool(answers) and answers[0][1] and text[lines[0].end() : lines[0].end() + 2] == "\n\n"
    return len(exact) > 1 or (len({label for label, _ in answers}) > 1 and not is_set_off)


def _subject(text: str, start: int, end: int, options: Options) -> tuple[int, int] | None:
    """The option that is the subject of "... is the correct answer", which ends at `end`."""
    start = max([start, *(cut.end() for cut in _CUT.finditer(text, start, end))])
    before = text[start:end]
    pattern = label_pattern(options.labels)
    label = re.search(_SUBJECT_LABEL.replace("LABEL", pattern), before, re.IGNORECASE)
    if label:
        spelled = label.group("label")
        is_marked = len(label.group("what")) > len(spelled) or spelled in options.labels
        if not is_marked or re.search(_LISTED.replace("LABEL", pattern), before[: label.start("what")], re.IGNORECASE):
            return None
        return start + label.start("label"), start + label.end("label")
    titled = re.search(_SUBJECT_TITLED.replace("LABEL", pattern), before)
    if titled:
        own = options.text_at(before + ".", titled.start("text"), len(before) + 1)
        is_own = own and options.labels[own[0]] == options.canonical(titled.group("label")) and own[1] >= titled.end("text") - 1
        if is_own or own:
            return (start + titled.start("label"), start + titled.end("label")) if is_own else None
    clause = _SUBJECT_TEXT.search(before)
    if clause:
        own = options.text_at(before + ".", clause.start("text"), len(before) + 1)
        if own and own[1] >= len(before.rstrip(" *\"'`")):
            return start + clause.start("text"), end
    return None
