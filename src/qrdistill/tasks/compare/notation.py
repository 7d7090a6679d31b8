r"""Mathematical notation made plain: LaTeX, Unicode and typed formulas in one spelling.

:func:`plain` removes what carries no meaning (spacing, sizes, fonts, delimiters, degree signs, trailing units) and spells the
rest one way: ``\dfrac`` is ``\frac``, ``\times`` and ``·`` are ``*``, ``≤``, ``<=`` and ``\le`` are ``\leq``, ``sqrt(3)`` is
``\sqrt{3}``, superscripts are powers. Text only goes through replacements here; nothing is evaluated.
"""

from __future__ import annotations

import re

MAX_CHARS = 2_000
"""Longest answer that is compared."""

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿⁱ", "0123456789-+ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_UNICODE = {
    "−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "∗": "*", "÷": "/", "⁄": "/", "∕": "/", "π": "\\pi ",
    "∞": "\\infty ",
    "≤": "\\leq ", "⩽": "\\leq ", "≥": "\\geq ", "⩾": "\\geq ", "≠": "\\neq ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ",
    "∅": "\\emptyset ", "±": "\\pm ",
    "∓": "\\mp ", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}", "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}",
    "°": "^\\circ ", "½": "\\frac{1}{2}", "⅓": "\\frac{1}{3}",
    "⅔": "\\frac{2}{3}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "⅕": "\\frac{1}{5}", "⅖": "\\frac{2}{5}",
    "⅗": "\\frac{3}{5}", "⅘": "\\frac{4}{5}", "⅙": "\\frac{1}{6}", "⅚": "\\frac{5}{6}",
    "⅛": "\\frac{1}{8}", "⅜": "\\frac{3}{8}", "⅝": "\\frac{5}{8}", "⅞": "\\frac{7}{8}", "α": "\\alpha ", "β": "\\beta ",
    "γ": "\\gamma ", "δ": "\\delta ", "θ": "\\theta ",
    "λ": "\\lambda ", "μ": "\\mu ", "σ": "\\sigma ", "φ": "\\phi ", "ω": "\\omega ", "ρ": "\\rho ", "⟨": "\\langle ",
    "⟩": "\\rangle ", "⌊": "\\lfloor ", "⌋": "\\rfloor ",
    "⌈": "\\lceil ", "⌉": "\\rceil ", "′": "'", "\u2009": " ", "\u00a0": " ", "\u202f": " ", "\u200b": "", "\u2061": "",
    "≡": "\\equiv ", "\ufeff": "",
}  # fmt: skip
_UNICODE_PATTERN = re.compile("[" + "".join(_UNICODE) + "]")
_SAME = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\dbinom": "\\binom", "\\tbinom": "\\binom",
    "\\le": "\\leq", "\\leqslant": "\\leq", "\\ge": "\\geq",
    "\\geqslant": "\\geq", "\\ne": "\\neq", "\\lt": "<", "\\gt": ">", "\\times": "*", "\\cdot": "*", "\\ast": "*", "\\div": "/",
    "\\lbrace": "\\{", "\\rbrace": "\\}", "\\lbrack": "[",
    "\\rbrack": "]", "\\lparen": "(", "\\rparen": ")", "\\vert": "|", "\\lvert": "|", "\\rvert": "|",
    "\\varnothing": "\\emptyset", "\\land": ",", "\\lor": " or ", "\\wedge": ",", "\\vee": " or ", "\\mid": "|",
    "\\colon": ":", "\\varphi": "\\phi", "\\R": "\\mathbb{R}", "\\reals": "\\mathbb{R}", "\\degree": "^\\circ",
    "\\arcsec": "\\arcsec", "\\tg": "\\tan", "\\ctg": "\\cot", "\\bigcup": "\\cup",
}  # fmt: skip
_DROPPED = {
    "\\left", "\\right", "\\displaystyle", "\\textstyle", "\\quad", "\\qquad", "\\limits", "\\nolimits", "\\thinspace", "\\big",
    "\\Big", "\\bigg", "\\Bigg", "\\bigl", "\\bigr", "\\Bigl",
    "\\Bigr", "\\biggl", "\\biggr", "\\middle", "\\hfill", "\\enspace", "\\medspace", "\\rm", "\\bf", "\\it", "\\allowbreak",
    "\\scriptstyle", "\\mathop", "\\phantom", "\\hspace",
}  # fmt: skip
_COMMAND = re.compile(r"\\[A-Za-z]+")
_SPACING = re.compile(r"(?<!\\)\\[,;:!> ]|~|\\+(?=\s*$)")
_FONT = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|mathtt|boldsymbol|bm|operatorname\*?|mathnormal|textnormal|textrm|textbf|textit|textsf|texttt|mbox|hbox|emph|boxed|fbox|mathcal)\s*\{([^{}]*)\}"
)
_TYPED = (
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"<=|=<"), "\\\\leq "),
    (re.compile(r">="), "\\\\geq "),
    (re.compile(r"!="), "\\\\neq "),
    (re.compile(r"\+\s?/\s?-|\+-"), "\\\\pm "),
    (re.compile(r"(?<![A-Za-z\\])sqrt\s?(?=[({\d])"), "\\\\sqrt"),
    (re.compile(r"√\s?"), "\\\\sqrt "),
    (re.compile(r"∛\s?"), "\\\\sqrt[3]"),
    (re.compile(r"(?<![A-Za-z\\])(?:infinity|infty|inf|oo)(?![A-Za-z])", re.IGNORECASE), "\\\\infty "),
    (re.compile(r"(?<![A-Za-z\\])(?:pi|Pi)(?![A-Za-z])"), "\\\\pi "),
    (re.compile(r"(?<=[)\]])\s*(?:U|u|union)\s*(?=[(\[])"), "\\\\cup "),
)
_DEGREE = re.compile(
    r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))\s*(?:[CF](?![A-Za-z]))?|\s*\\circ(?![A-Za-z])|(?<=\d)\s*degrees?\b"
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_ANGLE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|degrees?\b)")
_CHOOSE = re.compile(r"\{\s*([^{}]+?)\s*\\choose\s*([^{}]+?)\s*\}")
_THOUSANDS = re.compile(r"(?<=\d)(?:(?:\{,\}|,)?\\![ ]?|\{,\}|\\,)(?=\d{3}(?!\d))")
_TEXT_JOIN = re.compile(r"\\text\s*\{\s*,?\s*(and|or)\s*\}")
_UNIT_WORD = (
    r"(?:square|sq\.?|cubic|cu\.?)?\s*(?:units?|cm|mm|km|m|ft|in|kg|g|mg|lbs?|oz|mi|yd|s|min|h|hr|mph|cents?|dollars?|degrees?|radians?|rad|inches|inch|feet|foot|yards?|miles?|meters?|metres?|centimeters?|"
    r"centimetres?|millimeters?|kilometers?|grams?|kilograms?|pounds?|ounces?|gallons?|liters?|litres?|hours?|minutes?|seconds?|days?|weeks?|months?|years?|people|students|ways|points|percent|mph|"
    r"(?:square|cubic)\s+\w+|miles per hour|\w+ per \w+)"
)
_LEADING_TEXT = re.compile(r"^\\text\s*\{[^{}]*(?:\b(?:is|are|equals)|[:=])\s*\}\s*(?=\S)")
_TRAILING_TEXT = re.compile(r"(?<=[^\s,(\[{])\s*\\text\s*\{(?!\s*(?:or|and)\b)[^{}]*\}(?:\s*\^\s*(?:\{\s*-?\d\s*\}|\d))?\s*$")
_TRAILING_UNIT = re.compile(rf"(?<=[\d\w}})])(?:\s{1, 4}|(?<=\d)|(?<=\}})){_UNIT_WORD}(?:\s*\^\s*(?:\{{\s*\d\s*\}}|\d))?\s*\.?$")


