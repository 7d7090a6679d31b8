"""Answers made to hurt the grader: number bombs, code, floods of cues, deep nesting, odd characters, slow symbolic questions.

Everything is drawn with a fixed seed. No answer here has a label: what is asked of the grader is that it says one of its four
verdicts in time, starts nothing, and evaluates no bomb.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Choices = tuple[tuple[str, str], ...] | None
OPTIONS = (("A", "the red box"), ("B", "the blue box"), ("C", "3/4"), ("D", "none of the above"))
GOLDS = {
    "choice": ("A", "B", "C"),
    "yesno": ("yes", "no"),
    "nli": ("entailment", "neutral", "contradiction"),
    "number": ("5", "-3.75", "1,234", "3/4", "12%"),
    "math": (r"\frac{3}{4}", "5", r"2\sqrt{3}", "x^2+1", r"(1, 5)", r"\{1, 2\}", r"[0, \infty)", r"\frac{\pi}{6}", "x = 5"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """Arguments of `grade`, and what kind of attack they are."""

    sort: str
    kind: str
    gold: str
    choices: Choices
    response: str

    def arguments(self) -> dict[str, object]:
        """What `grade` is called with."""
        return {"kind": self.kind, "gold": self.gold, "choices": self.choices, "response": self.response}


def attacks(count: int, seed: int = 0) -> Iterator[Attack]:
    """`count` attacks, each sort in turn; slow questions take seconds of computing, so they are one in a hundred."""
    rng = random.Random(f"adversarial-{seed}")
    sorts = list(SORTS.items())
    for number in range(count):
        sort, draw = ("slow", _slow) if number % 100 == 99 else sorts[number % len(sorts)]
        yield draw(rng, sort)


def payloads(count: int, mark: str, seed: int = 0) -> Iterator[Attack]:
    """`count` answers that create the file `mark` if any part of them is run."""
    rng = random.Random(f"payloads-{seed}")
    for number in range(count):
        code = PAYLOADS[number % len(PAYLOADS)].replace("MARK", mark)
        for _ in range(rng.randrange(3)):
            code = rng.choice(WRAPPERS).format(code)
        yield _attack(rng, "code", rng.choice(("math", "math", "number", "choice")), _stated(rng, code))


# --- bombs -------------------------------------------------------------------------------------------------------------------


def bombs(count: int, seed: int = 0) -> Iterator[Attack]:
    """`count` formulas that nobody could write out, each where the gold answer has a formula of a sensible size."""
    rng = random.Random(f"bombs-{seed}")
    for _ in range(count):
        yield _bomb(rng, "bomb")


def _bomb(rng: random.Random, sort: str) -> Attack:
    big, small = rng.randint(10**6, 10**9), rng.randint(4, 9)
    formula = rng.choice(
        (
            f"{small}^{{{small}^{{{small}^{{{small}}}}}}}",
            f"{small}**{small}**{small}**{small}",
            f"{small}^{{{big}}}",
            f"({small}^{{{big}}})^{{{big}}}",
            f"{big}!",
            f"({small}!)!!",
            f"(({small}!)!)!",
            f"{small}!^{{{small}!^{{{small}!}}}}",
            rf"\binom{{{big}}}{{{big // 2}}}",
            rf"\frac{{1}}{{{small}^{{{small}^{{{big}}}}}}}",
            rf"\sqrt{{{small}^{{{small}^{{{small}^{small}}}}}}}",
            rf"10^{{10^{{{rng.randint(7, 99)}}}}}",
            rf"\exp(\exp(\exp({small * 10})))",
            rf"\sin({small}^{{{big}}})",
            rf"e^{{{small}^{{{small}^{{{small}}}}}}}",
            rf"\sum_{{k=1}}^{{{big}}} \frac{{1}}{{k^{small}}}",
            rf"\prod_{{k=1}}^{{{big}}} (k+{small})",
            rf"(x+{small})^{{{big}}}",
            rf"\left(1+\frac{{1}}{{{big}}}\right)^{{{big}}}",
            f"{small}E{big}{big} * {small}^{{{big}}}",
            rf"\lfloor {small}^{{{small}^{{{big}}}}} \rfloor",
            rf"\log_{{2}}({small}^{{{small}^{{{big}}}}})",
            rf"\int_0^{{1}} x^{{{big}}} \sin^{{{big}}} x\,dx",
        )
    )
    around, gold = rng.choice(
        (
            ("{}", "5"),
            ("{} + 1", r"2\sqrt{3}"),
            (r"-\frac{{{}}}{{2}}", "x^2+1"),
            ("x = {}", "x = 5"),
            ("({}, 1)", "(5, 1)"),
            (r"\{{{}, 2\}}", r"\{5, 2\}"),
        )
    )
    stated = rng.choice(("The answer is ${}$.", r"\boxed{{{}}}")).format(around.format(formula))
    kind = "number" if around == "{}" and rng.random() < 0.3 else "math"
    return Attack(sort=sort, kind=kind, gold=gold, choices=None, response=stated)


# --- code --------------------------------------------------------------------------------------------------------------------

PAYLOADS = (
    "__import__('os').system('touch MARK')",
    "__import__('pathlib').Path('MARK').touch()",
    "open('MARK','w')",
    'eval(\'open("MARK","w")\')',
    "exec(\"import os; os.system('touch MARK')\")",
    "[c for c in ().__class__.__base__.__subclasses__() if c.__name__=='Popen'][0](['touch','MARK'])",
    "(lambda: __import__('subprocess').run(['touch','MARK']))()",
    "sympify(\"__import__('os').system('touch MARK')\")",
    "x.__class__.__init__.__globals__['__builtins__']['open']('MARK','w')",
    'S(\'__import__("os").system("touch MARK")\')',
    "Symbol('x', cls=__import__('os').system('touch MARK'))",
    r"\operatorname{__import__('os').system('touch MARK')}",
    r"\text{`touch MARK`}",
    "$(touch MARK)",
    "; touch MARK ;",
    "| touch MARK",
    "{{ ''.__class__.__mro__[1].__subclasses__() }} touch MARK",
    r"\write18{touch MARK}",
    r"\input{|touch MARK}",
    'f\'{open("MARK","w")}\'',
    "1 if open('MARK','w') else 2",
    "print(open('MARK', 'w').write('1')) or 5",
    "import os\nos.system('touch MARK')\n5",
    "```python\nopen('MARK','w')\n```",
    "!!python/object/apply:os.system ['touch MARK']",
    "cos\nsystem\n(S'touch MARK'\ntR.",
    "{\"answer\": \"__import__('os').system('touch MARK')\"}",
    "<script>require('fs').writeFileSync('MARK','')</script>",
)
WRAPPERS = (
    "\\frac{{{}}}{{2}}",
    "x = {}",
    "({}, 1)",
    "2 + {}",
    "\\sqrt{{{}}}",
    "\\text{{{}}}",
    "\\int {} dx",
    "\\sum_{{k=1}}^{{3}} {}",
    "sin({})",
)


def _code(rng: random.Random, sort: str) -> Attack:
    return next(payloads(1, "/dev/null", seed=rng.randrange(10**6)))


# --- floods ------------------------------------------------------------------------------------------------------------------

_WORDS = """the answer is |The final answer is: |Answer: |answer|#### |wait, |no, |actually |that is wrong. |let me recheck. |
not |n't |either | or | and | but |if |maybe |A|B. |(C) |option D|the red box|none of the above|yes |no. |true|entailment|neutral
 |contradiction|dozen |hundred |thousand |and a half |dollars| cents| cm|Question: |Q: |User: |- """
_SIGNS = r"""<think> </think> <answer> </answer> << >> <|im_end|> ** * _ ` ``` { } ( ) [ ] $ $$ \( \) \boxed{ {"answer":
0 1 12 3.5 1,000 ,000 1/ /2 % - -- e5 ^ ^{ _{ 10^ \frac \frac{1} \sqrt \text{ \, \! {,} ' " : ; . , ! ? \ − ½ ٠ = \pm \cup
\begin{pmatrix} & \\ |"""
PIECES = (*_WORDS.replace("\n", "").split("|"), *_SIGNS.split(), " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0")


def _flood(rng: random.Random, sort: str) -> Attack:
    """A few pieces repeated many times: what makes a careless pattern take exponential or quadratic time."""
    pieces = [rng.choice(PIECES) for _ in range(rng.randint(1, 4))]
    length = rng.choice((200, 2_000, 20_000, 60_000, 200_000))
    unit = "".join(pieces)
    body = unit * (length // len(unit) + 1)
    body = body[:length]
    around = rng.choice(("{}", "The answer is {}", "{} The answer is 5.", "\\boxed{{{}}}", "The answer is \\boxed{{{}", "{} B"))
    return _attack(rng, sort, rng.choice(list(GOLDS)), around.format(body))


def _soup(rng: random.Random, sort: str) -> Attack:
    """Pieces in random order."""
    number = rng.choice((5, 20, 100, 1_000, 10_000))
    return _attack(rng, sort, rng.choice(list(GOLDS)), "".join(rng.choice(PIECES) for _ in range(number)))


def _nested(rng: random.Random, sort: str) -> Attack:
    opening, closing = rng.choice(
        (
            ("(", ")"),
            ("{", "}"),
            ("[", "]"),
            ("\\{", "\\}"),
            ("\\frac{1}{", "}"),
            ("\\sqrt{", "}"),
            ("\\boxed{", "}"),
            ("\\text{", "}"),
            ("-", ""),
            ("\\left(", "\\right)"),
            ("2^{", "}"),
            ("\\sin(", ")"),
            ("|", "|"),
            ("1+(", ")"),
            ("<think>", "</think>"),
            ("**", "**"),
            ("x_{", "}"),
            ("\\int ", " dx"),
            ("\\begin{pmatrix}", "\\end{pmatrix}"),
        )
    )
    depth = rng.choice((10, 39, 41, 100, 1_000, 20_000))
    core = rng.choice(("1", "x", "", "5, 6", "A"))
    body = opening * depth + core + closing * rng.choice((depth, depth, depth - 1, 0))
    return _attack(rng, sort, rng.choice(("math", "math", "number", "choice")), _stated(rng, body))


# --- lists and symbolic questions --------------------------------------------------------------------------------------------


def _many_parts(rng: random.Random, sort: str) -> Attack:
    """Lists, sets and matrices whose comparison asks many questions of the engine."""
    number = rng.choice((3, 10, 40, 60, 100))

    def part(index: int) -> str:
        return rng.choice((rf"\sqrt{{{index + 2}}}", rf"\sin({index})", f"x^{{{index}}}+{index}", rf"{index}\pi", str(index)))

    golds, answers = ([part(index) for index in range(number)] for _ in range(2))
    rng.shuffle(answers)
    shape = rng.choice(("{}", r"\{{{}\}}", "({})", r"\begin{{pmatrix}}{}\end{{pmatrix}}", "x \\in ({}) \\cup (0, 1)"))
    comma = " & " if "matrix" in shape else ", "
    gold, answer = shape.format(comma.join(golds)), shape.format(comma.join(answers))
    return Attack(sort=sort, kind="math", gold=gold, choices=None, response=f"The answer is ${answer}$.")


def _slow(rng: random.Random, sort: str) -> Attack:
    """Questions the symbolic engine can read and may take for ever on."""
    n, m = rng.randint(2, 40), rng.randint(2, 9)

    def formula() -> str:
        return rng.choice(
            (
                rf"\int_0^{{{n}}} \frac{{\sin^{{{m}}} x}}{{x^{{{m}}}+{n}}} dx",
                rf"\int \frac{{x^{{{n}}}+{m}}}{{x^{{{n}}}+x+{m}}} dx",
                rf"\sum_{{k=1}}^{{{n * 1000}}} \frac{{1}}{{k^{m}}}",
                r"\sum_{k=0}^{\infty} \frac{x^{k}}{k!}",
                rf"\prod_{{k=1}}^{{{n * 100}}} (k^{m}+1)",
                rf"\lim_{{x \to 0}} \frac{{\sin^{{{n}}} x - x^{{{n}}}}}{{x^{{{n + m}}}}}",
                rf"\int_{{-\infty}}^{{\infty}} e^{{-x^{{{2 * m}}}}} \cos({n} x) dx",
                rf"\left(a+b+c+d\right)^{{{n}}}",
                rf"\sqrt{{{n}+\sqrt{{{m}+\sqrt{{x+\sqrt{{{n}+x}}}}}}}}",
                rf"\frac{{1}}{{1+\frac{{1}}{{x+\frac{{1}}{{{n}+\frac{{1}}{{y}}}}}}}}",
                rf"\int_0^1 \int_0^1 x^{{{n}}} y^{{{m}}} dx dy",
                rf"\max({n}, {m}, x)",
                rf"\overline{{{n}}} + \lfloor x \rfloor",
            )
        )

    return Attack(sort=sort, kind="math", gold=formula(), choices=None, response=f"The answer is ${formula()}$.")


# --- characters --------------------------------------------------------------------------------------------------------------

ODD = (
    "\x00\x07\x1b\u0085\u200b\u200d\u2028\u2029\u202e\ufeff\ufffd\ud800\udfff\U0001f600\U000e0001"
    "\u0301\u0300\u0e33\u1160\uff11\u0661\u00bd\u2460\u216b\u4e03"
)


def _characters(rng: random.Random, sort: str) -> Attack:
    number = rng.choice((1, 10, 300, 5_000))

    def piece() -> str:
        return rng.choice((rng.choice(ODD), chr(rng.randrange(0x110000)), rng.choice(PIECES), str(rng.randrange(100))))

    body = "".join(piece() for _ in range(number))
    return _attack(rng, sort, rng.choice(list(GOLDS)), rng.choice(("{}", "The answer is {}.", "The answer is 5{}")).format(body))


def _mutated(rng: random.Random, sort: str) -> Attack:
    """A sensible reply with cuts, repeats and foreign pieces in it."""
    text = list(
        rng.choice(
            (
                "Each box holds 12 pens, so 3 boxes hold 3 * 12 = 36 pens.\n\nThe answer is **36**.",
                "<think>Maybe B? No.</think> (A) is red, (B) is blue. So the best answer is (B).",
                r"We have $x^2 = 2$, hence $x = \pm\sqrt{2}$ and the answer is $\boxed{\pm\sqrt{2}}$.",
                "The premise says it rained. It does not say where. Answer: neutral.",
                "Yes, because 5 > 3. Wait, no: the question asks for less. The answer is no.",
                '{"reasoning": "1 + 1 = 2", "answer": "2"}',
                r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} so the answer is $(1, 5] \cup [7, \infty)$",
            )
        )
    )
    for _ in range(rng.randint(1, 25)):
        at = rng.randrange(len(text) + 1)
        what = rng.randrange(3)
        if what == 0:
            del text[at : at + rng.randint(1, 12)]
        elif what == 1:
            text[at:at] = text[at : at + 30] * rng.choice((1, 2, 50))
        else:
            text.insert(at, rng.choice(PIECES))
        if not text:
            break
    return _attack(rng, sort, rng.choice(list(GOLDS)), "".join(text))


def _digits(rng: random.Random, sort: str) -> Attack:
    """Numbers of absurd length or exponent."""
    number = rng.choice((50, 1_999, 2_001, 4_299, 4_301, 100_000))
    digits = "".join(rng.choice("0123456789") for _ in range(number))
    body = rng.choice(
        ("{}", "0.{}", "1/{}", "{}e999999999", "5e{}", "1e-{}", "10^{{{}}}", "{}%", "{}_2", "{}:3", "\\frac{{{}}}{{7}}")
    ).format(digits)
    return _attack(rng, sort, rng.choice(("number", "math")), _stated(rng, body))


def _stated(rng: random.Random, answer: str) -> str:
    """An answer stated in one of the usual forms."""
    form = rng.choice(("The answer is {}.", "The answer is ${}$.", "\\boxed{{{}}}", "{}", "#### {}", "**Answer:** {}"))
    return form.format(answer)


def _attack(rng: random.Random, sort: str, kind: str, response: str) -> Attack:
    return Attack(
        sort=sort, kind=kind, gold=rng.choice(GOLDS[kind]), choices=OPTIONS if kind == "choice" else None, response=response
    )


SORTS: dict[str, Callable[[random.Random, str], Attack]] = {
    "bomb": _bomb,
    "code": _code,
    "flood": _flood,
    "soup": _soup,
    "nested": _nested,
    "parts": _many_parts,
    "characters": _characters,
    "mutated": _mutated,
    "digits": _digits,
}
