"""Verdicts: does the final answer stated in a response equal the gold answer?

==========  ====================================================================================================================
match       the stated answer equals the gold one
differ      an answer is stated and is another one
unparsed    no single final answer is stated (nothing, a hedge, a cut-off reply, an answer that was taken back)
timeout     the comparison was refused (too large to compute) or did not finish; neither right nor wrong
==========  ====================================================================================================================

Extraction is :mod:`qrdistill.tasks.answers`; numbers are compared as exact fractions (:mod:`qrdistill.tasks.compare.quantity`),
other mathematics by structure and then formula by formula in a killable process (:mod:`qrdistill.tasks.compare.structure`,
:mod:`qrdistill.tasks._math_pool`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from qrdistill.errors import DataError
from qrdistill.tasks._math_pool import Engine
from qrdistill.tasks.answers import extract
from qrdistill.tasks.compare.formulas import Undecided, same_answer
from qrdistill.tasks.compare.quantity import equal, parse_gold, parse_quantity
from qrdistill.tasks.extract.options import Options
from qrdistill.tasks.extract.records import Refusal
from qrdistill.types import AnswerKind, Verdict

GRADER_VERSION = "8"
"""Changes whenever any rule of extraction or comparison changes; saved with every verdict."""

Choices = Sequence[tuple[str, str]] | None

KINDS = ("choice", "yesno", "nli", "number", "math")
_YESNO = {"yes": "yes", "y": "yes", "true": "yes", "no": "no", "n": "no", "false": "no"}
_NLI = {
    **dict.fromkeys(("entailment", "entails", "entailed", "true", "yes", "e"), "entailment"),
    **dict.fromkeys(("contradiction", "contradicts", "contradictory", "false", "no", "c"), "contradiction"),
    **dict.fromkeys(("neutral", "neither", "unknown", "undetermined", "inconclusive", "maybe", "n"), "neutral"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """A verdict with the text it rests on. `start`/`end` is the character span that was read (-1 when nothing was)."""

    verdict: Verdict
    extracted: str = ""
    start: int = -1
    end: int = -1
    reason: str = ""
    is_strict: bool = False
    """True when the answer was explicitly stated in the asked-for form, False when lenient rules were needed."""
    strict: str = ""
    """What the asked-for form alone says: `extracted` if `is_strict`, else what an earlier statement in that form said."""


def grade(*, kind: AnswerKind, gold: str, choices: Choices, response: str) -> Verdict:
    r"""Whether the final answer a response states is the gold one.

    The last explicitly stated answer counts ("the answer is ...", a box, a tag, JSON, a bare last line); what a reply takes back,
    says under a condition or only thinks does not, and neither does a letter, word or number that merely occurs. Deterministic;
    may be called from a plain script, threads, asyncio and forked workers, and blocks, nearly always for less than a millisecond.

    What counts as the same answer, by kind:

    - `choice`: the label or the whole text of the option the gold answer names, by label or by text.
    - `yesno`: yes = true, no = false.
    - `nli`: entailment, neutral or contradiction in either vocabulary (true, neither, false; yes, maybe, no).
    - `number`: the same exact value: 1,234.0 = 1234, 1/2 = 0.5, 1 1/2 = 3/2, 50% = 0.5; never within a tolerance; units are
      converted or, on one side only, ignored.
    - `math`: equal values and expressions, in LaTeX or plain notation; tuples, intervals and sets by their order, brackets and
      members, so (1, 5) is not (2, 5) and [1, 2) is not [1, 2].

    Args:
        kind: "choice", "yesno", "nli", "number" or "math".
        gold: the right answer.
        choices: for kind "choice" the (label, text) pairs of the options in their order, e.g. ``[("A", "red"), ("B", "blue")]``;
            None for every other kind.
        response: the raw text of a model, whole: thinking and run-on turns are dealt with here.

    Returns:
        "match": the stated answer equals the gold one. "differ": another one is stated. "unparsed": no single final answer is
        stated. "timeout": the comparison was refused (too large to compute) or did not finish; neither right nor wrong.

    Raises:
        DataError: when the kind is unknown, the gold answer is empty or no answer of its kind, or choices are missing.

    >>> grade(kind="number", gold="42", choices=None, response="6 * 7 = 42. The answer is 42.")
    'match'
    >>> options = [("A", "a cat"), ("B", "a dog")]
    >>> grade(kind="choice", gold="B", choices=options, response="It barks, so the best answer is (B).")
    'match'
    >>> grade(kind="choice", gold="B", choices=options, response="The answer is a cat.")
    'differ'
    >>> grade(kind="yesno", gold="no", choices=None, response="The answer is yes. Wait, no. The answer is no.")
    'match'
    >>> grade(kind="nli", gold="neutral", choices=None, response="It is not said where. Answer: neither")
    'match'
    >>> grade(kind="math", gold=r"\frac{\sqrt{2}}{2}", choices=None, response=r"So \boxed{1/\sqrt{2}}.")
    'match'
    >>> grade(kind="math", gold="(1, 5)", choices=None, response="The answer is (2, 5).")
    'differ'
    >>> grade(kind="number", gold="42", choices=None, response="")
    'unparsed'
    >>> grade(kind="math", gold=r"2\sqrt{3}", choices=None, response="The answer is $9^{9^{9^9}}$.")
    'timeout'
    """
    return grade_response(kind, gold, choices, response).verdict


def grade_response(kind: AnswerKind, gold: str, choices: Choices, response: str) -> Grade:
    """The verdict on a response with what was read, where and why. Arguments and errors as for :func:`grade`."""
    options = tuple((str(label), str(text)) for label, text in choices or ())
    wanted = canonical_gold(kind, gold, options)
    found = extract(kind, options, response)
    if found is None:
        return Grade(verdict="unparsed", reason="no final answer is stated")
    if isinstance(found, Refusal):
        return Grade(verdict="unparsed", start=found.start, end=found.end, reason=found.reason)
    verdict, reason = _compare(kind, wanted, found.value)
    return Grade(
        verdict=verdict,
        extracted=found.value,
        start=found.start,
        end=found.end,
        reason=reason,
        is_strict=found.is_strict,
        strict=found.strict,
    )


@lru_cache(maxsize=4096)
def canonical_gold(kind: AnswerKind, gold: str, choices: tuple[tuple[str, str], ...]) -> str:
    """The gold answer in the spelling verdicts compare with.

    Raises:
        DataError: see :func:`grade`.
    """
    if kind not in KINDS:
        raise DataError(f"answer kind {kind!r} is unknown; expected one of {', '.join(KINDS)}")
    stripped = gold.strip()
    if not stripped:
        raise DataError(f"the gold answer of a {kind} question is empty; every question needs one")
    if kind == "choice":
        return _gold_label(stripped, choices)
    if kind in {"yesno", "nli"}:
        table = _YESNO if kind == "yesno" else _NLI
        label = table.get(stripped.casefold().rstrip("."))
        if label is None:
            raise DataError(
                f"gold answer {gold!r} is no answer of kind {kind!r}; expected one of {', '.join(sorted(set(table.values())))}"
            )
        return label
    return stripped


def _gold_label(gold: str, choices: tuple[tuple[str, str], ...]) -> str:
    if not choices:
        raise DataError("a choice question has no choices; expected (label, text) pairs")
    options = Options.of(choices)
    if len(set(options.labels)) != len(options.labels):
        raise DataError(f"the labels {', '.join(options.labels)} are not distinct")
    bare = gold.strip("()[].: ")
    if bare in options.labels:
        return bare
    same_text = [
        label for label, text in zip(options.labels, options.texts, strict=True) if text.strip().casefold() == gold.casefold()
    ]
    if len(same_text) == 1:
        return same_text[0]
    if options.canonical(bare) in options.labels:
        return options.canonical(bare)
    raise DataError(
        f"gold answer {gold!r} is neither a label nor the text of an option; the labels are {', '.join(options.labels)}"
    )


def _compare(kind: AnswerKind, gold: str, answer: str) -> tuple[Verdict, str]:
    if kind in {"choice", "yesno", "nli"}:
        return ("match", "the same answer") if gold == answer else ("differ", f"another answer than {gold}")
    if kind == "number":
        first, second = parse_gold(gold), parse_quantity(answer)
        if first is not None and second is not None:
            return ("match", "equal numbers") if equal(first, second) else ("differ", "different numbers")
    engine = Engine()
    try:
        is_same = same_answer(gold, answer, engine)
    except Undecided as undecided:
        return "timeout", str(undecided)
    by = " by the symbolic engine" if engine.is_symbolic else ""
    return ("match", f"equal{by}") if is_same else ("differ", f"not shown to be equal{by}")
