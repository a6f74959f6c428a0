"""Words and numbers of the figures: foreign names made inert and short, numbers with the digits a reader can use."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

NAME_LIMIT = 28
"""Characters of a model's or a prompt's name in a figure."""

_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


def label(name: str, limit: int = NAME_LIMIT) -> str:
    """The name as one line of at most `limit` characters that all viewers show alike; a long one loses its middle.

    Spelled out (`\\n`, `\\u05d0`, `\\U0001f600`) are controls, what our font lacks (emoji, CJK), and letters that run
    from right to left, as they would turn round the numbers beside them.
    """
    head, tail = (name, "") if len(name) <= 2 * limit else (name[:limit], name[-limit:])
    whole = _spelled(head) + _spelled(tail)
    if not tail and len(whole) <= limit:
        return whole or "(no name)"
    keep = limit - 2
    return f"{whole[: keep - keep // 2]}..{whole[len(whole) - keep // 2 :]}"


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


def _spelled(text: str) -> str:
    return "".join(char if _shown(char) else char.encode("unicode_escape").decode() for char in text)


def _shown(char: str) -> bool:
    return char.isprintable() and unicodedata.bidirectional(char) not in _RIGHT_TO_LEFT and ord(char) in _glyphs()


@cache
def _glyphs() -> frozenset[int]:
    """The code points that the font bundled with matplotlib can draw."""
    return frozenset(FT2Font(findfont(FontProperties(family=["DejaVu Sans"]))).get_charmap())


def number(value: float) -> str:
    """About three digits: `0.42`, `8.31`, `41.7`, `412`, `1,204`."""
    size = abs(float(f"{value:.3g}"))  # 9.996 is 10.0, not 10.00
    digits = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


def tick(value: float, _: object = None) -> str:
    """A round number on an axis: `0.02`, `1.5`, `2,000`; no trailing zeros."""
    if value and abs(value) < 0.001:
        return f"{value:.0e}"
    text = f"{value:,.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def percent(share: float) -> str:
    """`0 %`, `under 0.1 %`, `2.5 %`, `36 %`, `100 %`; never rounds up to 100 or down to 0."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text} %"


def usd(value: float) -> str:
    """`12.34`, `0.0123`: three digits that count."""
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.3g}"


def of(count: int, what: str) -> str:
    """`1 request`, `3 requests`, `1,204 requests`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def listed(items: Sequence[str], most: int = 3) -> str:
    """`a`, `a and b`, `a, b and 4 more`."""
    if len(items) > most:
        return f"{', '.join(items[: most - 1])} and {len(items) - most + 1} more"
    return " and ".join((", ".join(items[:-1]), items[-1])) if len(items) > 1 else "".join(items)
