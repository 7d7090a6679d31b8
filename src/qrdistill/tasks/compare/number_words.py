"""Numbers written in words: "twenty-one", "three thousand two hundred", "two thirds", "one and a half", "a dozen"."""

from __future__ import annotations

import re
from fractions import Fraction

SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "k": 10**3,
    "M": 10**6,
    "mil": 10**6,
    "mln": 10**6,
    "bn": 10**9,
    "lakh": 10**5,
    "crore": 10**7,
    "K": 10**3,
}
_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_WORDS = {word: index for index, word in enumerate(_ONES)} | {
    word: 10 * index
    for index, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2)
}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10,
    "twelfth": 12, "hundredth": 100, "thousandth": 1000, "millionth": 10**6,
}  # fmt: skip
_ANY = "|".join([*sorted(_WORDS, key=len, reverse=True), "hundred", "thousand", "million", "billion", "trillion", "dozen"])
_PART = "|".join(part if part == "halves" else f"{part}s?" for part in _PARTS)
_NUMBER = re.compile(
    rf"(?:(?P<minus>minus|negative)[ ])?(?:"
    rf"(?P<count>a|one|two|three|four|five|six|seven|eight|nine|ten"
    rf"|eleven)[ -](?P<part>{_PART})\b(?![ ](?:of[ ](?:the[ ])?)?(?:option|choice|day|row|time|grade|floor|place|month|week"
    rf"|year|person)\b)"
    rf"|(?P<half>half)(?![ ]an?\b)\b"
    rf"|(?P<words>(?:a[ ](?=hundred|thousand|million|billion|dozen))?(?:{_ANY})\b(?:(?:[ -]|[ ]and[ ])(?:{_ANY})\b){{0,14}})"
    rf"(?:[ ]and[ ](?P<extra>a[ ]half|(?:a|one|two|three)[ -](?:{_PART}))\b(?:[ ](?P<after>thousand|million|billion))?)?"
    rf"|(?P<half_a>half[ ]a)[ ](?P<scale>dozen|million|billion|thousand|hundred)\b)",
    re.IGNORECASE,
)


def number_word_at(text: str, start: int) -> tuple[Fraction, int, bool] | None:
    """(value, end, counts dozens) of the number words that begin at `start`, or None.

    >>> number_word_at("three thousand two hundred legs", 0)
    (Fraction(3200, 1), 26, False)
    """
    found = _NUMBER.match(text, start)
    if found is None:
        return None
    if found.group("half"):
        value: Fraction | None = Fraction(1, 2)
    elif found.group("part"):
        value = _part(found.group("count"), found.group("part"))
    elif found.group("half_a"):
        value = Fraction(SCALES[found.group("scale").casefold()], 2)
    else:
        value = _words(re.split(r"[ -]+", found.group("words").casefold()))
        extra = found.group("extra")
        if value is not None and extra:
            count, _, part = extra.replace("-", " ").partition(" ")
            value = (value + _part(count, part)) * SCALES.get((found.group("after") or "").casefold(), 1)
    if value is None:
        return None
    is_dozen = "dozen" in found.group().casefold()
    return -value if found.group("minus") else value, found.end(), is_dozen


def _part(count: str, part: str) -> Fraction:
    name = part.casefold()
    number = 1 if count.casefold() == "a" else _WORDS[count.casefold()]
    return Fraction(number, _PARTS.get(name) or _PARTS[name.rstrip("s")])


def _words(words: list[str]) -> Fraction | None:
    """The value of number words, or None for a row of words that is no number ("five six")."""
    total, group, last = 0, 0, 10**15
    is_open = False
    for word in words:
        if word in {"and", "a"}:
            continue
        if word in _WORDS:
            number = _WORDS[word]
            fits = group % 100 == 0 or (group % 10 == 0 and group % 100 >= 20 and number < 10)
            if is_open and not fits:
                return None
            group, is_open = group + number, True
        elif word in {"hundred", "dozen"}:
            group, is_open = (group if is_open else 1) * SCALES[word], True
        else:
            if SCALES[word] >= last:
                return None
            last = SCALES[word]
            total, group, is_open = total + (group if is_open else 1) * last, 0, False
    return Fraction(total + group)
