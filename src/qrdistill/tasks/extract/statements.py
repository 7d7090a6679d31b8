r"""Where a text states its final answer, whatever kind of answer it is.

A *statement* is a place that claims to hold the final answer. Explicit statements are:

===========  =====================================================================================================
cue          "the answer is X", "Final answer: X", "Answer - X", a heading "Answer" with X on the next line, "X is the answer"
boxed        ``\boxed{X}`` or ``\fbox{X}`` (balanced; a box that never closes was cut off and holds nothing)
tag          ``<answer>X</answer>``, ``#### X``, ``[[X]]``, ``final_answer(X)``
json         ``"answer": X`` and its relatives
correction   "wait, no, it's X", "actually, X", "scratch that: X" - only after an answer that was stated
===========  =====================================================================================================

See :mod:`qrdistill.tasks.extract.cues` for cues that claim nothing and :mod:`qrdistill.tasks.extract.corrections`.
"""

from __future__ import annotations

import re

from qrdistill.tasks.extract.cues import cues, is_unsure
from qrdistill.tasks.extract.gated import Gated
from qrdistill.tasks.extract.markup import closing_braces
from qrdistill.tasks.extract.records import Statement
from qrdistill.types import AnswerKind

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?:[ ]*\{|[ ]+(?=[\w\\-]))")
_BARE_BOX = re.compile(r"\\?[\w.-]*\w")
_TAG = re.compile(
    r"<(?P<tag>(?:final_?|correct_?)?answer)>(?P<tagged>.{0,2000}?)</(?P=tag)>|(?m:^|(?<=\s))####(?!#)[ ]*(?P<hashes>[^\n#]+)"
    r"|\[answer\][ :]*(?P<bracketed>[^\n]{1,200}?)[ ]*(?:\[/answer\]|(?m:$))|<(?P<short>ans|final|result|output|response"
    r"|solution|choice|label|verdict)>\s{0,4}(?P<named>[^<>\n]{1,60})\s{0,4}</(?P=short)>"
    r"|<\|begin_of_solution\|>\s{0,4}(?P<solution>[^<>\n]{1,60})<|<\|answer\|>[ ]*(?P<special>[^\n<]{1,200})"
    r"|\[\[(?P<double>[^\[\]\n]{1,80})\]\]|\b(?:final_?)?answer\([\"']?(?P<call>[^()\n\"']{1,80})[\"']?\)",
    re.IGNORECASE | re.DOTALL,
)
_JSON_VALUE = (
    r"[\"']\s{0,4}:\s{0,4}(?:\[\s{0,4}(?=[\"'][^\"']{1,60}[\"']\s{0,4}\])|\{\s{0,4}[\"']\w{1,20}[\"']\s{0,4}:\s{0,4})?"
    r"(?:\"(?P<double>(?:[^\"\\\n]|\\.){0,2000})\"|'(?P<single>(?:[^'\\\n]|\\.){0,2000})'|(?P<bare>[^\s,}\"'\[{]{1,60}))"
)
_JSON = re.compile(
    r"[\"'](?:final|correct|predicted|my)?[_ ]?(?:answer|prediction|label|choice|option|verdict)s?(?:_?(?:letter|choice|label"
    r"|value|key))?" + _JSON_VALUE,
    re.IGNORECASE,
)
_JSON_RESULT = re.compile(r"[\"'](?:final_?)?(?:result|output|response|solution|final|value)" + _JSON_VALUE, re.IGNORECASE)
"""Keys that hold the answer where no key says so."""
_ANSWER_LINE = Gated(
    ("answer",),
    r"^[ \t*_#>-]*(?:the[ ])?(?:final[ ]|correct[ ])?answer[ ]{1,2}(?P<content>(?!(?:is|was|are|will|might|may|could|can"
    r"|should|must|would|has|have|does|do|cannot|comes|depends|with|to|in|and|or|not|the|a|that|this|these|each|all|any|your"
    r"|my|key|choice|sheet)\b|isn't|can't)[^\s:=].{0,40}?)[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
"""A line such as "Final answer 42": only where nothing but an answer follows."""
_REVERSED = Gated(
    ("answer",),
    r"(?:^|(?<=[.,;:!?\n])[ ]?|\b(?:so|therefore|thus|hence|that|then|means|think"
    r"|believe)[ ,]{1,2})(?P<content>(?:[^.,;:!?\n]|[.,](?=\d)){1,60}?)[ ]"
    r"(?:(?:is|would[ ]be|must[ ]be|should[ ]be|has[ ]to[ ]be|seems[ ]to[ ]be)[ ](?:(?:therefore|thus|clearly"
    r"|indeed)[ ])?(?:the|our|my)[ ]"
    r"(?:(?:final|correct|right|only|best|most[ ]likely)[ ]){0,2}answer\b(?![ ](?:to[ ]life|for[ ](?!this)|if|when|only|in)\b))",
    re.IGNORECASE | re.MULTILINE,
)


def explicit(text: str, start: int, end: int, kind: AnswerKind) -> list[Statement]:
    """The explicit statements in text[start:end], in order."""
    found: list[Statement] = []
    if "\\" in text:
        found += _boxes(text, start, end)
    if "<" in text or "##" in text or "[" in text or "(" in text:
        found += [
            Statement(tag.start(tag.lastgroup), tag.end(tag.lastgroup), "tag", True)
            for tag in _TAG.finditer(text, start, end)
            if tag.lastgroup
        ]
    if '":' in text or "':" in text or '" :' in text:
        found += [
            Statement(pair.start(pair.lastgroup), pair.end(pair.lastgroup), "json", True)
            for pair in list(_JSON.finditer(text, start, end)) or _JSON_RESULT.finditer(text, start, end)
            if pair.lastgroup
        ]
    found += cues(text, start, end, kind)
    found += [
        Statement(*turned.span("content"), "cue", True)
        for pattern in (_REVERSED, _ANSWER_LINE)
        for turned in pattern.finditer(text, start, end)
        if not is_unsure(text, turned.start("content"), start)
    ]
    found.sort(key=lambda statement: statement.start)
    return found


def unclosed_box(text: str, start: int, end: int) -> int:
    """Where a box is opened that never closes (the reply was cut off in it), or `end`."""
    opened = [box for box in _BOX.finditer(text, start, end) if box.group().endswith("{")]
    closing = closing_braces(text, start, end) if opened else {}
    return next((box.start() for box in opened if box.end() - 1 not in closing), end)


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
