"""Text on its way to a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    r"""Text that cannot steer a terminal: characters that are not seen are named.

    >>> plain("a" + chr(27) + "[31mred")
    'a⟨U+001B⟩[31mred'
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    from qrdistill.report.text import visible

    return visible(text)
