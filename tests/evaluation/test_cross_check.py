"""Saved answers beside lm-evaluation-harness's own filters: agreement with its n, every disagreement, and planted ones found."""

from __future__ import annotations

import builtins
import dataclasses
import random
from collections.abc import Callable

import pytest

from qrdistill.errors import UsageError
from qrdistill.evaluation.cross_check import Agreement, Answered, cross_check
from qrdistill.tasks import grade_response
from qrdistill.types import AnswerKind, Question

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra: eval)")

OPTIONS = (("A", "the red box"), ("B", "the blue box"), ("C", "the green box"), ("D", "the white box"))


def answered(id: str, kind: AnswerKind, gold: str, text: str) -> Answered:
    choices = OPTIONS if kind == "choice" else ()
    question = Question(id=id, task="t", split="test", text="Which one?", kind=kind, gold=gold, choices=choices)
    grade = grade_response(kind, gold, choices, text)
    return Answered(question=question, by="s/trained", text=text, verdict=grade.verdict, extracted=grade.extracted)


def numbers(count: int) -> list[Answered]:
    """Replies to word problems as the plain prompt asks for them, two in three right."""
    rng = random.Random(0)
    rows = []
    for n in range(count):
        a, b = rng.randint(2, 90), rng.randint(2, 90)
        stated = f"{a * b + (n % 3 == 0):,}"
        text = f"There are {a} boxes with {b} pens each, so {a} * {b} = {a * b} pens.\nThe answer is {stated}."
        rows.append(answered(f"n{n}", "number", str(a * b), text))
    return rows


def options(count: int) -> list[Answered]:
    rows = []
    for n in range(count):
        gold, stated = "ABCD"[n % 4], "ABCD"[(n + (n % 3 == 0)) % 4]
        text = f"The red box is too small and the blue one is empty. Only one is left. The best answer is ({stated})."
        rows.append(answered(f"c{n}", "choice", gold, text))
    return rows


def yesno(count: int) -> list[Answered]:
    stated = ["yes" if n % 3 else "no" for n in range(count)]
    return [
        answered(f"y{n}", "yesno", "yes", f"It follows from the facts. The answer is {word}.") for n, word in enumerate(stated)
    ]


def by_filter(found: list[Agreement]) -> dict[str, Agreement]:
    return {one.filter: one for one in found}


def test_replies_in_the_asked_for_form_are_agreed_on() -> None:
    found = by_filter(cross_check([*numbers(60), *options(60), *yesno(30)]))
    assert {name: (one.n, one.num_agree) for name, one in found.items()} == {
        "gsm8k_cot_zeroshot/strict-match": (60, 60),
        "gsm8k_cot_zeroshot/flexible-extract": (60, 60),
        "arc_challenge_chat/remove_whitespace": (60, 60),
        "bbh_cot_zeroshot_date_understanding/flexible-extract": (60, 60),
        "bbh_cot_zeroshot_date_understanding/strict-match": (60, 20),  # reads "The answer is", the form says "The best answer is"
        "bbh_cot_zeroshot_causal_judgement/flexible-extract": (30, 30),
        "bbh_cot_zeroshot_causal_judgement/strict-match": (30, 30),
    }


@pytest.mark.parametrize(
    ("rows", "filter_name"),
    [(numbers, "gsm8k_cot_zeroshot/strict-match"), (options, "arc_challenge_chat/remove_whitespace")],
)
def test_a_planted_wrong_verdict_is_listed_and_nothing_else(rows: Callable[[int], list[Answered]], filter_name: str) -> None:
    answers = rows(40)
    planted = {answers[at].question.id: at for at in (4, 17)}
    for at in planted.values():
        flipped = "differ" if answers[at].verdict == "match" else "match"
        answers[at] = dataclasses.replace(answers[at], verdict=flipped)
    found = by_filter(cross_check(answers))[filter_name]
    assert (found.n, found.num_agree) == (40, 38)
    assert {one.question_id for one in found.disagreements} == planted.keys()
    for one in found.disagreements:
        answer = answers[planted[one.question_id]]
        assert (one.text, one.gold, one.ours) == (answer.text, answer.question.gold, answer.verdict)
        assert one.theirs == ("match" if one.ours == "differ" else "differ")
        assert one.theirs_read.strip("()") == answer.extracted.strip("()")


def test_where_the_harness_reads_a_number_that_merely_occurs_the_two_disagree() -> None:
    rows = [
        answered("last", "number", "12", "The answer is 12. I used 3 boxes of 4."),
        answered("none", "number", "12", "I am not sure, perhaps half of 24 or 12"),
    ]
    found = by_filter(cross_check(rows))["gsm8k_cot_zeroshot/flexible-extract"]
    assert [(one.question_id, one.ours, one.theirs, one.theirs_read) for one in found.disagreements] == [
        ("last", "match", "differ", "4."),
        ("none", "unparsed", "match", "12"),
    ]


def test_time_outs_and_kinds_without_a_task_are_not_compared() -> None:
    late = dataclasses.replace(numbers(1)[0], verdict="timeout")
    other = answered("m", "math", "x+1", "The answer is $x+1$.")
    digits = dataclasses.replace(options(1)[0].question, choices=(("1", "a"), ("2", "b")), gold="1")
    assert cross_check([late, other, dataclasses.replace(options(1)[0], question=digits)]) == []


def test_without_the_harness_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("lm_eval"):
            raise ImportError("No module named 'lm_eval'")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"pip install 'qrdistill\[eval\]'"):
        cross_check(numbers(2))
