"""Formats numbers, lists and untrusted text, the same in every view. Pure.

Names and messages come from gateways, models and configs, and may be hostile. There is one function for each form of
output: `for_terminal`, `for_html`, `for_markdown`, `for_csv` and `for_file_name` (figures add what their font can draw:
`report/figures/labels.py`). Each bounds the length. There is one function for each kind of number: `count`, `counted`,
`percent`, `percent_change`, `number`, `duration`; USD are written by `usd` in `metrics/cost.py`.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

DASH = "-"
"""Stands for an unknown number."""
TOLD = 4
"""The most names listed in one sentence."""
LINE_LIMIT = 200
"""The most characters of an untrusted line in a terminal."""
CELL_LIMIT = 240
"""The most characters of an untrusted line in Markdown."""
NAME_LIMIT = 44
"""The most characters of a model's name in a table or a sentence."""
RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
"""Unicode bidirectional classes of right-to-left characters, which can reverse the order of the text around them."""

_ISOLATE, _POP = "\u2068", "\u2069"
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@])")
_STARTS = re.compile(r"^(\s*)([-+=]|\d+[.)])(\s)")
_EMOJI = re.compile(r":(?=[\w+-]+:)")
_FORMULA = tuple("=+-@\t\r")
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


# --- untrusted text


def for_terminal(text: str, limit: int = LINE_LIMIT) -> str:
    """Returns one printable line of at most `limit` characters: controls are escaped, a long text loses its middle."""
    return one_line(text, limit, str.isprintable, tail=3)


def for_html(text: str, limit: int = NAME_LIMIT) -> str:
    """Returns one line of at most `limit` characters for a page, whose templates escape the HTML.

    Text with right-to-left characters is put between Unicode isolates, so that it cannot reorder the text around it.
    """
    line = for_terminal(text, limit)
    if any(unicodedata.bidirectional(char) in RIGHT_TO_LEFT for char in line):
        return f"{_ISOLATE}{line}{_POP}"
    return line


def for_markdown(text: str, limit: int = CELL_LIMIT) -> str:
    """Returns one line, escaped so that it contains no markup, HTML, link, mention, emoji or cell boundary.

    The isolates that `for_html` puts around a name stay.
    """
    isolated = text.count(_ISOLATE) == text.count(_POP)
    line = one_line(text, limit, lambda char: char.isprintable() or (isolated and char in (_ISOLATE, _POP)), tail=3)
    marked = _MARKUP.sub(r"\\\1", line)
    # GitHub recognizes addresses and mentions even after a backslash.
    marked = marked.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\@", "&#64;").replace("\\&", "&amp;")
    marked = _STARTS.sub(r"\1\\\2\3", marked).replace("://", ":&#47;&#47;")
    return _EMOJI.sub(":\u2060", marked)


def for_csv(cell: Any) -> Any:
    """Returns the cell; a text that a spreadsheet would run as a formula gets a leading apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def for_file_name(name: str) -> str:
    """Returns 1 to 40 characters of a-z, 0-9 and single hyphens."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:40].strip("-") or "run"


def printable_lines(text: str, limit: int) -> str:
    """Returns at most `limit` characters with their line breaks; other controls are escaped, a cut is stated."""
    cut = text if len(text) <= limit else f"{text[:limit]}\n... ({count(len(text) - limit)} characters more)"
    return escaped(cut, lambda char: char == "\n" or char.isprintable())


def one_line(text: str, limit: int, keeps: Callable[[str], bool], *, tail: int) -> str:
    """Returns at most `limit` characters; those for which `keeps` is false are escaped.

    A long text is cut in the middle: the last `1 / tail` of the result comes from the text's end.
    """
    # Cutting before escaping keeps the cost small for a huge text.
    first, last = (text, "") if len(text) <= 2 * limit else (text[:limit], text[-limit:])
    whole = escaped(first, keeps) + escaped(last, keeps)
    if not last and len(whole) <= limit:
        return whole
    keep = limit - 2
    return f"{whole[: keep - keep // tail]}..{whole[len(whole) - keep // tail :]}"


