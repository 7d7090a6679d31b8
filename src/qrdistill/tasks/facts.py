"""World facts the question families rest on; the step checker holds every path against the same tables."""

from __future__ import annotations

LEGS: dict[str, int] = {
    **dict.fromkeys(("snake", "sea slug", "jellyfish", "flatworm", "leech"), 0),
    **dict.fromkeys(("chicken", "bird", "human", "duck"), 2),
    **dict.fromkeys(("dog", "cat", "cow", "horse", "lion", "elephant", "giraffe", "tiger", "deer", "sheep"), 4),
    "starfish": 5,
    **dict.fromkeys(("insect", "ant", "butterfly", "beetle", "bee", "wasp", "grasshopper", "cricket"), 6),
    **dict.fromkeys(("cockroach", "praying mantis", "firefly"), 6),
    **dict.fromkeys(("spider", "scorpion"), 8),
    **dict.fromkeys(("crab", "lobster", "shrimp"), 10),
    "woodlouse": 14,
}
"""Legs (a starfish: arms) of an animal, as the generator counts them."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

MONTH_DAYS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("January", "March", "May", "July", "August", "October", "December"), (31,)),
    **dict.fromkeys(("April", "June", "September", "November"), (30,)),
    "February": (28, 29),
}
"""How many days a month can have."""

UNITS: dict[tuple[str, str], tuple[int, ...]] = {
    ("minute", "second"): (60,),
    ("hour", "minute"): (60,),
    ("day", "hour"): (24,),
    ("week", "day"): (7,),
    ("year", "month"): (12,),
    ("year", "week"): (52,),
    ("year", "day"): (365, 366),
    ("leap year", "day"): (366,),
    ("decade", "year"): (10,),
    ("century", "year"): (100,),
    ("dozen", "item"): (12,),
}
"""How many of the second make one of the first."""

_IRREGULAR = {"woodlouse": "woodlice", "praying mantis": "praying mantises"}
_UNCHANGED = ("sheep", "deer", "shrimp", "jellyfish", "starfish")


def plural(noun: str) -> str:
    """The plural of an animal or unit.

    >>> [plural("spider"), plural("sheep"), plural("firefly"), plural("leech")]
    ['spiders', 'sheep', 'fireflies', 'leeches']
    """
    if noun in _UNCHANGED:
        return noun
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("ch", "sh", "s", "x")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def article(noun: str) -> str:
    """A noun with its indefinite article.

    >>> article("ant")
    'an ant'
    """
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
