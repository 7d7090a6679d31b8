"""The report in a real browser: nothing complains, nothing is loaded, everything works, hostile text stays text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrdistill.report import write_report
from qrdistill.store import Run
from qrdistill.types import FilterDecision
from report.chromium import Page, find_chromium
from report.hostile import build_hostile_run
from report.synthetic import Size, build_run

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no chromium on the PATH")
OUTSIDE = """[...document.querySelectorAll('svg text')].filter((text) => {
  const all = text.ownerSVGElement.getBoundingClientRect(), one = text.getBoundingClientRect();
  return one.left < all.left - 1 || one.right > all.right + 1 || one.top < all.top - 1 || one.bottom > all.bottom + 1;
}).map((text) => text.textContent)"""
READY = "document.documentElement.dataset.browser === 'ready'"
PHONE = {"width": 360, "height": 740}
LOOKS: list[dict[str, object]] = [{}, {"is_dark": True}, {**PHONE}, {**PHONE, "is_dark": True}]
LOOK_NAMES = ["light", "dark", "phone", "dark phone"]
AXE = Path(os.environ.get("QRDISTILL_AXE", "node_modules/axe-core/axe.min.js"))
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = build_run(tmp_path_factory.mktemp("runs") / "toy", Size(train=40, test=30))
    write_report([run])
    return run


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Open]:
    pages: list[Page] = []

    def open_one(path: Path, **options: object) -> Page:
        program = find_chromium()
        assert program is not None
        page = Page(program, tmp_path / f"profile{len(pages)}", **options)  # type: ignore[arg-type]
        pages.append(page)
        page.open(path)
        page.wait(READY)
        return page

    yield open_one
    for page in pages:
        page.close()


def assert_quiet(page: Page, path: Path) -> None:
    assert page.complaints() == []
    assert page.requests() == [path.resolve().as_uri()]
    assert page.run("performance.getEntriesByType('resource').length") == 0


def status(page: Page) -> str:
    return str(page.run("document.getElementById('q-status').textContent"))


def choose(page: Page, **values: str) -> None:
    """Set fields by id and tell the page."""
    for name, value in values.items():
        page.run(
            f"(() => {{ const field = document.getElementById('q-{name}'); field.value = {value!r};"
            "field.dispatchEvent(new Event(field.tagName === 'INPUT' ? 'input' : 'change')); return field.value })()"
        )


def option(page: Page, name: str, text: str) -> str:
    """The value of the option that reads so."""
    found = page.run(f"[...document.getElementById('q-{name}').options].find((o) => o.textContent === {text!r})?.value")
    assert found is not None, text
    return str(found)


def test_search_filters_and_paging(run: Run, open_page: Open) -> None:
    path = run.folder / "report.html"
    page = open_page(path)
    assert status(page) == "144 of 144 questions, page 1 of 8"
    page.run("document.getElementById('q-next').click()")
    assert status(page) == "144 of 144 questions, page 2 of 8"
    assert page.run("document.activeElement.closest('#q-list') !== null"), "the focus follows to the new page"
    choose(page, text="chain_sum-test-00007")
    page.wait("document.getElementById('q-status').textContent.startsWith('1 of')")
    page.run("document.querySelector('#q-list h3 button').click()")
    page.wait("document.querySelectorAll('.panel .answers article').length === 4")
    page.run("document.getElementById('q-reset').click()")
    page.wait("document.getElementById('q-status').textContent.startsWith('144 of')")
    dropped = {d.question_id for d in run.ledger.all(FilterDecision, "reason = 'judge' AND style = 'cot'")}
    choose(page, outcome=option(page, "outcome", "dropped: judge"), style=option(page, "style", "cot"))
    page.wait(f"document.getElementById('q-status').textContent.startsWith('{len(dropped)} of')")
    choose(page, text="no such words anywhere")
    page.wait("document.getElementById('q-status').textContent.startsWith('No question fits')")
    assert_quiet(page, path)


def test_searching_inside_paths(run: Run, open_page: Open) -> None:
    path = run.folder / "report.html"
    page = open_page(path)
    choose(page, text="print(legs)")
    page.wait("document.getElementById('q-status').textContent.startsWith('No question fits')")
    choose(page, where="all")
    page.wait("document.getElementById('q-status').textContent.startsWith('84 of')")
    assert_quiet(page, path)


def test_students_filter_agrees_with_the_answers(run: Run, open_page: Open) -> None:
    page = open_page(run.folder / "report.html")
    sql = (
        "SELECT count(*) FROM predictions a JOIN predictions b USING (question_id, student) WHERE a.student = 'smollm2' "
        "AND a.arm = 'zero_shot' AND b.arm = 'trained' AND a.verdict != 'match' AND b.verdict = 'match'"
    )
    number = run.ledger.execute(sql)[0][0]
    assert 0 < number < 84, "the filter must have something to show and something to hide"
    choose(page, result=option(page, "result", "smollm2: newly right"))
    page.wait(f"document.getElementById('q-status').textContent.startsWith('{number} of')")


def test_keyboard_alone_reaches_a_path_with_its_failing_step(run: Run, open_page: Open) -> None:
    path = run.folder / "report.html"
    page = open_page(path)
    page.press("Tab", 9)
    assert page.run("document.activeElement.textContent") == "Skip to the report"
    choose(page, outcome=option(page, "outcome", "dropped: judge"))
    page.run("document.querySelector('#q-list h3 button').focus()")
    page.press("Enter", 13)
    page.wait("document.querySelector('.panel .m-step') !== null")
    assert page.run("document.querySelector('#q-list h3 button').getAttribute('aria-expanded')") == "true"
    step = page.run("document.querySelector('.m-step').childNodes[1].textContent")
    assert "* 4 =" in step
    assert "answer read" in page.run("document.querySelector('.m-answer').textContent")
    assert page.run("document.querySelector('.panel table.routes th[scope=row]') !== null")
    assert_quiet(page, path)


@pytest.mark.parametrize("options", LOOKS, ids=LOOK_NAMES)
def test_themes_and_sizes(run: Run, open_page: Open, options: dict[str, object]) -> None:
    path = run.folder / "report.html"
    page = open_page(path, **options)
    assert page.run("document.documentElement.scrollWidth <= innerWidth"), "the page itself never scrolls sideways"
    assert page.run(OUTSIDE) == [], "no text of a figure leaves its drawing"
    bright = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128")
    assert bright is not bool(options.get("is_dark"))
    assert_quiet(page, path)


def violations(page: Page) -> list[str]:
    """Serious violations that axe-core finds with everything unfolded."""
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    page.run("document.querySelectorAll('#q-list h3 button').forEach((b, i) => { if (i < 2) b.click() })")
    page.run(AXE.read_text(encoding="utf-8") + ";1")
    serious = "(r) => r.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) => v.id)"
    return list(page.run(f"axe.run().then({serious})"))


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not there: npm install axe-core, or set QRDISTILL_AXE")
@pytest.mark.parametrize("options", LOOKS, ids=LOOK_NAMES)
def test_axe_finds_nothing_serious(run: Run, open_page: Open, options: dict[str, object]) -> None:
    page = open_page(run.folder / "report.html", **options)
    assert violations(page) == []
    page.run("document.getElementById('q-text').removeAttribute('placeholder')")
    page.run("document.querySelector('label:has(#q-text)').replaceWith(document.getElementById('q-text'))")
    assert violations(page) == ["label"], "a field without a name is seen"


WRONG_EDGES = """[...document.querySelectorAll('.scroll')].filter((scroll) => {
  const shown = (side) => {
    const style = getComputedStyle(scroll.parentNode, side);
    return style.content !== 'none' && style.opacity === '1';
  };
  const hidden = scroll.scrollWidth - scroll.clientWidth, first = scroll.querySelector('tbody th:first-child');
  const keepsFirst = first && matchMedia('(max-width: 30rem)').matches;
  const before = keepsFirst ? getComputedStyle(first).backgroundImage !== 'none' : shown('::before');
  return before !== (scroll.scrollLeft > 1) || shown('::after') !== (scroll.scrollLeft < hidden - 1)
    || (scroll.tabIndex === 0) !== (hidden > 1) || / scrolls sideways$/.test(scroll.getAttribute('aria-label')) !== (hidden > 1);
}).map((scroll) => scroll.getAttribute('aria-label'))"""
"""Tables whose hint, place among the Tab key's stops or name does not fit to which of their columns are out of sight."""


