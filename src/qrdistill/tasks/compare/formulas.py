"""Whether two mathematical answers are equal: structure here, single formulas by exact arithmetic or the engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from qrdistill.tasks.compare.exact import rational
from qrdistill.tasks.compare.expression import NotReadable, parse
from qrdistill.tasks.compare.intervals import as_interval
from qrdistill.tasks.compare.magnitude import Bomb, log10_bound
from qrdistill.tasks.compare.notation import MAX_CHARS
from qrdistill.tasks.compare.quantity import Quantity, equal, parse_quantity
from qrdistill.tasks.compare.structure import Form, as_list, names_value, parse_form


class Undecided(Exception):
    """The comparison was refused or did not finish: the answers may be equal or not."""


Engine = Callable[[str, str, bool], bool]
"""(formula, formula, is an equation's left side) -> equal; raises Undecided."""


def same_answer(gold: str, answer: str, engine: Engine) -> bool:
    """Whether an answer equals the gold one.

    Raises:
        Undecided: when a formula is refused (too long, too deep, too large) or the engine does not finish.
    """
    if _squeezed(gold) == _squeezed(answer):
        return True
    first, second = parse_quantity(gold), parse_quantity(answer)
    if first is not None and second is not None and not (_may_be_list(gold) or _may_be_list(answer)):
        return equal(first, second)
    for text in (gold, answer):
        if len(text) > MAX_CHARS:
            raise Undecided(f"refused: an answer of more than {MAX_CHARS} characters")
        if _depth(text) > 40:
            raise Undecided("refused: brackets nested more than 40 deep")
    return _Comparison(engine).same(parse_form(gold), parse_form(answer))


def _may_be_list(text: str) -> bool:
    """Whether a text with a comma may be several numbers: "1,2", "10,100"."""
    return "," in text and "{,}" not in text and re.fullmatch(r"\W*\d{1,3}(?:,\d{3})+\.\d+\W*", text) is None


def _squeezed(text: str) -> str:
    apart = re.sub(r"(?<=\d)\s+(?=\d)", "|", text)  # "14 4" is not 144
    return re.sub(r"[\s$]+|\\[,;!]", "", apart).rstrip(".")


def _depth(text: str) -> int:
    deepest = level = 0
    for char in text:
        if char in "([{":
            level += 1
            deepest = max(deepest, level)
        elif char in ")]}":
            level -= 1
    return deepest


class _Comparison:
    """Compares two forms part by part."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def same(self, gold: Form, answer: Form) -> bool:
        if gold.text == answer.text and gold.kind == answer.kind:
            return True
        gold, answer = self._without_names(gold, answer)
        gold_interval, answer_interval = as_interval(gold), as_interval(answer)
        if gold_interval and answer_interval:
            return gold_interval[0] == answer_interval[0] and self.same(gold_interval[1], answer_interval[1])
        if gold_interval or answer_interval:
            other = answer if gold_interval else gold
            if other.kind in {"sequence", "union"}:
                known = gold_interval or answer_interval
                assert known is not None
                return self._by_kind(known[1], other) if gold_interval else self._by_kind(other, known[1])
        return self._by_kind(gold, answer)

    def _without_names(self, gold: Form, answer: Form) -> tuple[Form, Form]:
        """Names of values dropped where they say nothing: "x = 5" against "5"."""
        named_gold, named_answer = names_value(gold), names_value(answer)
        if named_gold and named_answer:
            if named_gold[0] == named_answer[0] or not (len(named_gold[0]) == 1 and len(named_answer[0]) == 1):
                return named_gold[1], named_answer[1]
            return gold, answer
        if named_answer and gold.kind != "relation":
            return gold, named_answer[1]
        if named_gold and answer.kind != "relation" and _is_defined(*named_gold):
            return named_gold[1], answer
        if (
            answer.kind == "relation"
            and gold.kind != "relation"
            and set(answer.mark.split()) == {"="}
            and not _has_letters(answer.items[-1])
        ):
            return gold, answer.items[-1]
        return _unnamed_list(gold), _unnamed_list(answer)

    def _by_kind(self, gold: Form, answer: Form) -> bool:
        kinds = {gold.kind, answer.kind}
        if kinds <= {"set", "list"}:
            return self._same_collection(gold, answer)
        if kinds == {"list", "leaf"} or (kinds == {"set", "leaf"} and (as_list(gold) or as_list(answer))):
            widened = as_list(gold) or as_list(answer)
            if widened is None:
                return False
            return self._same_collection(widened if gold.kind == "leaf" else gold, widened if answer.kind == "leaf" else answer)
        if kinds == {"list", "sequence"}:
            return self._named_coordinates(gold, answer)
        if kinds == {"set", "leaf"} and all(len(form.items) == 1 for form in (gold, answer) if form.kind == "set"):
            inner = [form.items[0] if form.kind == "set" else form for form in (gold, answer)]
            return self.same(inner[0], inner[1])
        if kinds == {"ratio", "leaf"}:
            return self._ratio_value(gold, answer)
        if kinds == {"based"} or kinds == {"based", "leaf"}:
            return _same_numeral(gold, answer)
        if gold.kind != answer.kind:
            return kinds <= {"leaf", "text"} and self._same_leaf(gold, answer)
        same_kind: dict[str, Callable[[Form, Form], bool]] = {
            "leaf": self._same_leaf,
            "text": lambda first, second: first.text == second.text,
            "sequence": lambda first, second: first.mark == second.mark and self._in_order(first, second),
            "union": self._same_collection,
            "matrix": lambda first, second: (
                len(first.items) == len(second.items)
                and all(self._in_order(a, b) for a, b in zip(first.items, second.items, strict=True))
            ),
            "relation": self._same_relation,
            "ratio": self._same_ratio,
        }
        return same_kind[gold.kind](gold, answer)

    def _in_order(self, gold: Form, answer: Form) -> bool:
        return len(gold.items) == len(answer.items) and all(
            self.same(a, b) for a, b in zip(gold.items, answer.items, strict=True)
        )

    def _same_collection(self, gold: Form, answer: Form) -> bool:
        """Every item on either side has its equal; two lists also need the same number of items."""
        if gold.kind == answer.kind == "list":
            if len(gold.items) != len(answer.items):
                return False
            free = list(answer.items)
            for item in gold.items:
                partner = next((other for other in free if self.same(item, other)), None)
                if partner is None:
                    return False
                free.remove(partner)
            return True
        return all(any(self.same(item, other) for other in answer.items) for item in gold.items) and all(
            any(self.same(other, item) for other in gold.items) for item in answer.items
        )

    def _named_coordinates(self, gold: Form, answer: Form) -> bool:
        """Whether "x = 3, y = 4" is the point (3, 4): letters in alphabetical order."""
        listed, sequence = (gold, answer) if gold.kind == "list" else (answer, gold)
        named = [names_value(item) for item in listed.items]
        if sequence.mark != "()" or any(name is None for name in named):
            return False
        pairs = [name for name in named if name is not None]
        letters = [name for name, _ in pairs]
        if letters != sorted(set(letters)) or len(pairs) != len(sequence.items):
            return False
        return all(
            self.same(value, item) if gold.kind == "list" else self.same(item, value)
            for (_, value), item in zip(pairs, sequence.items, strict=True)
        )

    def _same_relation(self, gold: Form, answer: Form) -> bool:
        marks, other = gold.mark.split(), answer.mark.split()
        if marks == other == ["="]:
            return self.engine(
                f"({gold.items[0].text})-({gold.items[1].text})", f"({answer.items[0].text})-({answer.items[1].text})", True
            )
        flipped = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}
        if marks == other:
            return self._in_order(gold, answer)
        if len(marks) == len(other) and [flipped.get(mark) for mark in reversed(other)] == marks:
            return all(self.same(a, b) for a, b in zip(gold.items, reversed(answer.items), strict=True))
        return False

    def _same_ratio(self, gold: Form, answer: Form) -> bool:
        if len(gold.items) != len(answer.items):
            return False
        first, second = [_value(item) for item in gold.items], [_value(item) for item in answer.items]
        if any(value is None for value in first + second):
            return self._in_order(gold, answer)
        a, b = [value or Fraction(0) for value in first], [value or Fraction(0) for value in second]
        return all(a[0] * y == x * b[0] for x, y in zip(a, b, strict=True)) and (a[0] == 0) == (b[0] == 0)

    def _ratio_value(self, gold: Form, answer: Form) -> bool:
        ratio, leaf = (gold, answer) if gold.kind == "ratio" else (answer, gold)
        parts, value = [_value(item) for item in ratio.items], _value(leaf)
        return (
            len(parts) == 2 and None not in parts and value is not None and parts[0] == (parts[1] or 0) * value and parts[1] != 0
        )

    def _same_leaf(self, gold: Form, answer: Form) -> bool:
        first, second = parse_quantity(gold.text), parse_quantity(answer.text)
        if first is not None and second is not None:
            return equal(first, second)
        percents = gold.text.endswith("%") != answer.text.endswith("%")
        texts = gold.text.rstrip("% "), answer.text.rstrip("% ")
        if _squeezed(texts[0]) == _squeezed(texts[1]):
            return True
        exact = [_value(Form("leaf", text)) for text in texts]
        if exact[0] is not None and exact[1] is not None:
            is_percent = [form.text.endswith("%") for form in (gold, answer)]
            return equal(Quantity(exact[0], is_percent[0]), Quantity(exact[1], is_percent[1]))
        if percents and not gold.text.endswith("%"):
            return False
        return self.engine(texts[0], texts[1], False)


def _is_defined(name: str, value: Form) -> bool:
    """Whether "name = value" says what the name is ("y = 2x + 1", "f(x) = x^2") rather than relates it to itself."""
    letter = re.match(r"[A-Za-z]", name)
    return letter is None or "(" in name or re.search(rf"(?<![A-Za-z\\]){letter.group()}(?![A-Za-z])", value.text) is None


def _unnamed_list(form: Form) -> Form:
    """The list of values of one letter that "x = 2, x = -3" and "x = 2, -3" are."""
    if form.kind != "list" or form.mark == "&":
        return form
    named = [names_value(item) for item in form.items]
    letters = {name[0] for name in named if name is not None}
    if len(letters) != 1 or named[0] is None:
        return form
    return Form(
        "list", form.text, tuple(name[1] if name else item for name, item in zip(named, form.items, strict=True)), form.mark
    )


def _has_letters(form: Form) -> bool:
    text = re.sub(r"\\(?:frac|sqrt|pi|infty|text|cup|begin|end|[pb]?matrix|emptyset|cdot)\b|\\text\{[^{}]*\}", " ", form.text)
    return form.kind in {"leaf", "relation"} and re.search(r"(?<![A-Za-z])[a-zA-Z](?![A-Za-z])", text) is not None


def _same_numeral(gold: Form, answer: Form) -> bool:
    if gold.kind == answer.kind:
        return _numeral(gold) == _numeral(answer) is not None
    if gold.kind == "based":
        return gold.items[0].text.casefold() == answer.text.replace(" ", "").casefold()
    value = _value(gold)
    return value is not None and value == _numeral(answer)


def _numeral(form: Form) -> int | None:
    base = int(form.mark)
    if not 2 <= base <= 36:
        return None
    try:
        return int(form.items[0].text, base)
    except ValueError:
        return None


def _value(form: Form) -> Fraction | None:
    """The exact value of a leaf, or None when it has none; a bomb is refused."""
    quantity = parse_quantity(form.text)
    if quantity is not None and quantity.huge is None and not quantity.is_percent:
        return quantity.value
    try:
        node = parse(form.text)
    except NotReadable:
        return None
    try:
        log10_bound(node)
        return rational(node)
    except Bomb as bomb:
        raise Undecided(f"refused: {bomb}") from bomb
