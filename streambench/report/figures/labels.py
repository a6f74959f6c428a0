"""Text in figures: names made printable and short, numbers rounded to readable digits."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

from streambench import text as words
from streambench.text import RIGHT_TO_LEFT, distinct, one_line

NAME_LIMIT = 28
"""Characters of a model's or a prompt's name in a figure."""


def label(name: str, limit: int = NAME_LIMIT) -> str:
    """Returns the name as one line of at most `limit` characters; the middle of a long name is cut.

    Control characters, characters that the font lacks (emoji, CJK) and right-to-left letters are escaped (`\\n`,
    `\\u05d0`, `\\U0001f600`), so that all viewers show the same; right-to-left letters would reorder the numbers beside
    them.
    """
    return one_line(name, limit, _shown, tail=2) or "(no name)"


def labels(names: Iterable[str], limit: int = NAME_LIMIT) -> dict[str, str]:
    """Returns a label for each name. Labels are unique: if cutting makes two equal, the later one gets a number."""
    return distinct(names, lambda name: label(name, limit), mark="#{}")


def _shown(char: str) -> bool:
    return char.isprintable() and unicodedata.bidirectional(char) not in RIGHT_TO_LEFT and ord(char) in _glyphs()


@cache
def _glyphs() -> frozenset[int]:
    """Returns the code points that the font bundled with matplotlib can draw."""
    return frozenset(FT2Font(findfont(FontProperties(family=["DejaVu Sans"]))).get_charmap())


def tick(value: float, _: object = None) -> str:
    """Formats a number on an axis without trailing zeros: `0.02`, `1.5`, `2,000`."""
    if value and abs(value) < 0.001:
        return f"{value:.0e}"
    text = f"{value:,.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def listed(items: Sequence[str], most: int = 3) -> str:
    """Returns `words.listed` with a smaller default for `most`, as the line under a figure is short."""
    return words.listed(items, most)