@pytest.mark.parametrize("options", [*LOOKS, {"width": 620}], ids=[*LOOK_NAMES, "tablet"])
def test_a_table_that_scrolls_says_so_on_the_side_it_hides(run: Run, open_page: Open, options: dict[str, object]) -> None:
    page = open_page(run.folder / "report.html", **options)
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    page.run("document.querySelector('#q-list h3 button').click()")
    page.wait("document.querySelector('.panel .scroll table.routes') !== null")
    if "width" in options:
        assert page.run("[...document.querySelectorAll('.scroll')].filter((s) => s.scrollWidth > s.clientWidth + 1).length") > 3
    for place in ("0", "s.scrollWidth / 2 - s.clientWidth / 2", "s.scrollWidth"):
        page.run(f"document.querySelectorAll('.scroll').forEach((s) => {{ s.scrollLeft = {place} }})")
        page.wait(f"{WRONG_EDGES}.length === 0")
    page.run("document.querySelector('.edges').toggleAttribute('data-after')")
    assert len(page.run(WRONG_EDGES)) == 1, "a hint that is wrong is seen"


def test_the_keyboard_scrolls_a_table_whose_columns_are_hidden(run: Run, open_page: Open) -> None:
    page = open_page(run.folder / "report.html", width=360, height=740)
    page.wait("document.querySelector('.edges[data-after] .scroll') !== null")
    page.run("document.querySelector('.edges[data-after] .scroll').focus()")
    assert page.run("document.activeElement.getAttribute('role')") == "region"
    page.press("ArrowRight", 39)
    page.wait("document.activeElement.scrollLeft > 0 && document.activeElement.parentNode.hasAttribute('data-before')")


