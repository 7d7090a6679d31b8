"""Claims in words that can be re-computed: divisibility, facts of the world, weekdays."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from math import gcd

from qrdistill.quality.step_checker.finding import Finding, is_asserted
from qrdistill.tasks.facts import LEGS, MONTH_DAYS, UNITS, WEEKDAYS, plural

_NUMBER_WORDS = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6} | {
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "twelve": 12,
}
_PLAIN = r"\d+(?:,\d{3})*(?!\d)"
_INT = rf"(-?{_PLAIN}(?!\.\d))"
_COUNT = rf"(\d+|{'|'.join(_NUMBER_WORDS)}|no)"
_ANIMALS = {name: legs for animal, legs in LEGS.items() for name in (animal, plural(animal))}
_ANIMAL = "|".join(sorted(map(re.escape, _ANIMALS), key=len, reverse=True))
_UNIT_NAMES = {
    name: unit for pair in UNITS for unit in pair for name in ((unit, plural(unit)) if unit != "century" else (unit, "centuries"))
}
_UNIT = "|".join(sorted(_UNIT_NAMES, key=len, reverse=True))
_DAY = "|".join(WEEKDAYS)
_LIST = rf"({_PLAIN}(?:(?:, and |, | and ){_PLAIN})*)"

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str | None]]
"""A pattern, and a check that returns "" for a true claim, what is right for a false one, None when it does not apply."""


def check_claims(text: str) -> list[Finding]:
    """Check every claim in words.

    >>> sorted(finding.is_true for finding in check_claims("A spider has 6 legs. 12 is divisible by 4."))
    [False, True]
    """
    return list(_findings(text))


def _findings(text: str) -> Iterator[Finding]:
    for pattern, check in RULES:
        for match in pattern.finditer(text):
            reason = check(match) if is_asserted(text, *match.span()) else None
            if reason is not None:
                yield Finding(quote=match.group().strip(), is_true=not reason, reason=reason)


def _whole(text: str) -> int:
    return int(text.replace(",", ""))


def _numbers(text: str) -> list[int]:
    return [_whole(part) for part in re.findall(_PLAIN, text)]


def _count(text: str) -> int:
    lowered = text.lower()
    return 0 if lowered == "no" else _NUMBER_WORDS[lowered] if lowered in _NUMBER_WORDS else int(lowered)


def _divisible(match: re.Match[str]) -> str | None:
    number, negation, divisor = _whole(match[1]), match[2], _whole(match[3])
    return _divides(divisor, number, bool(negation))


def _divides(divisor: int, number: int, is_negated: bool) -> str | None:
    if divisor == 0:
        return None
    holds = number % divisor == 0
    return "" if holds != is_negated else f"{number} leaves {number % divisor} on division by {divisor}"


def _divisor_of_all(match: re.Match[str]) -> str | None:
    divisor, is_negated = _whole(match[1]), bool(match[2])
    numbers = _numbers(match[3])
    if is_negated and len(numbers) > 1:
        return None
    return next((reason for number in numbers if (reason := _divides(divisor, number, is_negated))), "")


def _divisors(match: re.Match[str]) -> str | None:
    number, listed = _whole(match[1]), _numbers(match[2])
    if number > 10**6 or not number:
        return None
    true = [d for d in range(1, number + 1) if number % d == 0] if number <= 10**4 else []
    wrong = [d for d in listed if d == 0 or number % d]
    if wrong:
        return f"{wrong[0]} does not divide {number}"
    return "" if not true or set(listed) == set(true) or len(listed) < 2 else f"the divisors of {number} are {true}"


def _gcd(match: re.Match[str]) -> str | None:
    numbers = _numbers(match[1])
    return "" if gcd(*numbers) == _whole(match[2]) else f"the gcd of {match[1]} is {gcd(*numbers)}"


def _ends_in(match: re.Match[str]) -> str | None:
    return "" if match[1].endswith(match[2]) else f"{match[1]} ends in {match[1][-len(match[2]) :]}"


def _parity(match: re.Match[str]) -> str | None:
    number = _whole(match[1])
    is_even = number % 2 == 0
    claimed = (match[3].lower() == "even") != bool(match[2])
    return "" if claimed == is_even else f"{number} is {'even' if is_even else 'odd'}"


def _leap(match: re.Match[str]) -> str | None:
    year = int(match[1])
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    claimed = not match[2]
    return "" if claimed == is_leap else f"{year} is {'a' if is_leap else 'no'} leap year"


def _legs(match: re.Match[str]) -> str | None:
    animal, legs = match["animal"].lower(), _count(match["count"])
    return "" if _ANIMALS[animal] == legs else f"{animal}: {_ANIMALS[animal]} legs"


def _unit(match: re.Match[str]) -> str | None:
    whole, part = _UNIT_NAMES[match["whole"].lower()], _UNIT_NAMES[match["part"].lower()]
    true = UNITS.get((whole, part))
    return None if true is None else "" if _count(match["count"]) in true else f"a {whole} has {true[0]} {plural(part)}"


def _month(match: re.Match[str]) -> str | None:
    true = MONTH_DAYS[match["month"].capitalize()]
    return "" if int(match["count"]) in true else f"{match['month']} has {true[0]} days"


def _shifted(match: re.Match[str]) -> str | None:
    """N days after DAY is DAY, or the days in between are counted up to it."""
    count, start = _count(match["count"]), WEEKDAYS.index(match["start"].capitalize())
    step = -1 if match["way"].lower().startswith(("before", "earlier")) else 1
    named = [WEEKDAYS.index(day.capitalize()) for day in re.findall(_DAY, match["end"], re.IGNORECASE)]
    if len(named) == 1:
        expected = [(start + step * count) % 7]
    elif len(named) == count:
        expected = [(start + step * n) % 7 for n in range(1, count + 1)]
    else:
        return f"{len(named)} days are counted, not {count}"
    return "" if named == expected else f"it is {WEEKDAYS[(start + step * count) % 7]}"


def _neighbour(match: re.Match[str]) -> str | None:
    first, second = (WEEKDAYS.index(match[key].capitalize()) for key in ("first", "second"))
    step = 1 if match["way"].lower() in ("after", "follows") else -1
    return "" if (first - second - step) % 7 == 0 else f"{match['first']} is not the day {match['way']} {match['second']}"


def _rule(pattern: str, check: Callable[[re.Match[str]], str | None]) -> Rule:
    return re.compile(pattern, re.IGNORECASE), check


RULES: tuple[Rule, ...] = (
    _rule(rf"(?<![\d*/+-] )(?<![\d.]){_INT} (?:is|are) (not )?(?:evenly )?divisible by {_INT}\b", _divisible),
    _rule(rf"(?<![\d*/+-] )(?<![\d.]){_INT} is (not )?a multiple of {_INT}\b", _divisible),
    _rule(
        rf"(?<![\d.*/+-] )(?<![\d.]){_INT} (?:also )?(?:divides|(does not|doesn't|cannot) divide) (?:both )?{_LIST}",
        _divisor_of_all,
    ),
    _rule(rf"\b(?:divisors|factors) of {_INT}(?: are|:| =)? {_LIST}", _divisors),
    _rule(rf"\b(?:gcd|GCD)\({_LIST}\) (?:=|is) {_INT}", _gcd),
    _rule(rf"\b(?:gcd|greatest common divisor) of {_LIST} is {_INT}", _gcd),
    _rule(r"\b([12]\d{3}) is (?:(not|no) )?(?:a )?leap year", _leap),
    _rule(r"(?<![\d.])(\d+) ends (?:in|with) (\d+)\b", _ends_in),
    _rule(rf"(?<![\d.*/+-] )(?<![\d.]){_INT} is (not )?(?:an )?(even|odd)\b", _parity),
    _rule(
        rf"\b(?:an?|each|every|one|1) (?P<animal>{_ANIMAL}) has (?:exactly )?{_COUNT.replace('(', '(?P<count>', 1)} legs?\b",
        _legs,
    ),
    _rule(rf"(?<!\d )\b(?P<animal>{_ANIMAL}) have {_COUNT.replace('(', '(?P<count>', 1)} legs each\b", _legs),
    _rule(
        rf"\b(?:an?|each|every|one|1) (?P<whole>{_UNIT}) (?:has|is|contains|equals) "
        rf"{_COUNT.replace('(', '(?P<count>', 1)} (?P<part>{_UNIT})\b",
        _unit,
    ),
    _rule(
        rf"(?<!before )(?<!after )\b(?P<month>{'|'.join(MONTH_DAYS)}) (?:only )?has (?:only |just )?(?P<count>\d+) days\b",
        _month,
    ),
    _rule(
        rf"\b{_COUNT.replace('(', '(?P<count>', 1)} (?:more )?days? (?P<way>after|before) (?P<start>{_DAY})"
        rf"(?: is| comes|:| we get)?:? (?P<end>(?:{_DAY})(?:(?:, and |, | and )(?:{_DAY}))*)\b",
        _shifted,
    ),
    _rule(
        rf"\b(?P<first>{_DAY}) (?:comes |is (?:the day |right )?)?(?P<way>after|before|follows) (?P<second>{_DAY})\b", _neighbour
    ),
)
"""Every claim in words that is checked."""
