"""Ways of stating an answer and of merely mentioning one, each tried with answers of every kind.

`stated.txt` holds one way of stating an answer a line, with {} for the answer. `mentioned.txt` holds ways of mentioning the
right answer {gold}, some beside another one {other} that is stated, none of which gives the right one as the answer. ``\\n`` is
a new line.
"""

from __future__ import annotations

from tasks.corpus.rows import HERE, Row

METALS = (("A", "gold"), ("B", "silver"), ("C", "bronze"), ("D", "iron"))
STATED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("choice", "B", ("B", "silver", "B. silver", "(B) silver")),
    ("yesno", "yes", ("yes", "Yes")),
    ("yesno", "no", ("no", "No")),
    ("nli", "neutral", ("neutral", "Neutral")),
    ("nli", "entailment", ("entailment",)),
    ("number", "42", ("42", "42.0")),
    ("number", "1200", ("1,200 dollars",)),
    ("math", "42", ("42",)),
    ("math", "\\frac{3}{4}", ("\\frac{3}{4}", "3/4")),
    ("math", "x+1", ("x+1",)),
)
"""(kind, gold, spellings of it)."""
MENTIONED: tuple[tuple[str, str, str, str], ...] = (
    ("choice", "B", "B", "C"),
    ("choice", "B", "silver", "bronze"),
    ("choice", "B", "(B)", "(C)"),
    ("yesno", "yes", "yes", "no"),
    ("yesno", "no", "no", "yes"),
    ("nli", "neutral", "neutral", "contradiction"),
    ("nli", "entailment", "entailment", "neutral"),
    ("number", "42", "42", "17"),
    ("number", "1200", "$1,200", "$900"),
    ("math", "42", "42", "17"),
    ("math", "\\frac{3}{4}", "\\frac{3}{4}", "\\frac{1}{4}"),
    ("math", "x+1", "x+1", "x-1"),
)
"""(kind, gold, its spelling, another answer)."""


def stated() -> list[Row]:
    """Every way of stating an answer, in every kind: all match."""
    rows = []
    for number, form in enumerate(_lines("stated.txt"), start=1):
        for kind, gold, spellings in STATED:
            for spelling in spellings:
                escaped = spelling.replace("\\", "\\\\") if '"' in form else spelling
                response = form.format(*[escaped] * form.count("{}"))
                rows.append(_row(f"stated-{number}-{kind}-{spelling}", kind, gold, response, "match", "stated"))
    return rows


def mentioned() -> list[Row]:
    """Every way of mentioning an answer, in every kind: none matches."""
    rows = []
    for number, form in enumerate(_lines("mentioned.txt"), start=1):
        for kind, gold, right, other in MENTIONED:
            if '"' in form:
                right, other = right.replace("\\", "\\\\"), other.replace("\\", "\\\\")
            response = form.format(gold=right, other=other)
            rows.append(_row(f"mentioned-{number}-{kind}-{right}", kind, gold, response, "unparsed", "only mentioned"))
    return rows


PAIR_FORMS = {
    "number": ("The answer is {}.", "\\boxed{{{}}}", "Answer: {}"),
    "math": ("The answer is ${}$.", "\\boxed{{{}}}", "Answer: {}"),
}


def pairs() -> list[Row]:
    """Numbers and formulas stated against a gold answer."""
    rows = []
    for number, line in enumerate(_lines("pairs.txt"), start=1):
        kind, gold, answer, outcome = line.split(" | ")
        for place, form in enumerate(PAIR_FORMS[kind], start=1):
            verdict = "match" if outcome == "same" else "differ"
            rows.append(_row(f"pair-{number}-{place}", kind, gold, form.format(answer), verdict, f"{answer} is the {outcome}"))
    return rows


def _lines(name: str) -> list[str]:
    return [line.replace("\\n", "\n") for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


def _row(name: str, kind: str, gold: str, response: str, verdict: str, reason: str) -> Row:
    choices = METALS if kind == "choice" else None
    return Row(id=name, kind=kind, gold=gold, choices=choices, response=response, verdict=verdict, reason=reason)