def test_hostile_text_is_never_active(tmp_path: Path, open_page: Open) -> None:
    run = build_hostile_run(tmp_path / "hostile")
    path = write_report([run])
    page = open_page(path)
    assert status(page) == "400 of 400 questions, page 1 of 20"
    shown = 0
    while True:
        page.run("document.querySelectorAll('#q-list h3 button').forEach((b) => b.click())")
        page.wait("[...document.querySelectorAll('.panel')].every((p) => p.querySelector('.path-text'))")
        shown += page.run("document.querySelectorAll('.panel').length")
        tags = page.run("[...new Set([...document.querySelectorAll('#q-list *')].map((e) => e.localName))]")
        known = "li h3 h4 button span bdi div p code ul strong article mark table caption thead tbody tr th td".split()  # noqa: SIM905
        assert set(tags) <= set(known)
        if page.run("document.getElementById('q-next').disabled"):
            break
        page.run("document.getElementById('q-next').click()")
    assert shown == 400
    choose(page, text="<script>", where="all")
    page.wait("document.getElementById('q-status').textContent.includes(' of 400 questions')")
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert page.run("window.pwned === undefined")
    assert (
        page.run("document.querySelectorAll('img, iframe, object, form, base, embed, template, svg script, [onload]').length")
        == 0
    )
    assert page.run("document.title").startswith("hostile")
    assert_quiet(page, path)


def test_the_driver_would_notice(tmp_path: Path) -> None:
    """Negative control: a page that does what reports must never do is caught by each check."""
    program = find_chromium()
    assert program is not None
    path = tmp_path / "bad.html"
    path.write_text("<script>window.pwned = 1; console.error('x')</script><img src='missing.png'><p onclick='x()'>")
    page = Page(program, tmp_path / "profile")
    try:
        page.call("Page.navigate", url=path.as_uri())
        page.wait("document.readyState === 'complete'")
        assert page.run("window.pwned") == 1
        assert any("consoleAPICalled" in line or '"error"' in line for line in page.complaints())
        assert len(page.requests()) == 2
    finally:
        page.close()


def test_without_scripts_the_page_says_where_samples_are(run: Run, tmp_path: Path) -> None:
    program = find_chromium()
    assert program is not None
    page = Page(program, tmp_path / "profile")
    try:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.navigate", url=(run.folder / "report.html").resolve().as_uri())
        page.wait("document.readyState === 'complete'")
        assert "report.md" in page.run("document.querySelector('noscript').textContent")
        assert page.run("document.getElementById('browser').hidden")
    finally:
        page.close()
