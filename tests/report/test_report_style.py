"""The style sheet: every text can be read in both themes, and every line of a chart can be seen."""

from __future__ import annotations

import re
from importlib import resources
from itertools import product

import pytest

STYLE = resources.files("qrdistill.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
LIGHT, DARK = (dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block)) for block in STYLE.split("@media", 2)[:2])


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    bright, dim = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(theme: dict[str, str]) -> None:
    texts = [*product(("ink", "soft", "accent", "good", "bad"), ("paper", "raised"))]
    texts += [("good", "good-back"), ("bad", "bad-back"), ("ink", "good-back"), ("ink", "bad-back"), ("warn", "warn-back")]
    texts += [("h-dark", f"h{step}") for step in range(6)]
    texts += [("h6-ink", "h6"), *(("h-light", f"h{step}") for step in range(7, 10))]
    low = {pair: round(contrast(theme[pair[0]], theme[pair[1]]), 2) for pair in texts}
    assert {pair: value for pair, value in low.items() if value < 4.5} == {}
    shapes = {name: round(contrast(theme[name], theme["paper"]), 2) for name in [*(f"c{n}" for n in range(8)), "bar0", "focus"]}
    assert {name: value for name, value in shapes.items() if value < 3} == {}


def test_both_themes_define_the_same_colours() -> None:
    assert LIGHT.keys() == DARK.keys()


def test_nothing_is_loaded_and_nothing_can_end_its_element() -> None:
    script = resources.files("qrdistill.report").joinpath("templates", "report.js").read_text(encoding="utf-8")
    for text in (STYLE, script):
        assert not re.search(r"https?:|url\(|@import|</|<!--", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|fetch\(|XMLHttp", script)
