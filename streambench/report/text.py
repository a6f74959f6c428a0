"""Numbers and foreign text as short plain text, for every view.

Names and messages come from gateways and configs: here they lose the power to move a cursor or to fill a screen.
"""

from __future__ import annotations

DASH = "-"


def inert(text: str, limit: int = 200) -> str:
    """One printable line of at most `limit` characters: controls are spelled out, the middle of a long one is cut."""
    # Cut first, generously: spelling out the rest of a huge text would be work for nothing.
    head, tail = (text, "") if len(text) <= 2 * limit else (text[:limit], text[-limit:])
    head, tail = _spelled(head), _spelled(tail)
    if not tail and len(head) <= limit:
        return head
    whole = head + tail
    keep = limit - 2
    return f"{whole[: keep - keep // 3]}..{whole[len(whole) - keep // 3 :]}"


def _spelled(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def number(value: float | None) -> str:
    """About three digits: `0.42`, `8.31`, `41.7`, `412`, `1,204`; a dash where it is unknown."""
    if value is None:
        return DASH
    size = abs(value)
    digits = 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:,.{digits}f}"


def duration(seconds: float | None) -> str:
    """`8 s`, `2:05`, `1:02:05`; a dash where it is unknown."""
    if seconds is None:
        return DASH
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}" if minutes else f"{whole} s"
