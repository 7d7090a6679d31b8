"""Answers made to hurt: none hangs or crashes the grader, bombs are refused before the engine, code is never run (C1, C2)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.clock import slowdown
from qrdistill.tasks import grade_response
from qrdistill.tasks.verify import Grade
from tasks.adversarial import PAYLOADS, Attack, attacks, bombs, payloads

MOST_S = 5.0
VERDICTS = {"match", "differ", "unparsed", "timeout"}


def timed(attack: Attack) -> tuple[Grade, float]:
    """The grade and the seconds it took."""
    begun_s = time.perf_counter()
    grade = grade_response(**attack.arguments())
    return grade, time.perf_counter() - begun_s


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_no_answer_hangs_or_crashes_the_grader(count: int) -> None:
    for number, attack in enumerate(attacks(count)):
        grade, took_s = timed(attack)
        assert grade.verdict in VERDICTS
        assert grade.reason, (number, attack)
        if took_s > MOST_S:  # once more, twice: a pause of the machine is no hang of ours
            took_s = min(timed(attack)[1] / slowdown() for _ in range(2))
        assert took_s <= MOST_S, (number, attack)


def is_static(grade: Grade) -> bool:
    """Whether a verdict was found without the symbolic engine and without running into a limit."""
    return "by the symbolic engine" not in grade.reason and (grade.verdict != "timeout" or grade.reason.startswith("refused: "))


def test_bombs_are_refused_before_the_symbolic_engine() -> None:
    grades = [grade_response(**bomb.arguments()) for bomb in bombs(400)]
    assert sum(is_static(grade) for grade in grades) >= 0.95 * 400
    assert not [grade for grade in grades if grade.verdict == "match"]
    assert sum(grade.verdict == "timeout" for grade in grades) >= 0.95 * 400, "a bomb is not compared, so it is not wrong either"


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        (r"\frac{\pi}{6}", r"\int_0^{\pi/6} 1 dx", "match"),
        (r"\frac{7}{12}", r"\int_0^1 x^2 + x^3 dx", "match"),
        ("4500000", r"\int_0^{3000} x dx", "match"),
        ("2", r"\sum_{k=0}^{\infty} \frac{1}{2^k}", "match"),
        ("5050", r"\sum_{k=1}^{100} k", "match"),
        ("3", r"\sum_{k=0}^{\infty} \frac{1}{2^k}", "differ"),
        ("1", r"\lim_{x \to 0} \frac{\sin 2x}{2x}", "match"),
    ],
)
def test_sensible_integrals_sums_and_limits_reach_the_engine(gold: str, answer: str, verdict: str) -> None:
    """The control of the test above: what is counted as refused would be seen if it were not."""
    grade = grade_response("math", gold, None, f"The answer is ${answer}$.")
    assert (grade.verdict, is_static(grade)) == (verdict, False), grade


def test_code_in_answers_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "mark"
    for attack in payloads(500, str(mark)):
        assert grade_response(**attack.arguments()).verdict != "match"
    for attack in payloads(60, str(mark), seed=1):  # the other side: data sets are hostile, too
        grade_response("math", attack.response, None, "The answer is $5$.")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "payload", [code for code in PAYLOADS if code.startswith(("__import__", "open", "eval", "exec", "(lambda"))]
)
def test_the_payloads_would_leave_a_mark_if_they_were_run(tmp_path: Path, payload: str) -> None:
    mark = tmp_path / "mark"
    subprocess.run([sys.executable, "-c", payload.replace("MARK", str(mark))], check=True)
    assert mark.exists()


def test_the_grader_imports_nothing_from_the_folder_it_is_called_in(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name in ("json", "mpmath", "sympy", "math_verify", "latex2sympy2_extended", "qrdistill", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    answer = r"The answer is $\\int_0^1 2x dx$."
    script = f"from qrdistill.tasks import grade; print(grade(kind='math', gold='1', choices=None, response='{answer}'))"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "elsewhere/script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "match"
    assert not mark.exists()
