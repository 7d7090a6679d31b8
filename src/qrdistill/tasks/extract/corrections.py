"""Second thoughts: what replaces an answer ("wait, no, it's B") and what takes it back ("hmm, that's wrong")."""

from __future__ import annotations

import re

from qrdistill.tasks.extract.records import Statement, sentence_end

MAX_CORRECTIONS = 100
"""How many corrections, from the end, are looked at; bounds the work on hostile input."""

_CORRECTION = re.compile(
    r"(?:(?<=[.,;:!?(\n)>\u2014\u2013-])|^|(?<=[ ])(?=(?:wait[, ]+no|no[, ]+wait|i mean|i meant)\b))[\s*_]{0,6}+(?:(?:oh|hmm+|but"
    r"|ah|well|or|and)[, ]{1,2})?"
    r"(?P<marker>(?:(?:wait|hold on|hang on|actually|oops|whoops|no|nope|sorry|scratch that|strike that|correction|hmm+|i mean"
    r"|i meant|on second thoughts?|on reflection|"
    r"let me correct (?:that|myself|this)|i(?:'d like| would like| need| want| have)? to (?:correct|change|revise) (?:that"
    r"|this|myself)"
    r"|(?:i(?:'ll| will|'d like to| want to| would like to| need to)? )?(?:chang|revis|updat)(?:e"
    r"|ing) my (?:final )?answer(?: to)?|my (?:mistake|bad|apologies)|apologies|rather|i misspoke|"
    r"i made (?:a|an) (?:\w+ )?(?:mistake|error|slip)|(?:that|this|it)(?:'s| is| was) (?:wrong|incorrect|not right"
    r"|not correct|a mistake))"
    r"(?:[\s,.:;!\u2014\u2013*-]{1,8}(?:so|but|then)\b)?[\s,.:;!\u2014\u2013*-]{1,8}){1,4})"
    r"(?:[^.\n]{0,100}?\bso[ ](?=(?:it|that|this|the answer)[ ](?:should|must|has to|would)[ ](?:actually[ ])?be\b))?"
    r"(?P<pronoun>(?:so |then |therefore,? )?(?:(?:it|that|this|the (?:correct |right |real |actual |true )?(?:value|one"
    r"|result|total|choice|option))(?:'s| is| should(?: actually| instead)? be| must be| would be| has to be| was)"
    r"(?: actually| really| in fact)?|make (?:that|it)|(?:it )?should(?: actually)? (?:be|have been)|i mean"
    r"|(?:let me |i(?:'ll| will|'d like to| want to| would like to| need to) )?(?:change|revise|update) (?:that|it"
    r"|my (?:final )?answer) to"
    r"|i(?:'d| would| will|'ll)? (?:choose|pick|say|go with))\b)?[\s:,*_]*",
    re.IGNORECASE,
)
_WITHDRAWAL = re.compile(
    r"[\s.,;:!)*_\"'$\\\]}\u2014\u2013-]*(?P<turn>(?:(?:but|however|hmm+|oh|oops|ah|well)[,. ]{1,4})?(?:(?:wait|hold on"
    r"|hang on|actually|oops"
    r"|no)[\s,.!\u2014\u2013-]{1,4}){0,3})"
    r"(?:(?:that|this|it|he|she|they)[ ]?(?:'s|is|are|was|seems|looks|must be)?[ ]?(?:(?:also|clearly|obviously|definitely"
    r"|actually|just"
    r"|simply) )?"
    r"(?:(?:not|n't) (?:quite |exactly |actually |really )?(?:right|correct|true|possible|it\b)|(?:can't|cannot|couldn't"
    r"|can not) be (?:right|correct|true|it\b)"
    r"|(?:doesn't|does not|didn't|don't) (?:look |seem |sound |quite |really |feel )?(?:right|correct|work|add up|make sense"
    r"|match|fit)"
    r"|wrong|incorrect|false|mistaken|(?:a|an|my) (?:mistake|error))"
    r"|i (?:made|see|found|notice) (?:a|an|my) (?:\w+ )?(?:mistake|error|slip)|scratch that|strike that|i was wrong"
    r"|i take (?:that|it) back|ignore that|let me (?:redo|re-do|start over|try again|reconsider|rethink|fix)"
    r"|no[,.!]\s*(?:that|this|it))",
    re.IGNORECASE,
)
_AFFIRMED = re.compile(
    r"\b(?:yes|confirmed|confirms|checks out|is (?:indeed |still )?(?:right|correct)|stands|matches|still|same answer|indeed)\b",
    re.IGNORECASE,
)


_ENDS_IN_NO = re.compile(r"\b(?P<no>no|nope)[\s,.:;!\u2014\u2013*-]*$", re.IGNORECASE)
_BARE = re.compile(
    r"[\s.,;:!)*_\"'$\\\]}\u2014\u2013\u2026-]*(?:(?:but|oh|ah|or)[, ]{1,2})?(?:(?:wait|hmm+|on second thoughts?"
    r"|on reflection|hold on|hang on|actually|oops"
    r"|no|nope|let me (?:re-?\w+|double[- ]check|check|verify"
    r"|think)[^.!?\n]{0,40}(?<=[a-z]))[\s,.!?\u2026\u2014\u2013-]*){1,4}$",
    re.IGNORECASE,
)


def corrections(text: str, start: int, end: int) -> list[Statement]:
    """Corrections in text[start:end]; they count only behind an answer that was stated. "Actually, no" is the correction "no"."""
    found = []
    for correction in list(_CORRECTION.finditer(text, start, end))[-MAX_CORRECTIONS:]:
        content = correction.end()
        close = sentence_end(text, content, end)
        said_no = _ENDS_IN_NO.search(text, correction.start("marker"), correction.end("marker"))
        if content >= close and said_no and _is_turn(text, correction):
            found.append(Statement(*said_no.span("no"), "correction", True))
        if content < close and not (close < end and text[close] == "?"):
            found.append(Statement(content, close, "correction", correction.group("pronoun") is None))
    return found


def _is_turn(text: str, correction: re.Match[str]) -> bool:
    """Whether the bare "no" of a correction takes something back, as "actually, no" does and ", no" or "or no" do not."""
    lead = text[correction.start() : correction.start("marker")].strip(" *_").casefold()
    is_bare = correction.group("marker").strip(" .,!*:;-").casefold() in {"no", "nope"}
    is_set_off = text[correction.start() - 1 : correction.start()] in set(".!?\n\u2026\u2014\u2013-")
    return not is_bare or (lead != "or" and is_set_off)


def withdrawn(text: str, start: int, end: int, is_yesno: bool) -> int:
    """Where a statement that ends at `start` is taken back right after it, or -1. A later "confirmed" restores it.

    So does a "yes", unless that is an answer itself.
    """
    bare = _BARE.match(text, start, end)
    if bare and re.search(r"wait|hmm|second|reflection|hold|hang|actually|oops|\bno", bare.group(), re.IGNORECASE):
        return end
    found = _WITHDRAWAL.match(text, start, end)
    if found is None or any(
        is_yesno <= (again.group().casefold() != "yes") for again in _AFFIRMED.finditer(text, found.end(), end)
    ):
        return -1
    if not found.group("turn") and not set(text[start : found.start("turn")]) & set(".!?;\n\u2014\u2013"):
        return -1  # "No, that is not true" explains
    return found.end()


def second_thought(text: str, start: int, end: int) -> int:
    """Where the first correction of text[start:end] begins ("42. No, 17."), or -1."""
    found = _CORRECTION.search(text, start, end)
    return found.start() if found else -1
