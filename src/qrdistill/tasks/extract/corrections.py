"""Second thoughts: what replaces an answer ("wait, no, it's B") and what takes it back ("hmm, that's wrong")."""

from __future__ import annotations

import re

from qrdistill.tasks.extract.records import Statement, sentence_end

_CORRECTION = re.compile(
    r"(?:(?<=[.,;:!?(\n)\u2014\u2013-])|^)[\s*_]*(?:(?:oh|hmm+|but|ah|well|or|and)[, ]{1,2})?"
    r"(?P<marker>(?:(?:wait|hold on|hang on|actually|oops|whoops|no|nope|sorry|scratch that|strike that|correction|hmm+|i mean"
    r"|i meant|on second thoughts?|on reflection|"
    r"let me correct (?:that|myself|this)|my (?:mistake|bad|apologies)|apologies|rather|i misspoke|"
    r"i made (?:a|an) (?:\w+ )?(?:mistake|error|slip)|(?:that|this|it)(?:'s| is| was) (?:wrong|incorrect|not right"
    r"|not correct|a mistake))"
    r"(?:[\s,.:;!\u2014\u2013*-]+(?:so|but|then)\b)?[\s,.:;!\u2014\u2013*-]+){1,4})"
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
    r"(?:(?:that|this|it)[ ]?(?:'s|is|was|seems|looks|must be)?[ ]?(?:(?:also|clearly|obviously|definitely|actually|just"
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


def corrections(text: str, start: int, end: int) -> list[Statement]:
    """Corrections in text[start:end]; they count only behind an answer that was stated."""
    found = []
    for correction in _CORRECTION.finditer(text, start, end):
        content = correction.end()
        close = sentence_end(text, content, end)
        if content < close and not (close < end and text[close] == "?"):
            found.append(Statement(content, close, "correction", correction.group("pronoun") is None))
    return found


def withdrawn(text: str, start: int, end: int) -> int:
    """Where a statement that ends at `start` is taken back right after it, or -1. A later "yes, that is right" restores it."""
    found = _WITHDRAWAL.match(text, start, end)
    if found is None or _AFFIRMED.search(text, found.end(), end):
        return -1
    if not found.group("turn") and not set(text[start : found.start("turn")]) & set(".!?;\n\u2014\u2013"):
        return -1  # "No, that is not true" explains
    return found.end()
