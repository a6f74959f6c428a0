"""Words and numbers of the figures: foreign names made inert and short, numbers with the digits a reader can use."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

from streambench import words
from streambench.words import RIGHT_TO_LEFT, one_line

NAME_LIMIT = 28
"""Characters of a model's or a prompt's name in a figure."""


def label(name: str, limit: int = NAME_LIMIT) -> str:
    """The name as one line of at most `limit` characters that all viewers show alike; a long one loses its middle.

    Spelled out (`\\n`, `\\u05d0`, `\\U0001f600`) are controls, what our font lacks (emoji, CJK), and letters that run
    from right to left, as they would turn round the numbers beside them.
    """
    return one_line(name, limit, _shown, tail=2) or "(no name)"


def labels(names: Iterable[str], limit: int = NAME_LIMIT) -> dict[str, str]:
    """A label for each name, no two alike: where cutting made them so, they are numbered."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = text = label(name, limit)
        number_of = 2
        while text in taken:
            mark = f"#{number_of}"
            text, number_of = f"{plain[: limit - len(mark)]}{mark}", number_of + 1
        taken.add(text)
        found[name] = text
    return found


def _shown(char: str) -> bool:
    return char.isprintable() and unicodedata.bidirectional(char) not in RIGHT_TO_LEFT and ord(char) in _glyphs()


@cache
def _glyphs() -> frozenset[int]:
    """The code points that the font bundled with matplotlib can draw."""
    return frozenset(FT2Font(findfont(FontProperties(family=["DejaVu Sans"]))).get_charmap())


def tick(value: float, _: object = None) -> str:
    """A round number on an axis: `0.02`, `1.5`, `2,000`; no trailing zeros."""
    if value and abs(value) < 0.001:
        return f"{value:.0e}"
    text = f"{value:,.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def usd(value: float) -> str:
    """`12.34`, `0.0123`: three digits that count."""
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.3g}"


def listed(items: Sequence[str], most: int = 3) -> str:
    """`words.listed`, of fewer: the line under a figure is short."""
    return words.listed(items, most)
