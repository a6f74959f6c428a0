"""Names that others chose, as a page may show them: one bounded line each, no two alike, none that turns text round."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from streambench.words import RIGHT_TO_LEFT, inert, spelled

NAME_LIMIT = 44
"""Characters of a model's name in a table or a sentence."""

_ISOLATE, _POP = "\u2068", "\u2069"


def safe(text: str, limit: int = NAME_LIMIT) -> str:
    """One line of at most `limit` characters; what runs from right to left is kept from turning its neighbours."""
    line = inert(text, limit)
    if any(unicodedata.bidirectional(char) in RIGHT_TO_LEFT for char in line):
        return f"{_ISOLATE}{line}{_POP}"
    return line


def shown_names(names: Iterable[str], limit: int = NAME_LIMIT) -> dict[str, str]:
    """What each name is shown as; where cutting made two alike, they are numbered."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        if name in found:
            continue
        plain = text = safe(name, limit) or "(no name)"
        number = 2
        while text in taken:
            text, number = f"{plain} #{number}", number + 1
        taken.add(text)
        found[name] = text
    return found


def lines_of(text: str, limit: int) -> str:
    """Several lines of at most `limit` characters in all, with every other control spelled out."""
    cut = text if len(text) <= limit else f"{text[:limit]}\n... ({len(text) - limit:,} characters more)"
    return spelled(cut, lambda char: char == "\n" or char.isprintable())
