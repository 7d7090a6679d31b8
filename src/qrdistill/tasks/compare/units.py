"""Units that may follow a number, so that "5 cm" can be told from "5 m" and "100 cm" known as "1 m"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Unit:
    """What is measured and how large the unit is in that dimension. A factor of 0 means: not convertible."""

    dimension: str
    factor: Fraction
    name: str = ""


_TABLE: dict[str, dict[str, str]] = {
    "length": {
        "mm millimeter millimeters millimetre millimetres": "1/1000",
        "cm centimeter centimeters centimetre centimetres": "1/100",
        "m meter meters metre metres": "1",
        "km kilometer kilometers kilometre kilometres": "1000",
        "inch inches": "0.0254",
        "ft foot feet": "0.3048",
        "yd yard yards": "0.9144",
        "mile miles mi": "1609.344",
    },
    "mass": {
        "mg milligram milligrams": "1/1000",
        "g gram grams": "1",
        "kg kilogram kilograms kilos kilo": "1000",
        "ounce ounces oz": "28.349523125",
        "lb lbs pound-mass": "453.59237",
        "ton tons tonne tonnes": "0",
    },
    "time": {
        "s sec secs second seconds": "1",
        "min mins minute minutes": "60",
        "h hr hrs hour hours": "3600",
        "day days": "86400",
        "week weeks": "604800",
        "month months": "0",
        "year years yr yrs": "0",
    },
    "volume": {
        "ml mL milliliter milliliters millilitre millilitres": "1/1000",
        "l L liter liters litre litres": "1",
        "gallon gallons": "0",
    },
    "currency": {
        "dollar dollars bucks USD": "1",
        "cent cents": "1/100",
        "euro euros EUR": "0",
        "£": "0",
        "yen": "0",
        "rupee rupees": "0",
    },
    "angle": {"degree degrees ° ^\\circ ^{\\circ} \\degree ^\\degree": "1", "radian radians rad": "0"},
    "temperature": {"°C": "0", "°F": "0"},
    "speed": {"mph": "0", "km/h kmh kph": "0", "m/s": "0"},
}
_CURRENCY_SIGNS = {"$": "dollar", "€": "euro", "£": "£", "¥": "yen", "₹": "rupee"}


def _units() -> dict[str, Unit]:
    return {
        spelling: Unit(dimension, Fraction(factor), spellings.split()[0])
        for dimension, rows in _TABLE.items()
        for spellings, factor in rows.items()
        for spelling in spellings.split()
    }


UNITS = _units()
_POWER = re.compile(r"[ ]?(?:\^\{?(?P<caret>[23])\}?|(?P<raised>[²³]))")
_UNIT = re.compile(
    r"[ ]?(?:\\[,; ~]|~)*[ ]?(?:\\(?:text|mathrm|textrm|rm|mbox)\{[ ]?)?(?P<prefix>(?:square|sq\.?|cubic|cu\.?)[ ])?(?P<unit>"
    + "|".join(re.escape(spelling) for spelling in sorted(UNITS, key=len, reverse=True))
    + r"|[€¥₹])(?![A-Za-z])\.?(?P<close>[ ]?\})?"
)


def find_unit(text: str, start: int) -> tuple[Unit | None, int]:
    """The known unit written at `start` and its end; (None, start) when there is none."""
    found = _UNIT.match(text, start)
    if found is None:
        return None, start
    spelling, end = found.group("unit"), found.end()
    if text[end - 1 : end] == "." and not found.group("close"):
        end -= 1  # the stop belongs to the sentence
    power = _POWER.match(text, end)
    dimension = 1
    if power:
        dimension, end = int((power.group("caret") or power.group("raised")).translate({178: "2", 179: "3"})), power.end()
    prefix = found.group("prefix") or ""
    if prefix:
        dimension = 2 if prefix.startswith("s") else 3
    return _raised(_CURRENCY_SIGNS.get(spelling, spelling), dimension), end


@lru_cache(maxsize=512)
def _raised(spelling: str, power: int) -> Unit:
    unit = UNITS[spelling]
    return unit if power == 1 else Unit(f"{unit.dimension}^{power}", unit.factor**power, f"{unit.name}^{power}")


def currency(sign: str) -> Unit:
    """The unit a currency sign before a number stands for."""
    sign = sign.replace("\\", "").replace(" ", "").rstrip(".")
    spelling = "dollar" if sign in {"US$", "USD"} else _CURRENCY_SIGNS.get(sign, sign)
    return UNITS.get(spelling) or Unit("currency", Fraction(0), sign)
