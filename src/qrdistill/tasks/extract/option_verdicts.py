"""Statements in forms that only choices have: "the correct option is B", "B is correct", "leaves only B", one option ticked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from qrdistill.tasks.extract.choice import read
from qrdistill.tasks.extract.cues import MAX_CUES, is_unsure
from qrdistill.tasks.extract.gated import Gated
from qrdistill.tasks.extract.options import Options, label_pattern
from qrdistill.tasks.extract.records import Reading, Statement, sentence_end

_SOUND_WORDS = (
    *(
        "correct",
        "right",
        "best",
        "better",
        "true",
        "final",
        "closest",
        "intended",
        "expected",
        "likely",
        "plausible",
        "appropriate",
    ),
    *("accurate", "suitable", "logical", "reasonable", "sensible", "preferable", "probable", "answer", "choice", "pick"),
    *("wins", "it is", "makes"),
)
_VERDICT = Gated(
    _SOUND_WORDS,
    r"[ ](?:is|must[ ]be|would[ ]be|should[ ]be|has[ ]to[ ]be|seems|appears[ ]to[ ]be|stands[ ]out[ ]as|emerges[ ]as"
    r"|turns[ ]out[ ]to[ ]be|proves[ ]to[ ]be|looks[ ]like)[ ](?:(?:therefore|thus|clearly|indeed"
    r"|probably|definitely|actually|obviously|likely)[ ])?"
    r"(?:(?P<noun2>(?:the|our|my)[ ](?:final[ ])?(?:answer|choice|pick))\b|(?:(?:the|our|my)[ ])?(?:(?:(?:only|single|one|far"
    r"|much|clearly|slightly)[ ])?"
    r"(?:correct|right|best|better|true|final|closest|intended|expected)|(?:most|more|far[ ]more|much[ ]more|only"
    r"|single)[ ](?:likely|plausible|appropriate|accurate|suitable"
    r"|logical|reasonable|sensible|preferable|probable))(?P<noun>[ ](?:answer|option|choice|response|one|selection|statement"
    r"|fit|match|pick|candidate))?)\b(?![ ](?:about|that|for|in|only|but|than))"
    r"|[ ](?:wins|it[ ]is|makes[ ](?:the[ ])?(?:most|more)[ ]sense|(?:fits|matches|works)[ ](?:the[ ])?best|seems[ ]best)\b",
    re.IGNORECASE,
)
_LEFT = Gated(
    ("choose", "select", "pick", "go with", "left with", "leav", "mak"),
    r"(?:^|(?<=[.!?][ ]))(?:choose|select|pick|go[ ]with)[ ](?=(?:option[ ]|choice[ ])?\W{0,2}\w\W{0,2}(?:$|[.\n]))"
    r"|\b(?:left[ ]with|leaves|leaving|leaves[ ]us[ ]with|leaves[ ]us"
    r"|leaving[ ]us[ ]with)[ ](?:only[ ])?(?=\W{0,2}(?:option[ ]|choice[ ]|\w\W|\w$))"
    r"|\b(?:makes|making)[ ](?=(?:option[ ]|choice[ ])?\W{0,2}\w\W{0,2}[ ](?:the[ ])?(?:only[ ]|most[ ])?(?:correct|right|best))",
    re.IGNORECASE | re.MULTILINE,
)
_CORRECT_OPTION = Gated(
    ("option", "choice", "letter", "selection", "pick", "guess", "label", "statement", "response", "alternative"),
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
_SUBJECT_LABEL = (
    r"(?:^|[\s,(\"'*])(?P<what>(?:(?:option|choice|answer|letter|statement)[ ])?[(\[\"'*]*(?P<label>LABEL)[)\]\"'*]*)$"
)
_NAMED_BY_LETTERS = re.compile(
    r"\b(?:vitamin|hepatitis|influenza|type|plan|group|grade|class|phase|schedule|version|vessel|team|series|block|section|part|exhibit"
    r"|appendix|chapter|gate|room|flu|note|key|string|minor|major)s?[ ]$",
    re.IGNORECASE,
)
"""Things that have letters for names: "vitamin B" names no option."""
_SUBJECT_TITLED = r"(?:^|[\s,(\"'*])[(\[\"'*]*(?P<label>LABEL)(?:[)\].:,]+|[ ](?=\())[ ]?\(?(?P<text>[^\n]{1,120}?)\)?$"
_SUBJECT_TEXT = re.compile(
    r"(?:^|[.,:]|\b(?:so|therefore|thus|hence|that|think|believe|means|because))[ ]*(?P<text>(?:(?:the"
    r"|an?)[ ])?[^.,:\n]{1,100})$",
    re.IGNORECASE,
)
_NAMED_WORDS = (
    *("correspond", "match", "listed", "which is", "given", "found in", "same as", "represented", "point", "leave", "making it"),
    "label",
)
_NAMED_LAST = (
    r"\b(?:corresponds?[ ](?:to|with)|match(?:es)?|listed[ ](?:as|under|in)|which[ ]is|given[ ](?:in|as|by)|found[ ]in"
    r"|same[ ]as|represented[ ]by|points?[ ]to|leaves?(?:[ ]us)?(?:[ ]with)?(?:[ ]only)?|making[ ]it|labell?ed)"
    r"[ ](?:the[ ])?(?:(?:option|choice|answer|letter)[ ])[\"'*(\[]*(?P<label>LABEL)[)\]\"'*]*[.!]?\s*$"
)
_TURNED = r"(?:isn't|is[ ]not|not)[^.;,\n]{0,30}[;,.][ ](?:but[ ])?(?:option[ ])?(?P<label>LABEL)[ ]is(?=[\s.!]*(?:$|\n))"
_ONLY = (
    r"(?:^|[.,;:\n][ ]?|\b(?:so|therefore|thus|hence|that|and)[ ]|\b(?:means|leaves)[ ])"
    r"only[ ](?:(?:option|choice|answer|statement)[ ])?"
    r"[\"'*(\[]*(?P<label>LABEL)[)\]\"'*]*[ ](?:(?:fits|works|matches|remains|qualifies|applies"
    r"|is[ ](?:left|possible|plausible))(?=[\s.!*]*$|[.,;][ \n])"
    r"|(?:fits|matches|satisfies|describes)[ ](?:the|this|that|all|both|going)\b)"
)
_LINE = re.compile(r"[^\n]*\S[^\n]*")


@lru_cache(maxsize=64)
def _of_labels(pattern: str, words: tuple[str, ...], labels: tuple[str, ...]) -> Gated:
    return Gated(words, pattern.replace("LABEL", label_pattern(labels)))


def explicit(text: str, start: int, end: int, options: Options) -> tuple[list[Statement], list[Statement]]:
    """Statements in the forms only choices have: (explicit ones, weaker ones that count where nothing is explicit).

    Explicit: "the correct option is B", "B is the correct answer". Weaker: "I choose B", "B is correct".
    """
    strong: list[Statement] = []
    weak: list[Statement] = []
    for pattern, found in ((_CORRECT_OPTION, strong), (_LEFT, weak)):
        for cue in pattern.finditer(text, start, end):
            close = sentence_end(text, cue.end(), end)
            if not is_unsure(text, cue.start(), start) and not text.startswith("?", close):
                found.append(Statement(cue.end(), close, "cue" if found is strong else "conclusion"))
    for naming in _of_labels(_NAMED_LAST, _NAMED_WORDS, options.labels).finditer(text, start, end):
        if not is_unsure(text, naming.start(), start):
            weak.append(Statement(*naming.span("label"), "conclusion", True))
    for verdict in list(_VERDICT.finditer(text, start, end))[-MAX_CUES:]:
        if text.startswith("?", sentence_end(text, verdict.end(), end)):
            continue
        span = _subject(text, max(start, verdict.start() - 160), verdict.start(), options)
        if span and not is_unsure(text, span[0], start):
            if verdict.group("noun") or verdict.group("noun2"):
                strong.append(Statement(*span, "cue", True))
            else:
                weak.append(Statement(*span, "conclusion", True))
    for only in _of_labels(_ONLY, ("only ",), options.labels).finditer(text, start, end):
        is_asked = text.startswith("?", sentence_end(text, only.end(), end))
        if not is_asked and not is_unsure(text, only.start("label"), start):
            weak.append(Statement(*only.span("label"), "conclusion", True))
    turned = _of_labels(_TURNED, ("not", "isn't"), options.labels).finditer(text, start, end)
    weak += [Statement(*only.span("label"), "conclusion", True) for only in turned]
    return strong, weak


def restates_list(text: str, start: int, end: int, options: Options) -> bool:
    """Whether several lines begin with options and differ: the list written out again, or discussed one by one.

    A first line that is an answer and nothing else is one all the same if it is a bare label or set off by an empty line.
    """
    lines = list(_LINE.finditer(text, start, end))
    answers: list[tuple[str, bool]] = []
    for line in lines:
        found = read(text, Statement(*line.span(), "line", True), options)
        if isinstance(found, Reading):
            answers.append((found.value, not text[found.end : line.end()].strip(" .!*_`\"')]}$\\:,;")))
    exact = {label for label, is_exact in answers if is_exact}
    is_bare = bool(lines) and options.canonical(lines[0].group().strip(" .*()[]")) in options.labels
    is_set_off = is_bare or (bool(answers) and answers[0][1] and text[lines[0].end() : lines[0].end() + 2] == "\n\n")
    return len(exact) > 1 or (len({label for label, _ in answers}) > 1 and not is_set_off)


_RIGHT = re.compile(
    r"[-\u2013\u2014:(][ ]?(?:this[ ]is[ ])?(?:the[ ])?(?:correct|right|true|yes)(?:[ ](?:answer|option|choice))?[ ]?[).!]*$",
    re.IGNORECASE,
)
_BULLET = re.compile(r"[\s*\u2022>-]*")


def ticked(text: str, start: int, end: int, options: Options, ticks: Sequence[tuple[int, bool]]) -> list[Statement]:
    """The option of the only line that is ticked, or marked "- Correct"."""
    found = []
    for line in _LINE.finditer(text, start, end):
        marks = {is_tick for at, is_tick in ticks if line.start() <= at <= line.end()}
        if marks == {True} or (not marks and _RIGHT.search(line.group().rstrip())):
            bullet = _BULLET.match(text, line.start(), line.end())
            at = bullet.end() if bullet else line.start()
            label = options.label_at(text, at, line.end())
            written = options.text_at(text, at, line.end())
            close = label.end() if label else written[1] if written else -1
            if close > 0:
                found.append(Statement(at, close, "conclusion", True))
    return found if len(found) == 1 else []


def _subject(text: str, start: int, end: int, options: Options) -> tuple[int, int] | None:
    """The option that is the subject of "... is the correct answer", which ends at `end`."""
    start = max([start, *(cut.end() for cut in _CUT.finditer(text, start, end))])
    before = text[start:end]
    pattern = label_pattern(options.labels)
    label = re.search(_SUBJECT_LABEL.replace("LABEL", pattern), before, re.IGNORECASE)
    if label:
        spelled = label.group("label")
        is_marked = len(label.group("what")) > len(spelled) or spelled in options.labels
        if len(label.group("what")) == len(spelled) and _NAMED_BY_LETTERS.search(before[: label.start("what")]):
            return None
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
