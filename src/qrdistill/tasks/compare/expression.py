r"""A parser for the formulas people give as answers: from plain notation to a tree, without evaluating anything.

It reads numbers (mixed and repeating ones too), letters with subscripts, ``+ - * / ^ !``, implicit products, fractions, roots,
the usual functions, binomials, absolute values, floor and ceiling. Anything else is :class:`NotReadable`. It is a plain
recursive descent over a list of tokens with a fixed limit on length and depth, so its work is linear and no text ever reaches
an evaluator of Python.

``log`` without a base is the common logarithm and never ``ln``; ``e`` and ``i`` are the constants; an integer before a proper
literal fraction is a mixed number (``1\frac{1}{2}`` is 3/2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

from qrdistill.tasks.compare.quantity import parse_decimal

MAX_TOKENS = 600
MAX_DEPTH = 40

_READ_FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "exp", "lg"]
)
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_SYMBOL_COMMANDS = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "rho",
        "sigma",
        "tau",
        "phi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Sigma",
        "Phi",
        "Psi",
        "Omega",
        "infty",
        "ell",
        "hbar",
    ]
)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d[\d,]*(?:\.\d+)?|\.\d+)(?P<repeat>\s?\\(?:overline|bar|dot)\s?\{\d{1,30}\}|\.?\\overline\s?\{\d{1,30}\})?|(?P<repeat_only>\d*\.\\overline\s?\{\d{1,30}\})"
    r"|(?P<command>\\[A-Za-z]+|\\[{}|])|(?P<word>[A-Za-z]+)|(?P<sign>[-+*/^_!(){}\[\]|,']))"
)
_MIXED = re.compile(
    r"\s*(\d{1,9})\s*(?:\\frac\s*(?:\{\s*(\d{1,9})\s*\}\s*\{\s*(\d{1,9})\s*\}|(\d)(\d))|\s(\d{1,9})\s*/\s*(\d{1,9})(?![\d.^]))"
)


class NotReadable(Exception):
    """A text this parser does not know how to read."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a formula. `kind`: number, symbol, add, mul, inv (1/x), div, pow, neg, fact, or call.

    `name` is the symbol or the function.
    """

    kind: str
    args: tuple[Node, ...] = ()
    name: str = ""
    value: Fraction = Fraction(0)


def parse(text: str) -> Node:
    """The tree of a formula in plain notation (see :mod:`qrdistill.tasks.compare.notation`).

    Raises:
        NotReadable: for anything but a formula, or one that is too long or too deep.
    """
    tokens = _tokenize(text)
    parser = _Parser(tokens)
    node = parser.sum()
    if parser.index != len(tokens):
        raise NotReadable(f"unexpected {tokens[parser.index][1]!r}")
    return node


def symbols(node: Node) -> set[str]:
    """The names of the letters in a formula (constants left out)."""
    if node.kind == "symbol":
        return set() if node.name in {"pi", "e", "i"} else {node.name}
    return {name for arg in node.args for name in symbols(arg)}


def _tokenize(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    index, text = 0, text.rstrip()
    while index < len(text):
        if len(tokens) > MAX_TOKENS:
            raise NotReadable("too long")
        mixed = _MIXED.match(text, index)
        if mixed and not (tokens and tokens[-1][1] in {"^", "_", "\\frac"}):
            whole, *parts = (int(part) for part in mixed.groups() if part is not None)
            numerator, denominator = parts
            if 0 < numerator < denominator:
                tokens.append(("value", str(whole + Fraction(numerator, denominator))))
                index = mixed.end()
                continue
        found = _TOKEN.match(text, index)
        if found is None or found.end() == index:
            raise NotReadable(f"unknown sign {text[index]!r}")
        kind = found.lastgroup or ""
        if kind in {"number", "repeat", "repeat_only"}:
            if [before for before, _ in tokens[-2:]] in (["value"], ["sign", "value"]) and text[index].isspace():
                raise NotReadable("two numbers side by side")
            tokens += _number_tokens(found, bool(tokens) and tokens[-1][1] == "\\frac")
        elif kind == "word":
            tokens += _word_tokens(found.group("word"))
        else:
            tokens.append((kind, found.group(kind)))
        index = found.end()
    return tokens


def _number_tokens(found: re.Match[str], is_argument: bool) -> list[tuple[str, str]]:
    r"""A number. ``\frac`` without braces takes one digit at a time: ``\frac12``."""
    digits = found.group("number") or found.group("repeat_only").split("\\", 1)[0]
    repeat = found.group("repeat") or (found.group("repeat_only") or "")
    if is_argument and digits.isdigit() and not repeat:
        heads = [("value", digit) for digit in digits[:2]]
        return [*heads, ("value", digits[2:])] if digits[2:] else heads
    value = parse_decimal(digits.rstrip(".")) if digits.strip(".") else Fraction(0)
    if value is None:
        raise NotReadable("a number with odd separators")
    if repeat:
        period = re.sub(r"\D", "", repeat.split("{", 1)[1])
        places = len(digits.partition(".")[2])
        value += Fraction(int(period), (10 ** len(period) - 1) * 10**places)
    return [("value", str(value))]


def _word_tokens(word: str) -> list[tuple[str, str]]:
    """A typed word: a function name, or letters that are multiplied."""
    for name in sorted(_READ_FUNCTIONS | {"sqrt", "pi", "abs"}, key=len, reverse=True):
        if word.startswith(name):
            rest = word[len(name) :]
            return [("command", "\\" + name), *(_word_tokens(rest) if rest else [])]
    if len(word) > 6:
        raise NotReadable(f"a word: {word}")
    return [("letter", letter) for letter in word]


class _Parser:
    """Recursive descent. Each method reads one level of precedence and leaves `index` behind what it read."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.index = 0
        self.depth = 0
        self.open_bars = 0

    def peek(self) -> str:
        return self.tokens[self.index][1] if self.index < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.index][0] if self.index < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        if self.index >= len(self.tokens) or (wanted and self.peek() != wanted):
            raise NotReadable(f"expected {wanted or 'more'}")
        self.index += 1
        return self.tokens[self.index - 1][1]

    def sum(self) -> Node:
        terms = [self.product()]
        while self.peek() in {"+", "-"}:
            sign = self.take()
            term = self.product()
            terms.append(Node("neg", (term,)) if sign == "-" else term)
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def product(self) -> Node:
        factors = [self.signed()]
        while True:
            if self.peek() in {"*", "/"}:
                is_division = self.take() == "/"
                factor = self.signed()
                factors.append(Node("inv", (factor,)) if is_division else factor)
            elif self.begins_factor():
                factors.append(self.power())
            else:
                return factors[0] if len(factors) == 1 else Node("mul", tuple(factors))

    def signed(self) -> Node:
        signs = 0
        while self.peek() in {"+", "-"}:
            signs += self.take() == "-"
        node = self.power()
        return Node("neg", (node,)) if signs % 2 else node

    def begins_factor(self) -> bool:
        kind, text = self.kind(), self.peek()
        if text == "|":
            return self.open_bars == 0
        return (
            kind in {"value", "letter"}
            or text in {"(", "{", "["}
            or (kind == "command" and text not in {"\\}", "\\|", "\\rfloor", "\\rceil", "\\choose"})
        )

    def power(self) -> Node:
        node = self.postfix(self.atom())
        if self.peek() == "^":
            self.take()
            node = self.postfix(Node("pow", (node, self.exponent())))
        return node

    def exponent(self) -> Node:
        with self.deeper():
            if self.peek() in {"+", "-"}:
                sign = self.take()
                node = self.exponent()
                return Node("neg", (node,)) if sign == "-" else node
            node = self.postfix(self.atom())
            if self.peek() == "^":
                self.take()
                node = Node("pow", (node, self.exponent()))
            return node

    def postfix(self, node: Node) -> Node:
        count = 0
        while self.peek() == "!":
            self.take()
            count += 1
            if count > 1:
                raise NotReadable("repeated factorial")
            node = Node("fact", (node,))
        return node

    @contextmanager
    def deeper(self) -> Iterator[None]:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotReadable("too deep")
        yield
        self.depth -= 1

    def atom(self) -> Node:
        with self.deeper():
            kind, text = self.kind(), self.peek()
            if kind == "value":
                return Node("number", value=Fraction(self.take()))
            if kind == "letter":
                return self.symbol(self.take())
            if text in {"(", "{", "["}:
                return self.group(text)
            if text == "|":
                return self.absolute()
            if kind == "command":
                return self.command(self.take()[1:])
            raise NotReadable(f"unexpected {text!r}")

    def absolute(self) -> Node:
        self.take("|")
        self.open_bars += 1
        inner = self.sum()
        self.open_bars -= 1
        self.take("|")
        return Node("call", (inner,), "abs")

    def group(self, opening: str) -> Node:
        self.take()
        bars, self.open_bars = self.open_bars, 0
        node = self.sum()
        self.open_bars = bars
        if opening == "{" and self.peek() == "\\choose":
            self.take()
            node = Node("call", (node, self.sum()), "binom")
        self.take({"(": ")", "{": "}", "[": "]"}[opening])
        return node

    def symbol(self, name: str) -> Node:
        if self.peek() == "_":
            self.take()
            name += "_" + self.subscript()
        while self.peek() == "'":
            name += self.take()
        return Node("symbol", name=name)

    def subscript(self) -> str:
        if self.peek() != "{":
            return self.take()
        self.take()
        parts = []
        while self.peek() != "}":
            parts.append(self.take())
            if len(parts) > 12:
                raise NotReadable("a long subscript")
        self.take("}")
        return "".join(parts)

    def command(self, name: str) -> Node:
        if name == "frac":
            numerator = self.argument()
            return Node("div", (numerator, self.argument()))
        if name == "binom":
            upper = self.argument()
            return Node("call", (upper, self.argument()), "binom")
        if name == "sqrt":
            return self.root()
        if name in {"pi", *_SYMBOL_COMMANDS}:
            return self.symbol(name)
        if name in {"lfloor", "lceil"}:
            inner = self.sum()
            self.take("\\r" + name[1:])
            return Node("call", (inner,), "floor" if name == "lfloor" else "ceil")
        if name == "abs":
            return Node("call", (self.argument(),), "abs")
        if name in {"text", "mathrm"} and self.peek() == "{":
            raise NotReadable("text in a formula")
        if name in _READ_FUNCTIONS:
            return self.function("ln" if name == "ln" else "log" if name == "lg" else name)
        raise NotReadable(f"unknown command {name}")

    def argument(self) -> Node:
        """What a LaTeX command takes: a group, or the next single token."""
        if self.peek() in {"(", "{"}:
            return self.group(self.peek())
        if self.peek() == "-":
            raise NotReadable("a sign where an argument was expected")
        return self.atom()

    def root(self) -> Node:
        degree = Node("number", value=Fraction(2))
        if self.peek() == "[":
            degree = self.group("[")
        return Node("call", (self.argument(), degree), "root")

    def function(self, name: str) -> Node:
        base: Node | None = None
        exponent: Node | None = None
        for _ in range(2):
            if self.peek() == "_" and name == "log":
                self.take()
                base = self.argument()
            elif self.peek() == "^":
                self.take()
                exponent = self.exponent()
        if exponent is not None and exponent == Node("neg", (Node("number", value=Fraction(1)),)) and name in _INVERSES:
            name, exponent = _INVERSES[name], None
        inner = self.function_argument()
        if name == "log":
            node = Node("call", (inner, base or Node("number", value=Fraction(10))), "log")
        else:
            node = Node("call", (inner,), name)
        return Node("pow", (node, exponent)) if exponent is not None else node

    def function_argument(self) -> Node:
        r"""``\sin 2x`` is sin(2x); ``\sin x \cos x`` and ``\sin(x) y`` are products."""
        is_group = self.peek() in {"(", "{", "["}
        node = self.power()
        while (not is_group and self.kind() in {"value", "letter"}) or (
            not is_group and self.peek() in {"\\pi", "\\theta", "\\alpha"}
        ):
            node = Node("mul", (node, self.power()))
        return node
