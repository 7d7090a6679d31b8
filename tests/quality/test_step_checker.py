"""The step checker on texts nobody wrote for it: true statements pass, false ones are quoted, the rest is left alone."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.quality.step_checker import StepChecker, check_text
from qrdistill.quality.step_checker.arithmetic import check_arithmetic
from qrdistill.quality.step_checker.claims import check_claims
from qrdistill.types import AnswerKind, Question

TRUE = [
    "3*8=24",
    "3 * 8 = 24 legs",
    "1,200 + 300 = 1,500",
    "10 / 3 = 3.33",
    "10 / 3 ≈ 3.3",
    "17 / 5 = 3 remainder 2",
    "17 / 5 = 3 with a remainder of 2",
    "17 / 5 = 3 R2",
    "2^3 = 8",
    "5 x 4 is 20",
    "24 legs + 8 legs = 32 legs",
    "$5 + $3 = $8",
    r"$3 \times 8 = 24$",
    "1/2 + 1/4 = 3/4",
    "1.1 + 2.2 = 3.3",
    "a = 3 + 4 = 7",
    "-8 - 7 = -15",
    "We get -8 / -4 = 2",
    "- 3 + 4 = 7",
    "1. 3 * 8 = 24",
    "1) 3 * 8 = 24",
    "**3 * 8 = 24**",
    "(3 + 4) * 2 = 14",
    "3 + 4 = 7 = 14 / 2",
    "24 + 8 > 30",
    "7 minus 3 equals 4",
    "12 divided by 4 is 3",
    "a total of 24 + 8 = 32",
    "Step 2 - 5 + 3 = 8",
    "10 mod 7 = 3",
    "18 = 2 * 9",
    "12 + 30 - 4 = 38",
    "3 × 8 = 24 and 2 × 4 = 8",
]
FALSE = [
    "3*8=25",
    "3 * 8 = 25 legs",
    "1,200 + 300 = 1,600",
    "10 / 3 = 3.43",
    "17 / 5 = 3 remainder 1",
    "2^3 = 9",
    "5 x 4 is 21",
    "24 legs + 8 legs = 33 legs",
    "$5 + $3 = $9",
    r"$3 \times 8 = 25$",
    "1/2 + 1/4 = 2/4",
    "a = 3 + 4 = 8",
    "-8 - 7 = -16",
    "We get -8 / -4 = 3",
    "- 3 + 4 = 8",
    "1. 3 * 8 = 25",
    "**3 * 8 = 25**",
    "(3 + 4) * 2 = 15",
    "3 + 4 = 7 = 16 / 2",
    "24 + 8 < 30",
    "7 minus 3 equals 5",
    "a total of 24 + 8 = 33",
    "Step 2 - 5 + 3 = 9",
    "18 = 2 * 8",
    "12 + 30 - 4 = 39",
    "3 × 8 = 24 and 2 × 4 = 9",
]
NO_STATEMENT = [
    "2x + 3 = 11",
    "3 * x = 9",
    "f(2) = 4 + 3",
    "sqrt(16) + 1 = 5",
    "20% of 50 = 10",
    "10% of 50 + 3 = 8",
    "half of 30 + 2 = 17",
    "04/10/1985 is 3 days later",
    "12:30 + 1 = 13",
    "twice 8 + 1 = 17",
    "8 squared + 1 = 65",
    "90 / 60 = 1 hour 30 minutes",
    "5 million + 3 = 9",
    "√16 + 2 = 6",
    "total + 8 = 32",
    "5! = 120",
    r"\frac{1}{2} + 1 = \frac{3}{2}",
    "is 3 + 4 = 8?",
    "if 3 + 4 = 8",
    "3 + 4 = 8, which is wrong",
    "5 + 2 is 3 more than 4",
    "n - 1 = 4",
    "|3 - 5| = 2",
    "Option 1 = 24",
    "a_1 + 2 = 5",
    "3 + 4 -> 7 - 2 = 5",
    "the score was 3 - 4",
]


@pytest.mark.parametrize("text", TRUE)
def test_true_statements_are_verified(text: str) -> None:
    findings = check_arithmetic(f"First of all, note this.\n{text}.\nThat is it.")
    assert findings
    assert all(finding.is_true for finding in findings), findings


@pytest.mark.parametrize("text", FALSE)
def test_false_statements_are_quoted(text: str) -> None:
    false = [finding for finding in check_arithmetic(f"First of all, note this.\n{text}.\nThat is it.") if not finding.is_true]
    assert len(false) == 1
    assert false[0].quote in text
    assert false[0].reason


@pytest.mark.parametrize("text", NO_STATEMENT)
def test_what_is_no_arithmetic_is_left_alone(text: str) -> None:
    assert [finding for finding in check_arithmetic(f"So {text}") if not finding.is_true] == []


@given(st.integers(-999, 999), st.sampled_from("+-*"), st.integers(0, 999), st.integers(-3, 3))
def test_any_statement_is_judged_right(left: int, sign: str, right: int, error: int) -> None:
    value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    (finding,) = check_arithmetic(f"We have {left} {sign} {right} = {value + error}.")
    assert finding.is_true == (error == 0)


CLAIMS = [
    ("A spider has 8 legs.", "A spider has 6 legs."),
    ("an ant has six legs", "an ant has eight legs"),
    ("A snake has no legs", "A snake has 4 legs"),
    ("each crab has 10 legs", "each crab has 8 legs"),
    ("Dogs have 4 legs each", "Dogs have 5 legs each"),
    ("A week has 7 days", "A week has 8 days"),
    ("One hour is 60 minutes", "One hour is 100 minutes"),
    ("April has 30 days", "April has 31 days"),
    ("February has 29 days", "February has 30 days"),
    ("12 is divisible by 4", "13 is divisible by 4"),
    ("13 is not divisible by 4", "12 is not divisible by 4"),
    ("15 is a multiple of 5", "16 is a multiple of 5"),
    ("6 divides 12 and 18", "6 divides 12 and 20"),
    ("4 does not divide 1927", "4 does not divide 1928"),
    ("the divisors of 12 are 1, 2, 3, 4, 6, 12", "the divisors of 12 are 1, 2, 3, 4, 8, 12"),
    ("the divisors of 12 are 1, 2, 3, 4, 6 and 12", "the divisors of 12 are 1, 2, 3 and 12"),
    ("gcd(12, 18) = 6", "gcd(12, 18) = 3"),
    ("the greatest common divisor of 12 and 18 is 6", "the greatest common divisor of 12 and 18 is 2"),
    ("1927 ends in 27", "1927 ends in 72"),
    ("7 is odd", "7 is even"),
    ("2000 is a leap year", "1900 is a leap year"),
    ("1900 is not a leap year", "2000 is not a leap year"),
    ("3 days after Wednesday is Saturday", "3 days after Wednesday is Sunday"),
    ("3 days after Wednesday: Thursday, Friday, Saturday", "3 days after Wednesday: Wednesday, Thursday, Friday"),
    ("two days before Monday is Saturday", "two days before Monday is Sunday"),
    ("Tuesday comes after Monday", "Tuesday comes before Monday"),
]


@pytest.mark.parametrize(("right", "wrong"), CLAIMS)
def test_claims_in_words(right: str, wrong: str) -> None:
    assert [finding.is_true for finding in check_claims(f"We know: {right}.")] == [True]
    (finding,) = check_claims(f"We know: {wrong}.")
    assert not finding.is_true
    assert finding.reason


@pytest.mark.parametrize(
    "text",
    [
        "Whether 1900 is a leap year does not matter.",
        "Neither 2001 nor 2017 is a multiple of 4.",
        "If a spider has 6 legs, it is no spider.",
        "a month before May has 30 days",
        "Is 13 divisible by 4?",
        "13 is divisible by 4? No.",
    ],
)
def test_what_is_not_asserted_is_no_claim(text: str) -> None:
    assert [finding for finding in check_claims(text) if not finding.is_true] == []


def ask(text: str, gold: str, kind: AnswerKind = "number", choices: tuple[tuple[str, str], ...] = ()) -> Question:
    return Question(id="q", task="t", split="train", text=text, kind=kind, gold=gold, choices=choices)


LEGS = ask("How many legs do 3 spiders and 2 dogs have in total?", "32")


def false_steps(question: Question, text: str) -> list[str]:
    return [finding.quote for finding in check_text(question, text) if not finding.is_true]


def test_programs_are_run() -> None:
    code = "legs = 3 * 8\nlegs += 2 * 4\nprint(legs)"
    for opening, closing in (("Program:\n", "\n"), ("```python\n", "\n```\n"), ("Here is code.\n\n", "\n\n")):
        good = f"{opening}{code}{closing}Output: 32\nThe answer is 32."
        assert false_steps(LEGS, good) == []
        assert any(finding.is_true for finding in check_text(LEGS, good))
        assert false_steps(LEGS, good.replace("3 * 8", "3 * 6")) != []
        assert false_steps(LEGS, good.replace("Output: 32", "It prints 31.")) != []
    assert false_steps(LEGS, f"{code}\nThe answer is 32.") == []
    assert false_steps(LEGS, f"{code.replace('8', '9')}\nThe answer is 32.") != []


def test_a_program_that_cannot_be_run_says_nothing() -> None:
    text = "from datetime import date\nd = date(2019, 11, 12)\nprint(d.day + 20)\nOutput: 32\nThe answer is 32."
    verdict = StepChecker().verdict(LEGS, "p", text)
    assert (verdict.decision, verdict.grade) == ("keep", 3)


def test_equations_must_hold_at_the_solution() -> None:
    question = ask("Solve for x: 3 * x + 2 = 11", "3")
    assert false_steps(question, "Take 2 away: 11 - 2 = 9, so 3 * x = 9. Then x = 3. The answer is 3.") == []
    assert false_steps(question, "Take 2 away: 11 - 2 = 9, so 3 * x = 8. Then x = 3. The answer is 3.") == ["3 * x = 8"]
    assert false_steps(question, "3x + 2 = 12 is given. The answer is 3.") == ["3x + 2 = 12"]
    assert false_steps(question, "Suppose 3 * x = 12. Then 3 * 4 + 2 = 14, too large. 11 - 2 = 9. The answer is 3.") == []


def test_options_must_be_the_questions_own() -> None:
    question = ask("Which day?", "B", "choice", (("A", "Monday"), ("B", "Friday"), ("C", "Sunday")))
    assert false_steps(question, "Friday is option B. The answer is B.") == []
    assert false_steps(question, "Friday is option C. The answer is B.") == ["Friday is option C"]
    assert false_steps(question, "It is Friday (option C). The answer is B.") != []
    assert false_steps(question, "Option A is Sunday. The answer is B.") != []
    assert false_steps(question, "Monday is wrong, and option B fits. The answer is B.") == []


def test_counts_must_be_the_questions_own() -> None:
    assert false_steps(LEGS, "3 spiders: 3 * 8 = 24. 24 + 8 = 32. The answer is 32.") == []
    assert false_steps(LEGS, "4 spiders: 3 * 8 = 24. 24 + 8 = 32. The answer is 32.") == ["4 spiders"]


def test_an_answer_that_comes_from_nowhere_is_found() -> None:
    assert false_steps(LEGS, "3 * 8 = 24, 2 * 5 = 10, 24 + 10 = 34. The answer is 32.") == ["The answer is 32"]
    assert false_steps(LEGS, "Spiders and dogs have legs. The answer is 32.") == [], "nothing was computed: no evidence"


def test_the_verdict_says_what_is_wrong() -> None:
    verdict = StepChecker().verdict(LEGS, "p", "3 * 8 = 25, 24 + 8 = 32. The answer is 32.")
    assert (verdict.decision, verdict.grade, verdict.step, verdict.reason) == ("drop", 1, "3 * 8 = 25", "3 * 8 is 24")
    verdict = StepChecker().verdict(LEGS, "p", "3 * 8 = 24, 24 + 8 = 32. The answer is 32.")
    assert (verdict.decision, verdict.grade, verdict.path_id) == ("keep", 5, "p")
    assert re.fullmatch(r"step_checker-\w+", verdict.judge)


@pytest.mark.parametrize(
    "text",
    [
        "=" * 50_000,
        "1 = " * 10_000,
        "1 + " * 25_000 + "1 = 2",
        "(" * 50_000 + "1 = 2",
        "is " * 30_000,
        "9^64^64^64^64 = 1",
        "a=b " * 20_000,
        "x = " * 20_000,
        "1, " * 10_000,
        "divisors of 999999999999 are 1, 2, 3",
        "```python\n" * 5_000,
        "print(1)\n" * 5_000,
        "3 days after Monday: " + "Tuesday, " * 10_000,
        "\x00\ud800 3 * 8 = 24 \U0001f577",
        "option A " * 10_000,
        "A spider has " * 10_000,
    ],
)
def test_hostile_texts_take_no_time(text: str) -> None:
    question = ask("Which day?", "B", "choice", (("A", "Monday"), ("B", "Friday")))
    started_s = time.process_time()
    check_text(question, text)
    check_text(ask("Solve for x: 3 * x = 9", "3"), text)
    assert time.process_time() - started_s < 4.0


@given(st.text(alphabet="0123456789+-*/=().,: xyisagepo\n<>^%$", max_size=200))
def test_any_text_is_read_to_its_end(text: str) -> None:
    check_text(LEGS, text)
