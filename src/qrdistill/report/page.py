"""The HTML page: one file that needs nothing else, loads nothing and runs only its own script.

The content policy names the hashes of the page's own style sheet and script and forbids everything else, so text that got past
escaping would still be inert. Every value a template prints passes `visible` and is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from qrdistill.report.blocks import Section
from qrdistill.report.browser import BrowserData
from qrdistill.report.text import visible


def render_page(
    title: str, lead: Sequence[str], warnings: Sequence[str], sections: Sequence[Section], browser: BrowserData | None
) -> str:
    """The whole page.

    Args:
        title: the name of what is reported.
        lead: the summary sentences.
        warnings: what a reader must know before believing them.
        sections: the parts, in order.
        browser: data of the path browser; None where the run has no questions yet.
    """
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template("report.html.j2")
    return template.render(
        title=title,
        lead=lead,
        warnings=warnings,
        sections=sections,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        note=browser.note if browser else "",
        meta=_json(browser.meta) if browser else "",
        index=_json(browser.index) if browser else "",
        blocks=[_json(block) for block in browser.blocks] if browser else [],
    )


def _asset(name: str) -> str:
    """A style sheet or script of ours; it must not be able to end the element that holds it."""
    text = resources.files("qrdistill.report").joinpath("templates", name).read_text(encoding="utf-8")
    assert not any(mark in text for mark in ("</", "<!--")), name
    return text


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _json(value: Any) -> Markup:
    """JSON that is safe inside a script element: no character that means anything to an HTML parser stays."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _shown(value: Any) -> Any:
    """What a template prints: our own markup as it is, any other text with its unseen characters named."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("qrdistill.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
