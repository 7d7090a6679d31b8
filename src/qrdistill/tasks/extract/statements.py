r"""Where a text states its final answer, whatever kind of answer it is.

A *statement* is a place that claims to hold the final answer. Explicit statements are:

===========  =====================================================================================================
cue          "the answer is X", "Final answer: X", "Answer - X", a heading "Answer" with X on the next line
boxed        ``\boxed{X}`` or ``\fbox{X}`` (balanced; a box that never closes was cut off and holds nothing)
tag          ``<answer>X</answer>``, ``#### X``, ``[[X]]``
json         ``"answer": X`` and its relatives
correction   "wait, no, it's X", "actually, X", "scratch that: X" - only after an earlier explicit statement
===========  =====================================================================================================

A cue does not count where it is not asserted: inside a condition ("if the answer is B"), a reported or mistaken thought ("one
might think the answer is B"), a denial ("I don't think the answer is B") or a question ("is the answer B?", "the answer is B?").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from qrdistill.tasks.extract.markup import closing_braces
from qrdistill.types import AnswerKind

MAX_CLAUSE = 800
"""Longest clause or line that is read for an answer; bounds the work on hostile input."""

Source = Literal[
    "cue", "boxed", "tag", "json", "correction", "bold", "line", "lead", "emphasis", "sentence", "pronoun", "conclusion"
]


@dataclass(frozen=True, slots=True)
class Statement:
    """Characters [start, end) of a view that claim to hold the answer. `is_exact`: nothing but the answer is in there."""

    start: int
    end: int
    source: Source
    is_exact: bool = False
    is_conditional: bool = False
    """Said under a condition ("if you meant the hot spoon, the answer is B"): counts only where nothing is said without one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer in its canonical spelling and the span it was read from."""

    value: str
    start: int
    end: int
    is_strict: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A final statement that names no single answer ("A or B", "cannot be determined"); ends the search."""

    reason: str
    start: int
    end: int


Found = Reading | Refusal | None

_ADJECTIVE = (
    r"(?:final|correct|right|best|most[ ]\w{3,14}|only|overall|numeric(?:al)?|exact|simplified|complete|required|desired|revised|"
    r"corrected|updated|new|ultimate|actual|true|short|full|closest|logical|appropriate|intended|expected|proper|likely)"
)
_QUALIFIER = (
    r"(?:[ ]?\([^()\n]{0,40}\)|,[ ][^.,;:?!\n]{1,30},|[ ](?:to|for|of|in|here|from|among|choice|option|letter|now|then"
    r"|therefore|thus|by|that|which|i|we|based)\b"
    r"[^.:;=?!\n$]{0,60}?)?"
)
_COPULA = (
    r"(?:(?:'s|[ ]{1,2}(?:(?:is|was|are|were)(?=n't)|is|are|was|were|(?:would|will|should|must|has[ ]to"
    r"|can[ ]only)[ ](?:(?:[a-z]+ly|instead|therefore|thus|then|indeed)[ ])?be|should[ ]have[ ]been|(?:seems"
    r"|appears)(?:[ ]to[ ]be)?|looks[ ](?:like|to[ ]be)"
    r"|becomes|equals|comes[ ](?:out[ ])?to|turns[ ]out[ ]to[ ]be|ends[ ]up[ ]being|remains))(?=n't|\W|$)"
    r"|(?P<sign>[ ]{0,2}(?:[:=\u2192\u21d2]|[-=]>|[-\u2013\u2014](?=\s))))"
)
_NOUNS = {
    "": r"(?:answers?|ans\.?)",
    "nli": r"(?:answers?|ans\.?|labels?|relation(?:ship)?|classification|verdict|category|inference|judge?ment|prediction)",
}
_VALUE_NOUNS = r"|(?:final|correct|overall|required|desired)[ ](?:result|value|total|number|amount|solution|count)"


