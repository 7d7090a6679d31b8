"""Rows whose verdict is true by construction: known answers in known forms, inside realistic surroundings.

A row is a *surrounding* (reasoning before, talk after) around a *statement* of an answer. The label follows from how the row
was put together: the gold answer stated last is a match, another answer stated last differs, and a statement that names no
single answer is unparsed. Everything is drawn with a fixed seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from fractions import Fraction

from tasks.corpus.rows import Row

STATEMENTS = (
    "The answer is {}.",
    "So the answer is {}.",
    "Therefore, the answer is {}.",
    "Thus, the final answer is {}.",
    "Answer: {}",
    "Final answer: {}",
    "**Answer:** {}",
    "**Final Answer: {}**",
    "The correct answer is {}.",
    "Hence, the correct answer is: **{}**.",
    "The answer is: {}",
    "The final answer is {}. I hope this helps!",
    "#### {}",
    "<answer>{}</answer>",
    "### Answer\n\n{}",
    "The answer is\n\n{}",
)
"""How an answer is stated outright."""

BEFORE = (
    "",
    "Let's think step by step.\n",
    "Let's break this down carefully. First, we look at what is given. Then we work it out.\n\n",
    "<think>\nHmm, this is tricky. Let me see.\n</think>\n\n",
    "Sure! Here is my reasoning.\n\n1. Read the question.\n2. Work out the result.\n\n",
    "**Step 1:** Understand the question.\n**Step 2:** Solve it.\n\n",
    "To solve this, recall the facts. ",
)
WRONG_BEFORE = (
    "<think>\nPerhaps the answer is {}.\n</think>\n\n",
    "The answer is {}. Wait, no, that is not right. ",
    "At first one might think the answer is {}, but that is a mistake. ",
    "If the answer is {}, we get a contradiction. ",
    "I don't think the answer is {}. ",
    "The answer is {}. Hmm, let me recheck. I made a mistake.\n",
)
"""Text that mentions another answer before the final one."""

AFTER = ("", "", "\n", "\n\nLet me know if you have any questions!", "\n\nThis follows from the facts above.")
WRONG_AFTER = (
    "\n\nQuestion: Here is another one.\nThe answer is {}.",
    "\n\nQ: And the next?\nA: The answer is {}.",
    "<|im_end|>\n<|im_start|>user\nThe answer is {}.",
    "\nUser: I think the answer is {}.",
    "</s> The answer is {}.",
)
"""A run-on turn that states another answer."""

HEDGES = (
    "The answer is {} or {}.",
    "The answer is either {} or {}.",
    "Answer: {} or {}",
    "The answer is {}, or maybe {}.",
    "The answer is {} or possibly {}.",
)
HEDGED = "two different answers in one statement"
NOTHING = (
    "",
    "I'm not sure about this one.",
    "Let me think about the question again and again until",
    "The answer is",
    "<think>The answer is {}",
    "Is the answer {}?",
    "If the answer is {}, we are done.",
    "I don't think the answer is {}.",
    "The answer is {}. Wait, that's wrong.",
    "The answer might be {}.",
)
"""Replies that state no answer although one is mentioned."""

Spell = Callable[[random.Random], str]


def generated(seed: int, per_kind: int) -> list[Row]:
    """`per_kind` rows of each kind."""
    rows = []
    for kind, draw in (("choice", _choice), ("yesno", _yesno), ("nli", _nli), ("number", _number), ("math", _math)):
        rng = random.Random(f"{seed}-{kind}")
        for index in range(per_kind):
            gold, choices, spell_gold, spell_wrong = draw(rng)
            response, verdict, reason = _compose(rng, spell_gold, spell_wrong)
            name = f"{kind}-generated-{seed}-{index}"
            rows.append(Row(id=name, kind=kind, gold=gold, choices=choices, response=response, verdict=verdict, reason=reason))
    return rows


def _compose(rng: random.Random, gold: Spell, wrong: Spell) -> tuple[str, str, str]:
    """(response, verdict, reason) of one row."""
    shape = rng.choice(
        ("right", "right", "right", "right_among_wrong", "right_among_wrong", "wrong", "wrong_among_right", "hedge", "nothing")
    )
    if shape == "hedge":
        first, second = gold(rng), wrong(rng)
        if rng.random() < 0.5:
            first, second = second, first
        return rng.choice(BEFORE) + rng.choice(HEDGES).format(first, second), "unparsed", HEDGED
    if shape == "nothing":
        return rng.choice(NOTHING).format(gold(rng)), "unparsed", "no answer is stated"
    stated, other = (wrong, gold) if shape.startswith("wrong") else (gold, wrong)
    before, after = rng.choice(BEFORE), rng.choice(AFTER)
    why = "the gold answer is stated last" if stated is gold else "another answer is stated last"
    if shape.endswith(("wrong", "right")) and "among" in shape:
        if rng.random() < 0.6:
            before = rng.choice(WRONG_BEFORE).format(other(rng))
        else:
            after = rng.choice(WRONG_AFTER).format(other(rng))
        why += ", the other one is mentioned without being the final answer"
    return before + rng.choice(STATEMENTS).format(stated(rng)) + after, "match" if stated is gold else "differ", why


_SUBJECTS = (
    "a red apple",
    "the old harbour",
    "photosynthesis",
    "New York",
    "New York City",
    "table salt",
    "1912",
    "gravity",
    "a wooden boat",
    "the lungs",
    "3 kilograms",
    "evaporation",
)


def _choice(rng: random.Random) -> tuple[str, tuple[tuple[str, str], ...], Spell, Spell]:
    labels = rng.choice(("ABCD", "ABCDE", "ABC", "1234", "ABCDEF"))
    texts = rng.sample(_SUBJECTS, len(labels))
    choices = tuple(zip(labels, texts, strict=True))
    right, wrong = rng.sample(choices, 2)

    def spelled(choice: tuple[str, str]) -> Spell:
        forms = (
            "{0}",
            "({0})",
            "{0}) {1}",
            "({0}) {1}",
            "{0}. {1}",
            "option {0}",
            "{0}: {1}",
            "{1}",
            "{1} ({0})",
            "\\boxed{{{0}}}",
            "$\\boxed{{\\text{{{0}}}}}$",
        )
        return lambda draw: draw.choice(forms).format(*choice)

    return right[0], choices, spelled(right), spelled(wrong)


def _word(words: tuple[str, ...]) -> Spell:
    forms = ("{}", "{}", "**{}**", '"{}"', "\\boxed{{\\text{{{}}}}}")
    return lambda draw: draw.choice(forms).format(draw.choice((str.lower, str.capitalize))(draw.choice(words)))


def _yesno(rng: random.Random) -> tuple[str, None, Spell, Spell]:
    gold, other = rng.sample(("yes", "no"), 2)
    return gold, None, _word((gold,)), _word((other,))


_LABELS = {
    "entailment": ("entailment", "entailment", "true"),
    "contradiction": ("contradiction", "contradiction", "false"),
    "neutral": ("neutral", "neutral", "neither"),
}


def _nli(rng: random.Random) -> tuple[str, None, Spell, Spell]:
    gold, other = rng.sample(sorted(_LABELS), 2)
    return gold, None, _word(_LABELS[gold]), _word(_LABELS[other])


def _number(rng: random.Random) -> tuple[str, None, Spell, Spell]:
    value = _draw_value(rng)
    other = value + rng.choice((1, -1, 10, Fraction(1, 2), -2 * value if value else 3))
    return _decimal(value), None, lambda draw: _spell_number(draw, value), lambda draw: _spell_number(draw, other)


def _draw_value(rng: random.Random) -> Fraction:
    size = rng.choice((10, 100, 10_000, 10_000_000))
    value = Fraction(rng.randint(1, size), rng.choice((1, 1, 1, 2, 4)))
    return -value if rng.random() < 0.15 else value


def _decimal(value: Fraction) -> str:
    text = f"{float(value):.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _spell_number(rng: random.Random, value: Fraction) -> str:
    return rng.choice(list(_spellings(value)))


def _spellings(value: Fraction) -> Iterator[str]:
    """The same number in different spellings."""
    plain = _decimal(value)
    yield from (
        plain,
        plain,
        f"{plain} apples",
        f"\\boxed{{{plain}}}",
        f"${plain}$",
        f"x = {plain}",
        plain.replace("-", "\u2212"),
    )
    grouped = f"{abs(value).numerator // value.denominator:,}" + (("." + plain.split(".")[1]) if "." in plain else "")
    sign = "-" if value < 0 else ""
    yield from (
        f"{sign}{grouped}",
        f"{sign}${grouped}",
        f"{sign}{grouped.replace(',', ' ')}",
        f"{sign}{grouped.replace(',', '{,}')}",
    )
    if value.denominator > 1:
        yield from (f"{value.numerator}/{value.denominator}", f"$\\frac{{{value.numerator}}}{{{value.denominator}}}$")
        whole, part = divmod(abs(value), 1)
        if whole:
            yield from (f"{sign}{whole} {part}", f"${sign}{whole}\\frac{{{part.numerator}}}{{{part.denominator}}}$")
    else:
        yield from (f"{plain}.0", f"{3 * value}/3", f"2 + {value - 2} = {plain}" if value > 2 else plain)


_PAIRS = (
    ("\\frac{%d}{7}", ("\\frac{%d}{7}", "\\dfrac{%d}{7}", "%d/7", "\\frac{%d}{7}\\text{ cm}")),
    ("%d\\sqrt{3}", ("%d\\sqrt{3}", "%d \\sqrt 3", "\\sqrt{3}\\cdot %d", "%d\\cdot 3^{1/2}")),
    ("%d\\pi", ("%d\\pi", "\\pi \\cdot %d", "%d \\pi \\text{ square units}")),
    ("(%d,5)", ("(%d,5)", "\\left(%d, 5\\right)", "(%d, \\frac{10}{2})")),
    ("[%d,50)", ("[%d,50)", "%d \\le x < 50", "x \\in [%d, 50)")),
    ("\\{%d,5\\}", ("\\{%d,5\\}", "\\{5, %d\\}", "5, %d")),
    ("x^2+%d", ("x^2+%d", "%d+x^2", "x\\cdot x + %d", "f(x) = x^2 + %d")),
    ("y=%dx+1", ("y=%dx+1", "y = 1 + %d x", "y - %dx = 1")),
    ("%d", ("%d", "x = %d", "%d.0", "%d^\\circ", "%d\\text{ units}", "\\frac{%d}{1}")),
    ("(%d,\\infty)", ("(%d,\\infty)", "x > %d", "\\left(%d, \\infty\\right)", "%d < x")),
)
"""A pattern of gold answers with a number to fill in, and patterns that mean the same."""


def _math(rng: random.Random) -> tuple[str, None, Spell, Spell]:
    gold, spellings = rng.choice(_PAIRS)
    value = rng.randint(6, 40)
    other = value + rng.choice((1, 2, -1))

    def spelled(number: int) -> Spell:
        forms = ("$%s$", "$\\boxed{%s}$", "\\boxed{%s}", "\\(%s\\)")
        return lambda draw: draw.choice(forms) % (draw.choice(spellings) % number)

    return gold % value, None, spelled(value), spelled(other)
