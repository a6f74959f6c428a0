"""Numbers, lists and foreign text as short plain text, the same in every view. Pure.

Names and messages come from gateways and configs: here they lose the power to move a cursor or to fill a screen.
Two spellings of one kind of number stand side by side, and each says what it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

DASH = "-"
"""An unknown number."""
TOLD = 4
"""Names in one sentence, at most."""
RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
"""Unicode's directions of letters that turn round what stands beside them."""


# --- text


def inert(text: str, limit: int = 200) -> str:
    """One printable line of at most `limit` characters: controls are spelled out, the middle of a long one is cut."""
    return one_line(text, limit, str.isprintable, tail=3)


def one_line(text: str, limit: int, keeps: Callable[[str], bool], *, tail: int) -> str:
    """At most `limit` characters; what `keeps` refuses is spelled out. Of a long one the last `1 / tail` is its end."""
    # Cut first, generously: spelling out the rest of a huge text would be work for nothing.
    first, last = (text, "") if len(text) <= 2 * limit else (text[:limit], text[-limit:])
    whole = spelled(first, keeps) + spelled(last, keeps)
    if not last and len(whole) <= limit:
        return whole
    keep = limit - 2
    return f"{whole[: keep - keep // tail]}..{whole[len(whole) - keep // tail :]}"


def spelled(text: str, keeps: Callable[[str], bool]) -> str:
    """As escapes (`\\n`, `\\u05d0`) the characters that `keeps` refuses."""
    return "".join(char if keeps(char) else char.encode("unicode_escape").decode() for char in text)


def listed(items: Sequence[str], most: int = TOLD) -> str:
    """`a`, `a and b`, `a, b and 4 more`."""
    if len(items) > most:
        return f"{', '.join(items[: most - 1])} and {len(items) - most + 1} more"
    return " and ".join((", ".join(items[:-1]), items[-1])) if len(items) > 1 else "".join(items)


# --- counts


def of_count(count: int, what: str) -> str:
    """`1 chunk`, `1204 chunks`: digits alone, as in facts, which are stored and searched."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def of_many(count: int, what: str) -> str:
    """`1 request`, `1,204 requests`: in sentences of a whole run."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def whole(count: int | None) -> str:
    """`1,204`; a dash where it is unknown."""
    return DASH if count is None else f"{count:,}"


# --- numbers


def number(value: float | None) -> str:
    """In a column: `0.42`, `8.31`, `41.7`, `412`, `1,204`, never more than two decimals; a dash for the unknown."""
    if value is None:
        return DASH
    size = abs(value)
    digits = 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{digits}f}"


def three_digits(value: float) -> str:
    """Alone beside a mark or in a sentence, where small ones keep their digits: `0.042`, `8.31`, `41.7`, `1,204`."""
    size = abs(float(f"{value:.3g}"))  # 9.996 is 10.0, not 10.00
    digits = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


def percent(part: float | None) -> str:
    """Of a sample, so with a decimal near the ends alone: `0 %`, `2.5 %`, `36 %`; a dash where it is unknown."""
    if part is None:
        return DASH
    if 0 < part < 0.001:
        return "under 0.1 %"
    return f"{100 * part:.1f}".removesuffix(".0") + " %" if part < 0.1 or part > 0.9 else f"{100 * part:.0f} %"


def counted_percent(part: float) -> str:
    """Of all that was counted: `2.5 %`, `36.4 %`, `under 0.1 %`, `over 99.9 %`; never rounded to none or to all."""
    if 0 < part < 0.001:
        return "under 0.1 %"
    if 0.999 < part < 1:
        return "over 99.9 %"
    return f"{100 * part:.1f}".removesuffix(".0") + " %"


def duration(seconds: float | None) -> str:
    """`8 s`, `2:05`, `1:02:05`; a dash where it is unknown."""
    if seconds is None:
        return DASH
    all_of_them = max(0, round(seconds))
    hours, minutes = divmod(all_of_them // 60, 60)
    if hours:
        return f"{hours}:{minutes:02}:{all_of_them % 60:02}"
    return f"{minutes}:{all_of_them % 60:02}" if minutes else f"{all_of_them} s"
