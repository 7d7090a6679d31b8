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
from qrdistill.tasks.extract.records import ADVERB, EXPLICIT, Found, Reading, Refusal, Statement, sentence_end
from qrdistill.tasks.extract.sentences import Sentence, is_plain_claim

_FILLER = re.compile(
    r"(?:[\s:,*`\"'<>]|\.{2,}|\u2026|\\[(\[]|\$(?=[\\({A-Za-z]|\w\$)|\\(?:boxed|fbox|text|textbf|mathbf|mathrm|textit|emph|bf"
    r"|mathit|mathsf)\b[ ]?\{?|\{|(?:therefore|thus|hence|so|clearly|definitely|certainly|obviously|surely|probably|likely"
    r"|most[ ](?:likely|probably)|simply|just|indeed|actually|then|again|none[ ]other[ ]than|indicated[ ]by|given[ ]by|that"
    r"|is|option|choice|letter|label|answer|number|statement|i[ ](?:think|believe|would[ ]say)|in[ ]fact|of[ ]course"
    r"|as[ ]follows|it[ ]is|it's|still|also|represented[ ]by|denoted[ ]by|found[ ]in|(?:correct|right|best)[ ]is|"
    + ADVERB
    + r")\b|the[ ](?=option|choice|letter))+",
    re.IGNORECASE,
)
_FORETOLD = re.compile(r"(?:it|this)[ ](?:will|would|must|should)[ ](?:be[ ])?", re.IGNORECASE)
_CALCULATION = re.compile(r"[$(\\[]*-?\d[\d\s.,+*/x\u00d7\u00f7^()$%\u2013-]*=[ ]*(?=[$-]{0,2}\d)")
"""What comes before the result of a calculation ("18 - 3 = 15")."""
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
    r"[\s\"'*`)\]}$\\]*(?P<join>,?[ ]?\(?(?:or|and|and/or|as[ ]well[ ]as|through|thru|to)[ ]|[ ]?[/&|+][ ]?"
    r"|,[ ])(?:(?:possibly|maybe"
    r"|perhaps|also|even|either|option|choice|answer|letter|potentially|equally)[ ,]{1,2}){0,3}(?:[\"'*`$]|\\[(\[])*",
    re.IGNORECASE,
)
_NEW_CLAUSE = re.compile(
    r"[)\]\"'*`]*[ ](?:is|was|can|could|does|do|would|has|isn't|doesn't|can't|won't|wasn't|cannot|describes|refers"
    r"|represents|would)\b",
    re.IGNORECASE,
)
_TAGGED = r"[\s,]*[(\[](?:option|choice|answer)?[ ]?(LABEL)[)\]]"
_WORD = re.compile(r"[\w$]\S*")
_REASON = re.compile(r"[\s*_`\"']*(?:[()\].:,;\u2014\u2013-]|\b(?:because|since|as|due|given|based)\b)", re.IGNORECASE)
_TEXT_REASON = re.compile(
    r"[\s*_`\"')]*[,:;\u2014\u2013-]?[ ]*(?:because|since|as[ ](?:it|the|they|this)|due[ ]to|given[ ]that)\b", re.IGNORECASE
)
_PASSIVE = re.compile(
    r"[ ]*(?:(?:\w+ly|most|best|usually|often)[ ])?(?:\w+ed|made|known|given|found|seen|done|driven|built|kept|because"
    r"|due)(?:[ ]\w+ly)?[ ](?:by|as|in|at|from|on|to|with|of)\b[ ]?",
    re.IGNORECASE,
)
_PLACED = re.compile(
    r"\b(?:by|as|in|into|at|inside|from|called|named|with|using|through|off|to|of|see|notice|observe|expect|find|needs?|uses?|choose|buy|have|be"
    r"|causes?|produces?|releases?|absorbs?|contains?|forms?|shows?|represents?|requires?)[ ]+(?:(?:an?|the)[ ])?$",
    re.IGNORECASE,
)
_WE = re.compile(r"[\s*_]*we[ ](?:would|will|can|see|find|get|observe|expect|have|need|use)\b", re.IGNORECASE)
_ABOUT_LABEL = r"[\s*_(\[-]*(?:(?:option|choice|answer|letter)[ ])?[(\[]?LABEL[)\].:]?[ ](?:is|are|was|says|would)\b"
_OR = re.compile(r"\b(?:or|and|not|if|whether|like)\b|n't\b|\?", re.IGNORECASE)
_TAG_AT_END = r"[(\[](?:option|choice|answer|letter)?[ ]?(?P<label>LABEL)[)\]][\s.!*_]*$"
_SPECIES = re.compile(r"\.[ ](?:coli|elegans|difficile|albicans|botulinum|tetani|thaliana|melanogaster)\b")
_BEGINS_LIST = re.compile(r"\b(?:let's|options?|choices|consider|step|analy[sz]e|evaluate|look)\b[^\n:]*:\s*$", re.IGNORECASE)
_LISTS = re.compile(r"(?<![(\w])[A-Za-z1-9][).:][ ]+\w")
_CLOSES_WITH = (
    r"\w{2}(?:[ ]?[:\u2014\u2013-]|[,;]?[ ](?:so|therefore|thus|hence|meaning|making[ ]it))[ ]+(?:(?:it's|it[ ]is"
    r"|option|choice|the[ ]answer[ ]is)[ ])?[(\[\"']?(?P<label>LABEL)[)\]\"']?[\s.!*_]*$"
)
_LAST_NUMBER = re.compile(r"[-+]?[$\u20ac\u00a3]?[ ]?\d[\d,./]*(?:[ ]?(?:%|[A-Za-z]+))?[\s.!*_]*$")
_DENIES = re.compile(
    r"\b(?:not|nor|neither|never|wrong|incorrect|ruled?[ ]out|eliminated?|cannot|false|mistakes?|tempting|trap|unlikely"
    r"|doubt)\b|n't\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"[\s*_`\"']*(?:is|was|are|were|can|could|might|may|would|should|will|seems?|appears?|fails?|does|do|did|has|had|if|only|unless|provided|in|for|vs|to|and|or|but|than|might"
    r"|was|appears)\b",
    re.IGNORECASE,
)
_NO_NAME = re.compile(
    r"\b(?:but|except|almost|hardly|about|chapter|see|as|let|try|test|avoid|said|says|anything|everything|section|page|part|option|not|never|for|you|we|i|is|was|who|what|answer|reply|respond|by|tempted)\b",
    re.IGNORECASE,
)
_HYPOTHETICAL = re.compile(
    r"\b(?:if|whether|unless|might|may|could|maybe|perhaps|possibly|consider|suppose|assume|let's|check|find[ ]out|show|prove"
    r"|please|choose|select"
    r"|pick|options?[ ]are|choices|people|some[ ]say|thinks?[ ]it|question|unsure|avoid|exclude|disagree|almost|hardly"
    r"|except|anything|everything|no[ ]way|in[ ]no|by[ ]no|said|says|say|told|mention\w*|thought|guess|claim|answered|wrote"
    r"|wanted|want|wish|tempted|going[ ]to)\b|\?",
    re.IGNORECASE,
)
_DENIED_LABEL = re.compile(
    r"[\s*_`\"')\].:,;\u2014\u2013-]*(?:(?:is|was|this[ ]is|that's|it's|it[ ]is|which[ ]is|would[ ]be|can)[ ]?)?(?:incorrect"
    r"|wrong|not|false|no(?!,|[ ]wait)|n't|isn't|invalid|unlikely)\b",
    re.IGNORECASE,
)


def read(text: str, statement: Statement, options: Options) -> Found:
    """The option a statement names, as its label."""
    start, end = statement.start, statement.end
    if statement.source == "emphasis":
        return None
    if statement.source == "sentence":
        return _sentence(text, statement, options)
    if statement.source == "predicate":
        passive = _PASSIVE.match(text, start, end)
        start = passive.end() if passive else start
        if _others_in_sentence(text, start, end, options):
            return None
    at, named = _first_name(text, start, end, options)
    if named is None:
        return _otherwise(text, at, statement, options)
    label, stop, is_label = named
    has_text = False
    line_end = text.find("\n", stop)
    line_end = len(text) if line_end < 0 else line_end
    if is_label:
        if options.other_text_follows(text, stop, end if statement.is_exact else max(end, line_end), label):
            return Refusal("the label and the text name different options", at, end)
        named_twice = _own_text_end(text, stop, end if statement.is_exact else max(end, line_end), options, label)
        has_text, stop = named_twice > stop, named_twice
    else:
        tagged = re.compile(_TAGGED.replace("LABEL", label_pattern(options.labels)), re.IGNORECASE).match(text, stop, end)
        if tagged and options.canonical(tagged.group(1)) != label:
            return Refusal("the label and the text name different options", at, end)
        stop = tagged.end() if tagged else stop
    end = max(end, sentence_end(text, stop, line_end)) if is_label and not statement.is_exact else end
    if statement.source == "correction" and is_label and _DENIED_LABEL.match(text, stop, end):
        return None  # "C: no. D: no." goes from option to option
    if _joined(text, stop, end, options, label):
        return Refusal("more than one option is named", at, end)
    is_lenient = statement.source in {"line", "lead", "bold", "predicate"} and not (
        is_label and _is_contrasted(text[stop:end], options)
    )
    if is_lenient and not _stands_alone(text, stop, end, statement, is_label):
        is_titled = is_label and has_text and statement.source == "lead" and not _discusses(text, stop, end, options)
        if not is_titled:
            return None
    return Reading(label, at, stop, is_label and statement.source in EXPLICIT)


def _first_name(text: str, start: int, end: int, options: Options) -> tuple[int, tuple[str, int, bool] | None]:
    """Where the words that lead up to an answer end, and the option named there. An option may itself begin like such words."""
    bare = _MARKUP.match(text, start, end)
    at = bare.end() if bare else start
    written = options.text_at(text, at, end)
    if written:
        return at, _name_at(text, at, end, options)
    filler = _FILLER.match(text, start, end)
    at = filler.end() if filler else start
    while (worked_out := _CALCULATION.match(text, at, end)) and options.text_at(text, at, end) is None:
        at = worked_out.end()
    named = _name_at(text, at, end, options)
    foretold = _FORETOLD.match(text, at, end) if named is None else None
    return (foretold.end(), _name_at(text, foretold.end(), end, options)) if foretold else (at, named)


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
        return not (is_label and _BEGINS_LIST.search(text, 0, statement.start))
    if statement.source in {"bold", "predicate"} or _DENIED_LABEL.match(rest) or _SPECIES.match(rest):
        return False
    if is_label and _LISTS.search(rest):
        return False
    if not is_label:
        is_yes_or_no = text[statement.start : stop].strip(" *_`\"'").casefold() in {"yes", "no", "true", "false"}
        return bool((_REASON if is_yes_or_no else _TEXT_REASON).match(rest))
    if rest.lstrip(" *_)\"'").startswith("?") or _DENIES.search(rest.split(".")[0]):
        return False
    if text[stop - 1] in ")]":
        return _GOES_ON.match(rest) is None
    return bool(_REASON.match(rest))


def _others_in_sentence(text: str, at: int, end: int, options: Options) -> bool:
    """Whether the sentence around a place names more than one option by its text, or is about an option's label."""
    start = max(text.rfind(stop, 0, at) for stop in (". ", "! ", "? ", "\n")) + 1
    about = re.compile(_ABOUT_LABEL.replace("LABEL", label_pattern(options.labels)), re.IGNORECASE)
    return bool(about.match(text, start, at)) or len(_written(text, start, sentence_end(text, end, len(text)), options)) > 1


def _written(text: str, start: int, end: int, options: Options) -> dict[int, tuple[int, int]]:
    """Options written out in text[start:end]: index -> (start, end) of the last time."""
    found: dict[int, tuple[int, int]] = {}
    at = start
    for word in _WORD.finditer(text, start, min(end, start + 1000)):
        if word.start() < at:
            continue
        written = options.text_at(text, word.start(), end)
        if written:
            found[written[0]] = (word.start(), written[1])
            at = written[1]
    return found


def _sentence(text: str, statement: Statement, options: Options) -> Found:
    """The option that the last sentence ends with: "meiosis (option B)", or its text where nothing else was said."""
    start, end = statement.start, statement.end
    tag = re.compile(_TAG_AT_END.replace("LABEL", label_pattern(options.labels)), re.IGNORECASE).search(text, start, end)
    if (
        _DENIES.search(text, start, end)
        or _HYPOTHETICAL.search(text, start, end)
        or len(written := _written(text, start, end, options)) > 1
    ):
        return None
    if tag and len(re.findall(r"[(\[]\w{1,2}[)\]]", text[start:end])) == 1 and _is_named(text, start, tag, written, options):
        return Reading(options.canonical(tag.group("label")), tag.start("label"), tag.end("label"), False)
    closing = re.compile(_CLOSES_WITH.replace("LABEL", label_pattern(options.labels))).search(text, start, end)
    if closing and closing.group("label") in options.labels and not written and not _OR.search(text, start, end):
        return Reading(closing.group("label"), *closing.span("label"), False)
    opening = _MARKUP.match(text, start, end)
    if not statement.is_exact or options.label_at(text, opening.end() if opening else start, end):
        return None
    claim = next(iter(written.values()))[0] if written else end
    we = _WE.match(text, start, claim)
    if not is_plain_claim(text, we.end() if we else start, Sentence(we.end() if we else start, claim, ".")):
        return None
    number = _LAST_NUMBER.search(text, start, end)
    if number and (named := options.number_at(text, number.start(), end)) is not None:
        return Reading(options.labels[named], number.start(), end, False)
    if not written:
        return None
    index, (first, last) = written.popitem()
    if text[last:end].strip(" .!*_`\"'") or not _PLACED.search(text, start, first) or len(text[start:first].split()) < 3:
        return None
    return Reading(options.labels[index], first, last, False)


def _is_named(text: str, start: int, tag: re.Match[str], written: dict[int, tuple[int, int]], options: Options) -> bool:
    """Whether a label in brackets at a sentence's end names what it says: "(option B)", "meiosis (B)", "Lincoln (C)"."""
    label = options.canonical(tag.group("label"))
    is_spelled = len(tag.group().strip("[]() .!*_\n")) > len(label)
    lead = text[start : tag.start()].split()
    is_title = 0 < len(lead) <= 3 and lead[0][:1].isupper() and not _NO_NAME.search(" ".join(lead))
    is_said = re.search(r"(?:\b(?:is|are|was|be|means)|\u2192|[:=])[ ]*$", text[start : tag.start()]) is not None
    return is_spelled or is_said or any(options.labels[index] == label for index in written) or is_title


def _discusses(text: str, stop: int, end: int, options: Options) -> bool:
    """Whether what follows a label with its text denies it, or goes on to another label with its text."""
    if _DENIES.search(text, stop, sentence_end(text, stop, end)):
        return True
    later = re.compile(rf"(?<!\w)(?P<label>{label_pattern(options.labels)})[).:]+[ ]")
    return any(options.text_at(text, label.end(), len(text)) for label in later.finditer(text, stop))


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
    if found and not _DENIES.search(text, start, end):
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
    if last_written and _DENIES.search(text, start, end):
        return None
    return last_written