def _cue_regex(nouns: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?<![\w\"'])(?:{_ADJECTIVE}[ ,]{{1,2}}){{0,3}}(?:{nouns})(?!\w|[\"'](?!s\b))(?:{_QUALIFIER}{_COPULA}"
        rf"|(?P<heading>[ :*_]*$))",
        re.IGNORECASE | re.MULTILINE,
    )


_CUES = {
    "choice": _cue_regex(_NOUNS[""]),
    "yesno": _cue_regex(_NOUNS[""]),
    "nli": _cue_regex(_NOUNS["nli"]),
    "number": _cue_regex(_NOUNS[""] + _VALUE_NOUNS),
    "math": _cue_regex(_NOUNS[""] + _VALUE_NOUNS),
}
_GAP = re.compile(r"[ \t:*_`\"]*(?:\n[ \t>*_`]*(?:-[ ]+)?|(?:\$\$|\\\[)[ ]*(?=\n)){0,5}")
_NOT_ASSERTED = re.compile(
    r"\b(?:if|whether|unless|suppose|supposing|assume|assuming|imagine|why|how)(?:[ ]that)?[ ](?:the[ ]|my[ ]|your[ ]|our[ ]"
    r"|its[ ]|this[ ])?$"
    r"|(?:\b(?:not|never|cannot|hardly)|n't)[ ](?:\w+[ ]){0,3}(?:think|say|said|believe|conclude|mean|claim|agree|assume"
    r"|suggest|imply|accept|clear|certain|sure|true|possible"
    r"|the[ ]case)\b[^.;:!?\n]{0,30}$"
    r"|\b(?:doubt|wrong|incorrect|false|mistaken|mistake|incorrectly|wrongly|erroneously|untrue|tempting|tempted|trap)\b[^.;:!?,\n]{0,40}$"
    r"|\b(?:might|may|could|would)[ ](?:\w+[ ])?(?:think|say|guess|assume|argue|believe|suppose|conclude|suggest"
    r"|be[ ]tempted)\b[^.,;:!?\n]{0,40}$"
    r"|\b(?:some|someone|somebody|people|many|others|students|friend|he|she|they)[ ](?:\w+[ ])?(?:thinks?|says?|said"
    r"|guess(?:es)?|claims?|argues?|believes?)\b[^.,;:!?\n]{0,40}$",
    re.IGNORECASE,
)
_IF = re.compile(r"\b(?:if|unless|suppose|assuming|in case|had)\b", re.IGNORECASE)
_WOULD = re.compile(r"\bwould\b", re.IGNORECASE)
_OPEN_CUE = re.compile(
    r"\b(?:is|was|could|would|can|might|may|should)[ ](?:the[ ])?(?:\w+[ ])?answer\b(?:[ ](?:be|really|actually))?"
    r"|\banswer\b[^.\n]{0,30}?[ ](?P<might>might|may|could)\b(?:[ ]\w+)?[ ]be\b",
    re.IGNORECASE,
)
_BUT = re.compile(r"\b(?:but|however|yet|although|though)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(
    r"(?:(?<!\bapprox)(?<!\bvs)(?<!\bSt)(?<!\bDr)(?<!\bMr)(?<!\be\.g)(?<!\bi\.e)(?<!\b[ap]\.m)(?<!\bU\.S)"
    r"(?<!\bNo(?=\.[ ]?\d))(?<!\.\.(?=\.\s{0,2}[a-z]))[.!?](?=[\s\"')\]}*$\\]|$))|\n|$"
)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?:[ ]*\{|[ ]+(?=[\w\\-]))")
_BARE_BOX = re.compile(r"\\?[\w.-]*\w")
_TAG = re.compile(
    r"<(?P<tag>(?:final_?|correct_?)?answer)>(?P<tagged>.{0,2000}?)</(?P=tag)>|(?m:^|(?<=\s))####(?!#)[ ]*(?P<hashes>[^\n#]+)"
    r"|\[\[(?P<double>[^\[\]\n]{1,80})\]\]",
    re.IGNORECASE | re.DOTALL,
)
_JSON = re.compile(
    r"[\"'](?:final|correct|predicted|my)?[_ ]?(?:answer|prediction|label|choice|option|verdict)(?:_?(?:letter|choice|label"
    r"|value|key))?[\"']\s{0,4}:\s{0,4}"
    r"(?:\"(?P<double>(?:[^\"\\\n]|\\.){0,2000})\"|'(?P<single>(?:[^'\\\n]|\\.){0,2000})'|(?P<bare>[^\s,}\"']{1,60}))",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"(?:(?<=[.,;:!?(\n)\u2014\u2013-])|^)[\s*_]*(?:(?:oh|hmm+|but|ah|well|or|and)[, ]{1,2})?"
    r"(?P<marker>(?:(?:wait|hold on|hang on|actually|oops|no|nope|sorry|scratch that|strike that|correction|hmm+|i mean"
    r"|i meant|on second thought|"
    r"let me correct (?:that|myself|this)|my (?:mistake|bad|apologies)|apologies|rather|i misspoke|"
    r"i made (?:a|an) (?:\w+ )?(?:mistake|error|slip)|(?:that|this|it)(?:'s| is| was) (?:wrong|incorrect|not right"
    r"|not correct|a mistake))"
    r"(?:[\s,.:;!\u2014\u2013*-]+(?:so|but|then)\b)?[\s,.:;!\u2014\u2013*-]+){1,4})"
    r"(?:[^.\n]{0,100}?\bso[ ](?=(?:it|that|this|the answer)[ ](?:should|must|has to|would)[ ](?:actually[ ])?be\b))?"
    r"(?P<pronoun>(?:so |then |therefore,? )?(?:(?:it|that|this|the (?:correct |right |real |actual |true )?(?:value|one"
    r"|result|total|choice|option))(?:'s| is| should(?: actually| instead)? be| must be| would be| has to be| was)"
    r"(?: actually| really| in fact)?|make (?:that|it)|(?:it )?should(?: actually)? (?:be|have been)|i mean|change (?:that"
    r"|it|my answer) to|i(?:'d| would| will|'ll)? (?:choose|pick|say|go with))\b)?[\s:,*_]*",
    re.IGNORECASE,
)
_WITHDRAWAL = re.compile(
    r"[\s.,;:!)*_\"'$\\\]}]*(?:(?:but|however|hmm+|oh|oops|ah|well)[, ]{1,2})?(?:(?:wait|hold on|hang on|actually"
    r"|no)[\s,.!\u2014\u2013-]{1,4}){0,3}"
    r"(?:(?:that|this|it)(?:'s| is| was| can't be| cannot be| isn't| doesn't| does not| must be| seems| looks)[ ]?(?:not "
    r"|n't |seem |look |clearly |obviously )*(?:right|correct|wrong|incorrect|a mistake|mistaken|true|an error|work|add up"
    r"|false)"
    r"|i (?:made|see|found|notice) (?:a|an|my) (?:\w+ )?(?:mistake|error|slip)|scratch that|strike that|i was wrong"
    r"|i take (?:that|it) back|ignore that|let me (?:redo|re-do|start over|try again|reconsider|rethink|fix)"
    r"|no[,.!]\s*(?:that|this|it))",
    re.IGNORECASE,
)
_AFFIRMED = re.compile(
    r"\b(?:yes|confirmed|confirms|checks out|is (?:indeed |still )?(?:right|correct)|stands|matches|still|same answer|indeed)\b",
    re.IGNORECASE,
)


def sentence_end(text: str, start: int, end: int) -> int:
    """Where the sentence that goes on at `start` ends (its stop excluded)."""
    end = min(end, start + MAX_CLAUSE)
    found = _SENTENCE_END.search(text, start, end)
    return found.start() if found else end


def explicit(text: str, start: int, end: int, kind: AnswerKind) -> list[Statement]:
    """The explicit statements in text[start:end] (which nouns make a cue depends on the kind), in order."""
    found: list[Statement] = []
    if "\\" in text:
        found += _boxes(text, start, end)
    found += [
        Statement(tag.start(tag.lastgroup), tag.end(tag.lastgroup), "tag", True)
        for tag in _TAG.finditer(text, start, end)
        if tag.lastgroup
    ]
    if '":' in text or "':" in text or '" :' in text:
        found += [
            Statement(pair.start(pair.lastgroup), pair.end(pair.lastgroup), "json", True)
            for pair in _JSON.finditer(text, start, end)
            if pair.lastgroup
        ]
    found += _cues(text, start, end, _CUES[kind])
    found.sort(key=lambda statement: statement.start)
    return found


def _last_stop(text: str) -> int:
    return max(text.rfind(mark) for mark in ".!?\n;") + 1


def corrections(text: str, start: int, end: int) -> list[Statement]:
    """Corrections in text[start:end]; they count only behind an explicit statement."""
    found = []
    for correction in _CORRECTION.finditer(text, start, end):
        content = correction.end()
        close = sentence_end(text, content, end)
        if content < close and not (close < end and text[close] == "?"):
            found.append(Statement(content, close, "correction", correction.group("pronoun") is None))
    return found


def unclosed_box(text: str, start: int, end: int) -> int:
    """Where a box is opened that never closes (the reply was cut off in it), or `end`."""
    opened = [box for box in _BOX.finditer(text, start, end) if box.group().endswith("{")]
    closing = closing_braces(text, start, end) if opened else {}
    return next((box.start() for box in opened if box.end() - 1 not in closing), end)


def withdrawn(text: str, start: int, end: int) -> int:
    """Where a statement that ends at `start` is taken back right after it, or -1. A later "yes, that is right" restores it."""
    found = _WITHDRAWAL.match(text, start, end)
    if found is None or _AFFIRMED.search(text, found.end(), end):
        return -1
    return found.end()


def _boxes(text: str, start: int, end: int) -> list[Statement]:
    found = []
    closing: dict[int, int] | None = None
    for box in _BOX.finditer(text, start, end):
        if box.group().endswith("{"):
            closing = closing_braces(text, start, end) if closing is None else closing
            close = closing.get(box.end() - 1)
            if close is not None:
                found.append(Statement(box.end(), close, "boxed", True))
        else:
            word = _BARE_BOX.match(text, box.end(), end)
            if word:
                found.append(Statement(box.end(), word.end(), "boxed", True))
    return found


def denied(text: str, start: int, end: int, kind: AnswerKind) -> list[tuple[int, int]]:
    """Spans that speak of an answer without claiming it: questions, conditions, denials, mere possibilities."""
    spans = []
    for cue in _CUES[kind].finditer(text, start, end):
        close = _region_end(text, cue.end(), end, kind)
        if _is_denied(text, cue, start) or text.startswith("?", close):
            spans.append((cue.end(), close))
    for opened in _OPEN_CUE.finditer(text, start, end):
        close = _region_end(text, opened.end(), end, kind)
        if opened.group("might") or text.startswith("?", close):
            spans.append((opened.end(), close))
    return spans


def _region_end(text: str, start: int, end: int, kind: AnswerKind) -> int:
    """The end of the sentence that goes on at `start`; in "might be B. Paris." the first stop belongs to the label."""
    close = sentence_end(text, start, end)
    return (
        sentence_end(text, close + 1, end) if kind == "choice" and close - start < 5 and text.startswith(". ", close) else close
    )


def _is_denied(text: str, cue: re.Match[str], start: int) -> bool:
    before = _BUT.split(text[max(start, cue.start() - 90) : cue.start()])[-1]
    return _NOT_ASSERTED.search(before) is not None


def _cues(text: str, start: int, end: int, pattern: re.Pattern[str]) -> list[Statement]:
    found = []
    for cue in pattern.finditer(text, start, end):
        if _is_denied(text, cue, start):
            continue
        gap = _GAP.match(text, cue.end(), end)
        content = gap.end() if gap else cue.end()
        close = sentence_end(text, content, end)
        if content >= close or text.startswith("?", close):
            continue
        is_assignment = cue.group("sign") is not None and "=" in cue.group("sign")
        before = text[max(start, cue.start() - 90) : cue.start()]
        is_conditional = _IF.search(before[_last_stop(before) :]) is not None
        if not (is_conditional and _WOULD.search(cue.group())):
            found.append(Statement(content, close, "cue", is_assignment, is_conditional))
    return found
