"""Extraction: the final answer a response states, and where.

The last explicitly stated answer wins. A response is cut into turns and the first turn that states an answer is the reply; in
it explicit statements (:mod:`qrdistill.tasks.extract.statements`) are read from the last to the first, and the first one that
reads as an answer of the kind is the final answer - unless it is taken back right after ("wait, that's wrong") and nothing
replaces it, or it names more than one answer. Where nothing is explicit, a few places that can only be meant as the answer are
tried (:mod:`qrdistill.tasks.extract.lenient`). A letter, word or number that merely occurs is never an answer, and neither is
an empty reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from qrdistill.tasks.compare.quantity import equal, parse_quantity
from qrdistill.tasks.extract import choice, formula, lenient, nli, option_verdicts, yesno
from qrdistill.tasks.extract.corrections import corrections, second_thought, withdrawn
from qrdistill.tasks.extract.cues import denied, picks
from qrdistill.tasks.extract.doubt import is_doubted, offered
from qrdistill.tasks.extract.listings import lists_values, options_listed
from qrdistill.tasks.extract.markup import Span, Stripped, strip
from qrdistill.tasks.extract.options import Options
from qrdistill.tasks.extract.records import Found, Reading, Refusal, Statement, sentence_end
from qrdistill.tasks.extract.sentences import without_courtesies
from qrdistill.tasks.extract.statements import explicit, unclosed_box
from qrdistill.tasks.extract.tails import without_tails
from qrdistill.tasks.extract.text import view
from qrdistill.tasks.extract.turns import segments
from qrdistill.types import AnswerKind

Choices = Sequence[tuple[str, str]] | None
Reader = Callable[[str, Statement], Found]

MAX_STATEMENTS = 40
"""How many explicit statements, from the end, are read; bounds the work on hostile input."""

MAX_TAKEN_BACK = 8
"""How often an answer may be taken back and replaced before the reply counts as undecided."""

MAX_HEDGE = 120
"""How far behind a cue a box still belongs to the same few words."""

_RECHECK = re.compile(
    r"[\s.,;:!)*_\"'$\\\]}]*(?:(?:but|hmm+|oh|ah|ok|okay|well|wait|hold on|actually|no)[,.!\s\u2014-]+){0,3}"
    r"(?:(?:wait|hold on|hmm+|actually)\b"
    r"|(?:let me|let's|i should|i will|i'll|i need to)[ ](?:just[ ]|quickly[ ])?(?:re-?\w+|double|verify|check|think|try|go"
    r"|look)\b)",
    re.IGNORECASE,
)
_BETWEEN_BOXES = re.compile(
    r"[\s$.()\[\]\\]*(?:,|;|&|/|,?[ ]?\b(?:and|or)\b)[\s$()\[\]\\]*(?:(?:maybe|possibly|perhaps)[\s$]+)?", re.IGNORECASE
)

_OPENED_BOX = re.compile(r"\\(?:boxed|fbox|framebox)[ ]*\{?[ ]*$")
_DENIED_BOX = re.compile(r"(?:\b(?:not|never|cannot[ ]be)|n't)[\s$*\\(\[]*$", re.IGNORECASE)
_ASKS = re.compile(r"[\s*_]*(?:is|was|could|would|does|do|did|isn't|might|may|can|are|if)\b", re.IGNORECASE)
_UNCLAIMED = frozenset({"line", "lead", "bold", "sentence", "predicate", "pronoun"})
"""Places that hold an option without saying that it is the answer."""
_LABELS: frozenset[AnswerKind] = frozenset({"choice", "yesno", "nli"})
_READERS: dict[AnswerKind, Reader] = {
    "yesno": yesno.read,
    "nli": nli.read,
    "number": formula.read_number,
    "math": formula.read,
}


def extract(kind: AnswerKind, choices: Choices, response: str) -> Found:
    """The final answer of a response with its span in the raw text; a refusal says why what is stated is none; None: nothing.

    >>> extract("number", None, "3 * 8 = 24. The answer is 24.").value
    '24'
    """
    plain = view(response)
    stripped = strip(plain.text, is_math=kind == "math")
    options = Options.of(choices or ())
    found: Found = None
    turns = segments(stripped.text)
    for start, end in turns:
        text = stripped.text if end == len(stripped.text) else stripped.text[:end]
        found = _Turn(kind, options, stripped, text, start).answer()
        if found is not None:
            break
    if found is None:
        return None
    first = stripped.before(found.start)
    last = stripped.before(found.end - 1) + 1 if found.end > found.start else first
    raw_start, raw_end = plain.raw_span(first, last)
    if isinstance(found, Refusal):
        return Refusal(found.reason, raw_start, raw_end)
    return Reading(found.value, raw_start, raw_end, found.is_strict, found.strict)


@dataclass(slots=True)
class _Turn:
    """One turn of a response, text[start:], and how it is read."""

    kind: AnswerKind
    options: Options
    stripped: Stripped
    text: str
    start: int
    end: int = 0
    num_taken_back: int = 0
    weak: list[Statement] = field(default_factory=list)
    denied: list[Span] = field(default_factory=list)
    known: dict[Statement, Found] = field(default_factory=dict)
    """What places were found to say."""

    def answer(self) -> Found:
        """The final answer of this turn."""
        self.end = len(self.text)
        if "\\" in self.text:
            self.end = unclosed_box(self.text, self.start, self.end)
            self.text = self.text[: self.end]
        self.denied = denied(self.text, self.start, self.end, self.kind)
        statements = self.statements()
        answered = (
            index for index, place in enumerate(statements) if place.source != "correction" and self.read(place) is not None
        )
        first_answer = next(answered, len(statements))
        for index in range(len(statements) - 1, -1, -1):
            statement = statements[index]
            found = self.read(statement)
            if statement.source == "correction" and index <= first_answer:
                continue
            if isinstance(found, Reading):
                if statement.is_conditional and self.kind in _LABELS:
                    return Refusal("the answer is stated under a condition", found.start, found.end)
                final = self.final(found, statements, index)
                return replace(final, strict=self.strictly(final, statements)) if isinstance(final, Reading) else final
            if found is not None:
                return found
        return self.leniently(self.start)

    def strictly(self, final: Reading, statements: list[Statement]) -> str:
        """What the asked-for form alone says."""
        readings = (final, *(self.read(statement) for statement in reversed(statements)))
        return next((reading.value for reading in readings if isinstance(reading, Reading) and reading.is_strict), "")

    def read(self, statement: Statement) -> Found:
        """What a place says, or what it says but for remarks around the answer ("42, not 17", "42. That's my answer")."""
        if statement not in self.known:  # a place is asked for again for every correction behind it
            self.known[statement] = self._read_bare(statement)
        return self.known[statement]

    def _read_bare(self, statement: Statement) -> Found:
        for place in (*without_tails(self.text, statement), statement):
            found = self._read(place)
            if isinstance(found, Reading):
                return None if is_doubted(self.text, statement, found, self.kind) else found
        return found

    def _read(self, statement: Statement) -> Found:
        if self.kind == "choice":
            return choice.read(self.text, statement, self.options)
        return _READERS[self.kind](self.text, statement)

    def statements(self) -> list[Statement]:
        """The explicit statements, in order: those under a condition only if there are no others."""
        boxes = [
            Statement(first, last, "boxed", True)
            for first, last in self.stripped.boxes
            if self.start <= first <= last <= self.end
        ]
        found = boxes + explicit(self.text, self.start, self.end, self.kind)
        self.weak = picks(self.text, self.start, self.end)
        if self.kind == "choice":
            strong, weak = option_verdicts.explicit(self.text, self.start, self.end, self.options)
            found += strong
            self.weak += weak + option_verdicts.ticked(self.text, self.start, self.end, self.options, self.stripped.ticks)
        found = sorted(
            (statement for statement in found if statement.source != "boxed" or self.is_asserted(statement)),
            key=lambda statement: statement.start,
        )
        if self.kind == "math":
            found = formula.merge_boxes(self.text, found)
        found = _outside_boxes(found)
        found = ([statement for statement in found if not statement.is_conditional] or found)[-MAX_STATEMENTS:]
        if found:
            found += corrections(self.text, found[0].start, self.end)[-MAX_STATEMENTS:]
            found.sort(key=lambda statement: statement.start)
        return found

    def is_asserted(self, statement: Statement) -> bool:
        """Whether a place is not part of a question or a denial ("is the answer [box]?", "not [box]")."""
        if self.is_denied(statement.start):
            return False
        if statement.source != "boxed":
            return True
        begin = max(self.text.rfind(stop, 0, statement.start) for stop in (". ", "! ", "? ", "\n")) + 1
        before = _OPENED_BOX.sub("", self.text[max(begin, statement.start - 120) : statement.start])
        close = sentence_end(self.text, statement.end, self.end)
        is_asked = self.text.startswith("?", close) and _ASKS.match(before) is not None
        return not (is_asked or _DENIED_BOX.search(before))

    def is_denied(self, index: int) -> bool:
        return any(first <= index < last for first, last in self.denied)

    def final(self, found: Reading, statements: list[Statement], index: int) -> Found:
        """The reading of the last statement, unless what stands around it says otherwise."""
        statement = statements[index]
        return (
            self.taken_back(found, statement.end)
            or self.alternative(found, statements, index)
            or self.rechecked(statement.end)
            or self.rechecked(found.end)
            or self.goes_on(found)
            or found
        )

    def goes_on(self, found: Reading) -> Found:
        """A refusal where another answer is offered right behind ("42. Or 17."), that one where it replaces this one."""
        beside = offered(self.text, found.end, self.end)
        if beside is None:
            return None
        begin, is_replaced = beside
        place = Statement(begin, sentence_end(self.text, begin, self.end), "correction", True)
        if place.start >= place.end:
            return None
        other = self._read(place) if self.text.startswith("?", place.end) else self.read(place)
        if not isinstance(other, Reading) or _is_same(found.value, other.value):
            return None
        return other if is_replaced else Refusal("more than one answer is offered", found.start, other.end)

    def taken_back(self, found: Reading, end: int) -> Found:
        """A refusal where the answer is taken back right behind it, or what a later one replaces it by; None where it stands."""
        for stop in {end, found.end}:
            after = withdrawn(self.text, stop, self.end, self.kind == "yesno")
            if after >= 0:
                self.num_taken_back += 1
                replaced = self.leniently(after) if self.num_taken_back <= MAX_TAKEN_BACK else None
                return replaced or Refusal("the answer was taken back", found.start, found.end)
        return None

    def alternative(self, found: Reading, statements: list[Statement], index: int) -> Refusal | None:
        """A refusal if a box is one of two answers ("[A] or [B]", "the answer is A or [B]")."""
        if statements[index].source != "boxed":
            return None
        box = statements[index]
        if self.kind == "math":
            is_hedged = formula.is_hedged_box(self.text, self.start, box, self.end)
            return Refusal("more than one answer is stated", found.start, found.end) if is_hedged else None
        if (
            index
            and statements[index - 1].source == "boxed"
            and _BETWEEN_BOXES.fullmatch(self.text, statements[index - 1].end, box.start)
        ):
            other = self.read(statements[index - 1])
            if isinstance(other, Reading) and other.value != found.value:
                return Refusal("more than one answer is boxed", other.start, found.end)
        for cue in statements[:index]:
            if cue.source == "cue" and self.is_beside(cue, box):
                around = self.read(cue)
                if isinstance(around, Refusal):
                    return around
        return None

    def is_beside(self, cue: Statement, box: Statement) -> bool:
        """Whether a box stands among the first words behind a cue."""
        return cue.start <= box.start < cue.start + MAX_HEDGE and "\n" not in self.text[cue.start : box.start]

    def rechecked(self, start: int) -> Found:
        """What a reply that goes on to check itself concludes in the end ("let me recompute ... So it's 18"), if anything."""
        if not _RECHECK.match(self.text, start, self.end):
            return None
        last = lenient.last_conclusion(self.text, start, self.end)
        found = self.read(last) if last else None
        return found if isinstance(found, Reading) else None

    def leniently(self, start: int) -> Found:
        """The answer of a turn from `start` on in which nothing is explicit."""
        end = without_courtesies(self.text, start, self.end)
        places = lenient.places(self.text, start, end, self.stripped.bold, self.kind)
        places += [statement for statement in self.weak if statement.start >= start]
        places = [place for place in places if self.is_asserted(place) and not self.is_crossed_out(place)]
        places.sort(key=lambda statement: (statement.start, statement.end))
        revised = second_thought(self.text, start, end)
        first = self.read(Statement(start, revised, "lead", True)) if revised > start else None
        if isinstance(first, Reading) and (later := self.corrected(first)) is not first:
            return later
        if self.kind == "choice":
            places = self.outside_lists(places, start, end)
        elif lists_values(self.text, start, end, self.kind, self.read):
            return None
        for place in reversed(places):
            found = self.read(place)
            if isinstance(found, Refusal) and place.source == "predicate":
                continue
            if found is not None and not self.is_denied(found.start) and not self.explains(place, found, places):
                return self.corrected(found)
        return None

    def outside_lists(self, places: list[Statement], start: int, end: int) -> list[Statement]:
        """Places but for those that only write the options out again; what is bold or ticked there is chosen."""
        listed = options_listed(self.text, start, end, self.options)
        is_restated = option_verdicts.restates_list(self.text, start, end, self.options)
        kept = []
        for place in places:
            is_marked = place.source == "conclusion" or (place.start, place.end) in self.stripped.bold
            is_in_list = listed is not None and place.source in _UNCLAIMED and place.start < listed[1] and listed[0] < place.end
            if is_marked or not (is_in_list or (is_restated and place.source in {"line", "lead", "bold"})):
                kept.append(place)
        return kept

    def explains(self, place: Statement, found: Found, places: list[Statement]) -> bool:
        """Whether a sentence only explains the label of the first line ("Contradiction", then "The premise entails ...")."""
        lead = next((first for first in places if first.source == "lead" and first.end < place.start), None)
        if self.kind != "nli" or place.source != "sentence" or lead is None or not isinstance(found, Reading):
            return False
        opened = self.read(Statement(lead.start, lead.end, "line", True))
        is_other = isinstance(opened, Reading) and opened.value != found.value
        return is_other and second_thought(self.text, lead.end, place.end) < 0

    def is_crossed_out(self, place: Statement) -> bool:
        """Whether a cross stands in the place's line: an answer marked as wrong. Before a "no" it is decoration."""
        begin = self.text.rfind("\n", 0, place.start) + 1
        close = self.text.find("\n", place.start)
        crosses = [
            at for at, is_tick in self.stripped.ticks if not is_tick and begin <= at <= (len(self.text) if close < 0 else close)
        ]
        is_no = self.kind in {"yesno", "nli"} and re.search(
            r"no|false|contradict", self.text[place.start : place.end], re.IGNORECASE
        )
        return bool(crosses) and not (is_no and all(at <= place.start for at in crosses))

    def corrected(self, found: Reading | Refusal) -> Found:
        """What a bare answer is corrected to ("A. No, B."), or the answer itself unless it is taken back."""
        for correction in reversed(corrections(self.text, found.end, self.end)[-MAX_STATEMENTS:]):
            later = self.read(correction)
            if isinstance(later, Reading):
                return later
        if not isinstance(found, Reading):
            return found
        return self.taken_back(found, found.end) or self.goes_on(found) or found


def _is_same(value: str, other: str) -> bool:
    first, second = parse_quantity(value), parse_quantity(other)
    return value == other or (first is not None and second is not None and equal(first, second))


def _outside_boxes(statements: list[Statement]) -> list[Statement]:
    """Statements but for cues inside a box ("[The answer is 5]"), which the box stands for."""
    boxes = [statement for statement in statements if statement.source == "boxed"]
    return [
        statement
        for statement in statements
        if statement.source != "cue" or not any(box.start < statement.start < box.end for box in boxes[-MAX_STATEMENTS:])
    ]
