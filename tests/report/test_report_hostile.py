"""Hostile text in every field stays text: in the page's markup, in Markdown, terminal and figures (see also the browser test)."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from qrdistill.report import explain, render_show, render_text, show, write_report
from qrdistill.report.blocks import Prose, Section
from qrdistill.report.figures import Line, line_chart, range_chart, stacked_bars
from qrdistill.report.markdown import escaped, fenced
from qrdistill.report.page import render_page
from qrdistill.report.text import marked, visible
from qrdistill.store import Run
from qrdistill.types import Question
from report.hostile import BAIT, PAYLOADS, build_hostile_run, text_fields

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_TAGS = """
html head meta link title style body a header p h1 h2 h3 nav ul ol li main section dl div dt dd span figure figcaption svg desc
line text circle polyline rect details summary table caption thead tbody tr th td pre label input select option button
noscript footer script bdi
"""
_ATTRIBUTES = """
lang charset http-equiv content name rel href id tabindex class role scope type value hidden aria-labelledby aria-describedby
aria-label aria-hidden aria-live autocomplete spellcheck placeholder xmlns viewbox x y x1 x2 y1 y2 cx cy r points width height
text-anchor
"""
TAGS, ATTRIBUTES = set(_TAGS.split()), set(_ATTRIBUTES.split())


class Reader(HTMLParser):
    """Notes every tag and attribute a browser would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = build_hostile_run(tmp_path_factory.mktemp("runs") / "hostile")
    write_report([run])
    return run


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return (run.folder / "report.html").read_bytes().decode("utf-8")


def test_the_payloads_stand_in_every_text_field() -> None:
    assert len(PAYLOADS) == 400
    assert len(text_fields()) >= 12


def test_only_our_own_tags_and_attributes(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert set(reader.tags) <= TAGS
    assert {name for _, name, _ in reader.attributes} <= ATTRIBUTES
    assert page.count("<style>") == 1
    assert len(re.findall(r"<script>", page)) == 1
    links = {value for _, name, value in reader.attributes if name == "href"}
    assert all(link.startswith("#") or link == "data:," for link in links)


def test_the_policy_allows_only_our_own_script_and_style(page: str) -> None:
    import hashlib

    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = policy[1].replace("&#39;", "'")
    for tag in ("style", "script"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert inside is not None
        digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in rules
    assert rules.startswith("default-src 'none'; ")
    assert "unsafe" not in rules


def test_no_unseen_character_anywhere(run: Run, page: str) -> None:
    assert UNSEEN.search(page) is None
    assert UNSEEN.search((run.folder / "report.md").read_bytes().decode("utf-8")) is None
    for packed in re.findall(r'id="qrd-(?:index|block-\d+)">"([^"]*)"<', page):
        assert UNSEEN.search(zlib.decompress(base64.b64decode(packed)).decode("utf-8")) is None


def test_the_embedded_data_says_the_same_as_the_ledger(run: Run, page: str) -> None:
    packed = re.search(r'id="qrd-index">"([^"]*)"<', page)
    assert packed is not None
    index = json.loads(zlib.decompress(base64.b64decode(packed[1])))
    by_id = {visible(q.id): visible(q.text) for q in run.ledger.all(Question)}
    assert dict(zip(index["id"], index["text"], strict=True)) == by_id


def test_markdown_shows_and_never_obeys(run: Run) -> None:
    text = (run.folder / "report.md").read_text(encoding="utf-8")
    outside, fence = [], ""
    for line in text.split("\n"):
        opened = re.match(r"(`{3,})", line)
        if fence:
            fence = "" if line == fence else fence
        elif opened:
            fence = opened[1]
        else:
            outside.append(line)
    assert fence == ""
    for line in outside:
        bare = re.sub(r"\\.", "", line)
        assert not re.search(r"[<>\[\]]", bare), line
        assert not re.search(r"(?i)https?:|www\.", bare), line


@pytest.mark.parametrize("payload", PAYLOADS[:40])
def test_markdown_of_one_field(payload: str) -> None:
    assert "\n" not in escaped(payload)
    assert not re.search(r"[<>|`\[\]]", re.sub(r"\\.", "", escaped(payload)))
    inside = fenced(payload).split("\n")
    assert inside[-1] not in inside[1:-1]


def test_the_terminal_gets_no_control_character(run: Run) -> None:
    for question in run.ledger.all(Question)[:40]:
        sink = io.StringIO()
        console = Console(file=sink, width=100, color_system=None, force_terminal=False)
        console.print(render_text(explain(run, question.id)))
        assert UNSEEN.search(sink.getvalue()) is None
        assert "[bold]" in sink.getvalue() or "[bold]" not in question.text
    sink = io.StringIO()
    Console(file=sink, width=100, color_system=None).print(render_show(show(run)))
    assert UNSEEN.search(sink.getvalue()) is None


@pytest.mark.parametrize("payload", PAYLOADS[:40])
def test_figures_and_prose(payload: str) -> None:
    drawn = [
        line_chart(payload, payload, [Line(payload, (1.0, 2.0), (1.0, 2.0)), Line(payload, (1.0,), (3.0,))]),
        stacked_bars(payload, [payload], [(payload, [3])], payload),
        range_chart(payload, [(payload, [])], before=payload, after=payload),
    ]
    section = Section("x", payload, (Prose(payload, "warning"),))
    texts = [figure.svg for figure in drawn] + [render_page(payload, [payload], [payload], [section], None)]
    for text in texts:
        reader = Reader()
        reader.feed(text)
        assert set(reader.tags) <= TAGS
        assert {name for _, name, _ in reader.attributes} <= ATTRIBUTES
        assert UNSEEN.search(text) is None
        assert reader.tags["script"] <= 1


def test_marks_lose_no_text() -> None:
    for payload in PAYLOADS:
        for span in ((0, 3), (-1, -1), (2, 10_000), (5, 2)):
            pieces = marked(payload + "tail", answer=span, step="tail")
            assert "".join(piece for piece, _ in pieces) == payload + "tail"


def test_bait_addresses_stay_words(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert {name for _, name, value in reader.attributes if BAIT in value} <= {"aria-label"}


def test_a_report_can_be_written_twice(run: Run, tmp_path: Path) -> None:
    again = build_hostile_run(tmp_path / "again")
    write_report([again])
    assert (again.folder / "report.html").read_bytes() == (run.folder / "report.html").read_bytes()
