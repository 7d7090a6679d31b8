r"""Numbers as people write them, read exactly.

Rules (each holds for gold answers and for responses):

=====================  ==========================================================================================================
separators             Commas, spaces, apostrophes or underscores between groups of three are thousands separators (1,234 = 1 234
                       = 1'234 = 1_234); Indian grouping too (1,23,456). With both a comma and a dot the last one is the decimal
                       mark (1,234.5 = 1.234,5). A single dot is always a decimal point (1.234 is not 1234); several dots are
                       thousands separators (1.234.567). A single comma that is not followed by exactly three digits is a decimal
                       comma (1,5 = 1.5). Anything else (1,23,45) is not a number.
repeating              0.\overline{3}, 0.(3) and 0.333... (the period written out) are 1/3.
fractions              3/4, \frac34, \frac{3}{4}, ¾; a whole number before a proper fraction is a mixed number:
                       1 1/2 = 1\frac{1}{2} = 1½ = 3/2.
scientific             5e3, 5 x 10^3, 5 \times 10^{3}, 5·10³, 10^3.
scale words            hundred, thousand, million, billion, trillion multiply; k and K after a digit mean thousand, M million;
                       "dozen" is also a unit (see `is_dozen`).
number words           zero ... ninety-nine, hundred, thousand, million, "and", "minus"/"negative", "half", "a dozen".
percent                The sign is kept as a flag; :func:`equal` says what it means.
sign                   -, the Unicode minus, a dash glued to the digits, "minus", "negative"; before or after a currency sign.
=====================  ==========================================================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from qrdistill.tasks.compare.number_words import SCALES, number_word_at
from qrdistill.tasks.compare.repeating import repeating_at
from qrdistill.tasks.compare.units import Unit, currency, find_unit

MAX_DIGITS = 2_000
"""Longest number that is read."""
MAX_EXPONENT = 5_000
"""Largest power of ten that is written out; a number beyond it is compared by mantissa and exponent (see `huge`)."""

_VULGAR = {
    "½": Fraction(1, 2), "⅓": Fraction(1, 3), "⅔": Fraction(2, 3), "¼": Fraction(1, 4), "¾": Fraction(3, 4),
    "⅕": Fraction(1, 5), "⅖": Fraction(2, 5), "⅗": Fraction(3, 5), "⅘": Fraction(4, 5), "⅙": Fraction(1, 6),
    "⅚": Fraction(5, 6), "⅐": Fraction(1, 7), "⅛": Fraction(1, 8), "⅜": Fraction(3, 8), "⅝": Fraction(5, 8),
    "⅞": Fraction(7, 8), "⅑": Fraction(1, 9), "⅒": Fraction(1, 10),
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_CURRENCY = r"(?:(?:US|CA|AU|HK|NZ|SG|C|A|R)?[ ]?\\?\$|[€£¥₹₽₩₺₱฿₫₪]|(?:USD|EUR|GBP|INR|CAD|AUD|JPY|Rs\.?)[ ]?)"
_BLOB = r"(?:\d(?:\d|[.,'_](?=\d)|(?:\{,\}|,)?\\![ ]?(?=\d{3})|\{,\}(?=\d{3})|\\,(?=\d{3})|[ ](?=\d{3}(?![\d/])))*|\.\d+)"
_NUMBER = re.compile(
    rf"""
    (?P<sign>[-+–—]?[ ]?|(?:(?:minus|negative)[ ]))
    (?P<currency>{_CURRENCY}[ ]?)?
    (?P<sign2>[-+–](?=[\d.]))?
    (?:
      (?:(?P<latex_whole>\d{{1,9}})[ ]?)?\\[dtc]?frac[ ]?
        (?:\{{[ ]?(?P<ln>-?[\d,.]{{1,40}})[ ]?\}}|(?P<ln1>\d))[ ]?(?:\{{[ ]?(?P<ld>[\d,.]{{1,40}})[ ]?\}}|(?P<ld1>\d))
    | (?P<whole>\d{{1,9}})(?:[ ]|[ ]and[ ]|[ ]?&[ ]|-(?=\d/\d))(?P<mn>\d{{1,9}})[ ]?/[ ]?(?P<md>\d{{1,9}})(?![\d/]|[.,]\d)
    | (?:(?P<vulgar_whole>\d{{1,9}})[ ]?)?(?P<vulgar>[{"".join(_VULGAR)}])
    | 10[ ]?(?:\^|\*\*)[ ]?(?:\{{[ ]?(?P<pow1>[-+]?\d{{1,9}})[ ]?\}}|\(?(?P<pow2>[-+]?\d{{1,9}})\)?)
    | 10(?P<pow3>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]{{1,9}})
    | (?P<blob>{_BLOB})
      (?:
        [ ]?(?:[x×·*]|\\times|\\cdot)[ ]?10[ ]?(?:
            (?:\^|\*\*)[ ]?(?:\{{[ ]?(?P<exp1>[-+]?\d{{1,9}})[ ]?\}}|\(?(?P<exp2>[-+]?\d{{1,9}})\)?)
            |(?P<exp3>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]{{1,9}}))
      | [eE](?P<exp4>[-+]?\d{{1,9}})(?![\w.])
      | [ ]?/[ ]?(?P<den>\d[\d,]{{0,40}}(?:\.\d+)?)(?![\d/])
      )?
    )
    (?P<percent>[ ]?(?:\\?%|percent\b|per[ ]cent\b|percentage[ ]points?\b|pct\b))?
    (?P<scale>(?:[ ]|[ ]?\\text\{{[ ]?)?(?:
      (?i:hundred|thousand|million|billion|trillion|dozens?|mil|mln|bn|lakhs?|crores?)\b)|[kKM](?![\w/]))?
    """,
    re.VERBOSE,
)
_MINUS = frozenset({"-", "–", "—", "m", "n"})
"""How a sign or a word for minus begins."""
_PERCENT_WORD = re.compile(r"[ ]?(?:\\?%|percent\b|per[ ]cent\b)", re.IGNORECASE)
_CENTS = re.compile(r"(?:,?[ ]and)?[ ](\d{1,2})[ ]cents?\b")
_PLAIN = re.compile(
    r"[-+]?\d{1,15}(?:\.\d{1,15})?(?![\w.,'_/\\{}⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺½⅓⅔¼¾%^*×·-]|[ ](?:[\d/x×·*%\\^hmbtdkp½⅓⅔¼¾]|and[ ]\d))"
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with what was written around it.

    `huge` is (mantissa, power of ten) when the number is too large or too small to be written out; `value` is then 0.
    `face` is the number before a scale word "dozen" was applied.
    """

    value: Fraction
    is_percent: bool = False
    is_dozen: bool = False
    unit: Unit | None = None
    huge: tuple[int, int] | None = None

    @property
    def face(self) -> Fraction:
        """The number as written, "dozen" read as a unit."""
        return self.value / 12 if self.is_dozen else self.value


def parse_quantity(text: str) -> Quantity | None:
    """The quantity that is the whole of `text` (a number, then at most a unit), or None.

    >>> parse_quantity("1,234.50").value
    Fraction(2469, 2)
    """
    text = text.strip()
    found = scan_quantity(text, 0)
    if found is None:
        return None
    quantity, end = found
    rest = text[end:].strip()
    if rest.endswith("."):
        rest = rest[:-1].rstrip()
    return quantity if not rest else None


_COUNTED = re.compile(r"(?:[ ][A-Za-z][A-Za-z-]+){1,4}\.?")


def parse_gold(text: str) -> Quantity | None:
    """The quantity a gold answer states, with or without what is counted ("25 apples")."""
    quantity = parse_quantity(text)
    if quantity is None and (found := scan_quantity(text, 0)) and _COUNTED.fullmatch(text, found[1]):
        return found[0]
    return quantity


def scan_quantity(text: str, start: int) -> tuple[Quantity, int] | None:
    """The quantity that begins exactly at `start`, unit included, with its end; None when there is none."""
    found = _scan_digits(text, start) or _scan_words(text, start)
    if found is None:
        return None
    quantity, end = found
    quantity, end = _and_a_half(text, quantity, end) if text[start:end].isdigit() else (quantity, end)
    unit, end = find_unit(text, end)
    cents = _CENTS.match(text, end) if "dollar" in {unit and unit.name, quantity.unit and quantity.unit.name} else None
    if cents:
        whole = quantity.value + (-1 if quantity.value < 0 else 1) * Fraction(int(cents.group(1)), 100)
        quantity, end = replace(quantity, value=whole), cents.end()
    if unit is not None and quantity.unit is None:
        quantity = Quantity(quantity.value, quantity.is_percent, quantity.is_dozen, unit, quantity.huge)
    return quantity, end


def equal(gold: Quantity, answer: Quantity) -> bool:
    """Whether two quantities are the same number.

    * Numbers are compared exactly, never with a tolerance: 0.33 is not 1/3.
    * Percent: p% equals p/100. Beside that the sign is a mere unit (10% = 10) when the gold has the sign and the answer has
      none, or the answer has it and the gold is at least 1 in size; so the gold 0.5 is not 0.5%, and the gold 50 is 50%.
    * A unit on one side only is ignored; two known units must measure the same thing and are converted (100 cm = 1 m).
    * "2 dozen" equals both 24 and 2 (dozen as a unit).
    """
    if gold.huge or answer.huge:
        return gold.huge == answer.huge and gold.is_percent == answer.is_percent
    if gold.unit and answer.unit and gold.unit != answer.unit:
        if gold.unit.dimension != answer.unit.dimension or not (gold.unit.factor and answer.unit.factor):
            return False
        return gold.value * gold.unit.factor == answer.value * answer.unit.factor
    if gold.is_percent == answer.is_percent:
        return gold.value == answer.value or (gold.is_dozen != answer.is_dozen and gold.face == answer.face)
    percent, plain = (gold, answer) if gold.is_percent else (answer, gold)
    if percent.value / 100 == plain.value:
        return True
    return percent.value == plain.value and (gold.is_percent or abs(plain.value) >= 1)


def _scan_digits(text: str, start: int) -> tuple[Quantity, int] | None:
    plain = _PLAIN.match(text, start)
    if plain:
        return Quantity(Fraction(plain.group())), plain.end()
    found = _NUMBER.match(text, start)
    if found is None:
        return None
    part = found.groupdict()
    repeating = repeating_at(text, found.start("blob")) if part["blob"] else None
    if repeating:
        percent_word = _PERCENT_WORD.match(text, repeating[1])
        sign = -1 if (part["sign"] or part["sign2"] or "").strip()[:1] in _MINUS else 1
        unit = currency(part["currency"]) if part["currency"] else None
        end = percent_word.end() if percent_word else repeating[1]
        return Quantity(sign * repeating[0], percent_word is not None, unit=unit), end
    end = found.end()
    exponent = part["exp1"] or part["exp2"] or part["exp4"] or (part["exp3"] or "").translate(_SUPERSCRIPTS)
    power = part["pow1"] or part["pow2"] or (part["pow3"] or "").translate(_SUPERSCRIPTS)
    if not all(re.fullmatch(r"[-+]?\d+|", digits) for digits in (exponent, power)):
        return None
    value: Fraction | None
    if part["vulgar"]:
        value = Fraction(part["vulgar_whole"] or 0) + _VULGAR[part["vulgar"]]
    elif part["whole"]:
        value = _mixed(part["whole"], part["mn"], part["md"])
        if value is None:  # "1 and 5/2": not a mixed number
            return _scan_digits(text[: found.end("whole")], start)
    elif part["ln"] or part["ln1"]:
        value = _latex_fraction(part)
    elif power:
        value, exponent = Fraction(1), power
    else:
        blob = part["blob"]
        value = parse_decimal(blob)
        if value is None and " " in blob:  # "5 100": not groups of three after all
            return _scan_digits(text[: start + found.start("blob") - start + blob.index(" ")], start)
        if value is not None and part["den"]:
            denominator = parse_decimal(part["den"])
            value = value / denominator if denominator else None
    if value is None:
        return None
    negative = (part["sign"] or "").strip()[:1] in _MINUS or (part["sign2"] or "") in _MINUS
    if negative:
        value = -value
    scale = (part["scale"] or "").rsplit("{", 1)[-1].strip()
    word = scale.casefold().rstrip("s") if len(scale) > 1 else scale
    value *= SCALES.get(word, 1)
    unit = currency(part["currency"]) if part["currency"] else None
    percent, dozen = bool(part["percent"]), word == "dozen"
    if exponent:
        if abs(int(exponent)) > MAX_EXPONENT:
            return Quantity(Fraction(0), percent, dozen, unit, _huge(value, int(exponent))), end
        value *= Fraction(10) ** int(exponent)
    return Quantity(value, percent, dozen, unit), end


def _and_a_half(text: str, quantity: Quantity, end: int) -> tuple[Quantity, int]:
    """A whole number with the part in words behind it, if one is there ("2 and a half")."""
    joined = text.startswith(" and ", end)
    part = number_word_at(text, end + 5) if joined else None
    if part is None or not 0 < part[0] < 1 or text.startswith("half", end + 5):
        return quantity, end
    return replace(quantity, value=quantity.value + part[0]), part[1]


def _huge(value: Fraction, exponent: int) -> tuple[int, int] | None:
    """(mantissa without trailing zeros, power of ten); only decimals reach this."""
    if value == 0:
        return (0, 0)
    mantissa, power = value, exponent
    while mantissa.denominator != 1:
        if power < exponent - MAX_DIGITS:
            return (0, exponent)
        mantissa, power = mantissa * 10, power - 1
    number = mantissa.numerator
    while number % 10 == 0:
        number, power = number // 10, power + 1
    return (number, power)


def _mixed(whole: str, numerator: str, denominator: str) -> Fraction | None:
    if int(denominator) == 0 or int(numerator) >= int(denominator):
        return None
    return int(whole) + Fraction(int(numerator), int(denominator))


def _latex_fraction(part: dict[str, str | None]) -> Fraction | None:
    numerator = parse_decimal((part["ln"] or part["ln1"] or "").lstrip("-"))
    denominator = parse_decimal(part["ld"] or part["ld1"] or "")
    if numerator is None or not denominator:
        return None
    value = numerator / denominator
    if (part["ln"] or "").startswith("-"):
        value = -value
    if part["latex_whole"]:
        return int(part["latex_whole"]) + value if 0 <= value < 1 else None
    return value


def parse_decimal(blob: str) -> Fraction | None:
    """The unsigned decimal a digit string means under the separator rules, or None.

    >>> parse_decimal("1.234,5"), parse_decimal("1,23,45")
    (Fraction(2469, 2), None)
    """
    blob = blob.replace("\\! ", "\\!").replace("{,}", ",").replace(",\\!", ",").replace("\\,", ",").replace("\\!", "")
    if len(blob) > MAX_DIGITS:
        return None
    if blob.isdigit():
        return Fraction(int(blob))
    dots, commas = blob.count("."), blob.count(",")
    other = next((mark for mark in " '_" if mark in blob), "")
    is_continental = other and commas == 1 and not dots and len(blob) - blob.index(",") != 4
    if (dots > 1 and commas > 1) or (other and not is_continental and (commas or dots > 1)):
        return None
    if is_continental:  # 1 234 567,89
        thousands, decimal = other, ","
    elif dots and commas:
        thousands, decimal = (",", ".") if blob.rindex(".") > blob.rindex(",") else (".", ",")
    elif dots:
        thousands, decimal = (other, ".") if dots == 1 else (".", "")
    elif (commas == 1 and len(blob) - blob.index(",") - 1 != 3) or (commas == 1 and blob.startswith("0")):
        thousands, decimal = "", ","
    elif commas:
        thousands, decimal = ",", ""
    else:
        thousands, decimal = other, ""
    whole, _, fraction = blob.partition(decimal) if decimal else (blob, "", "")
    if thousands and thousands in whole and not _is_grouped(whole.split(thousands)):
        return None
    digits = (whole.replace(thousands, "") if thousands else whole) or "0"
    if not digits.isdigit() or (fraction and not fraction.isdigit()):
        return None
    return Fraction(int(digits + fraction), 10 ** len(fraction))


def _is_grouped(groups: list[str]) -> bool:
    """Whether digit groups are thousands (1,234,567) or Indian (12,34,567)."""
    first, *middle, last = groups
    if len(last) != 3 or not 1 <= len(first) <= 3:
        return False
    return all(len(group) == 3 for group in middle) or (len(first) <= 2 and all(len(group) == 2 for group in middle))


def _scan_words(text: str, start: int) -> tuple[Quantity, int] | None:
    if not text[start : start + 1].isalpha():
        return None
    found = number_word_at(text, start)
    if found is None:
        return None
    value, end, is_dozen = found
    percent = _PERCENT_WORD.match(text, end)
    return Quantity(value, percent is not None, is_dozen), percent.end() if percent else end