def plain(text: str) -> str:
    r"""The formula in the one spelling the comparison works on.

    >>> plain(r"\left( \dfrac12,\, 3 \times 10^{2} \right)")
    '( \\frac12, 3 * 10^{2} )'
    """
    text = _undelimited(text.strip())
    text = _THOUSANDS.sub(",", text)
    text = _UNICODE_PATTERN.sub(lambda found: _UNICODE[found.group()], text)
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿⁱ]+", lambda found: "^{" + found.group().translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda found: "_{" + found.group().translate(_SUBSCRIPTS) + "}", text)
    text = _SPACING.sub(" ", text)
    for pattern, spelling in _TYPED:
        text = pattern.sub(spelling, text)
    text = re.sub(r"\\(?:left|right)\s*\.", "", text)
    text = _COMMAND.sub(lambda found: "" if found.group() in _DROPPED else _SAME.get(found.group(), found.group()), text)
    text = _fonts(text)
    text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    text = text.replace("\\$", "").replace("\\%", "%").replace("\\#", "#").replace("\\&", "&")
    text = _DEGREE.sub(" ", _ANGLE.sub(r"(\1 \\pi / 180)", text) if _TRIGONOMETRIC.search(text) else text)
    text = _TEXT_JOIN.sub(r" \1 ", text)
    text = _LEADING_TEXT.sub("", text)
    text = _TRAILING_TEXT.sub("", text)
    text = _TRAILING_UNIT.sub("", text) if not text.startswith("\\text") else text
    return re.sub(r"\s+", " ", text).strip(" .,;$")


def _undelimited(text: str) -> str:
    """The text without the dollar signs or brackets that delimit a formula around all of it."""
    for opening, closing in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")):
        inner = text[len(opening) : -len(closing)]
        if (
            text.startswith(opening)
            and text.endswith(closing)
            and len(text) > len(opening)
            and "$" not in inner.replace("\\$", "")
        ):
            return inner.strip()
    return re.sub(r"(?<!\\)\$", " ", text) if text.count("$") - text.count("\\$") > 1 else text


def _fonts(text: str) -> str:
    """Fonts dropped. A word set upright is text; a letter or a formula keeps its meaning."""

    def inner(found: re.Match[str]) -> str:
        content = found.group(1)
        is_word = re.fullmatch(r"\s*[A-Za-z][A-Za-z .'-]+\s*", content) and "boxed" not in found.group()
        return f"\\text{{{content}}}" if is_word and not found.group().startswith("\\operatorname") else content

    for _ in range(4):
        replaced = _FONT.sub(inner, text)
        if replaced == text:
            break
        text = replaced
    return text