def escaped(text: str, keeps: Callable[[str], bool] = str.isprintable) -> str:
    """Returns the text with each character for which `keeps` is false as an escape (`\\n`, `\\u05d0`)."""
    return "".join(char if keeps(char) else char.encode("unicode_escape").decode() for char in text)


def shorten(text: str, limit: int) -> str:
    """Returns the text cut to `limit` characters, the last of them `…` if something was cut off."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def distinct(names: Iterable[str], form: Callable[[str], str], mark: str = " #{}") -> dict[str, str]:
    """Returns the text to show for each name, by `form`. Names that would look alike get a number (`name #2`)."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        if name in found:
            continue
        plain = text = form(name) or "(no name)"
        number = 2
        while text in taken:
            text, number = f"{plain}{mark.format(number)}", number + 1
        taken.add(text)
        found[name] = text
    return found


def shown(value: object, limit: int = 60) -> str:
    """Describes a value that was found in some input, in at most `limit` characters that are safe on a terminal."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return repr(shorten(value, limit))
    return shorten(escaped(str(value)), limit)


def shown_name(name: str) -> str:
    """Returns the name if it is a plain identifier, else "(odd name)": a server may send any text as a name."""
    return name if _NAME.fullmatch(name) else "(odd name)"


# --- lists and names


def listed(items: Sequence[str], most: int = TOLD) -> str:
    """Joins names: `a`, `a and b`, `a, b and 4 more`. At most `most` parts are listed."""
    if len(items) > most:
        return f"{', '.join(items[: most - 1])} and {len(items) - most + 1} more"
    return " and ".join((", ".join(items[:-1]), items[-1])) if len(items) > 1 else "".join(items)


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns `; did you mean `rate`?` for a mistyped name, "" if no known name is similar."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


# --- numbers


def count(number: int | None) -> str:
    """`1,204`; a dash for None."""
    return DASH if number is None else f"{number:,}"


def counted(number: int, what: str) -> str:
    """`1 request`, `1,204 requests`."""
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


def number(value: float | None) -> str:
    """`0.42`, `8.31`, `41.7`, `412`, `1,204`: at most two decimals, for table columns; a dash for None."""
    if value is None:
        return DASH
    size = abs(value)
    digits = 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{digits}f}"


def three_digits(value: float) -> str:
    """`0.042`, `8.31`, `41.7`, `1,204`: up to three decimals for small numbers, for labels in figures and sentences."""
    size = abs(float(f"{value:.3g}"))  # rounded first, so that 9.996 becomes 10.0 and not 10.00
    digits = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


def percent(part: float | None) -> str:
    """A share: `0 %`, `2.5 %`, `36 %`, `98.4 %`, `under 0.1 %`, `over 99.9 %`; a dash for None.

    One decimal below 10 % and above 90 % only. Only a share of exactly 0 or 1 is shown as `0 %` or `100 %`.
    """
    if part is None:
        return DASH
    if 0 < part < 0.001:
        return "under 0.1 %"
    if 0.999 < part < 1:
        return "over 99.9 %"
    return f"{100 * part:.1f}".removesuffix(".0") + " %" if part < 0.1 or part > 0.9 else f"{100 * part:.0f} %"


def percent_change(change: float | None, places: int = 1) -> str:
    """A relative change, 0.152 for 15.2 % more: `+15.2 %`, `-3.0 %`; a dash for None and infinity; never `-0.0 %`."""
    if change is None or not math.isfinite(change):
        return DASH
    return f"{round(100 * change, places) + 0.0:+.{places}f} %"


def duration(seconds: float | None) -> str:
    """`8 s`, `2:05`, `1:02:05`; a dash for None."""
    if seconds is None:
        return DASH
    all_of_them = max(0, round(seconds))
    hours, minutes = divmod(all_of_them // 60, 60)
    if hours:
        return f"{hours}:{minutes:02}:{all_of_them % 60:02}"
    return f"{minutes}:{all_of_them % 60:02}" if minutes else f"{all_of_them} s"
