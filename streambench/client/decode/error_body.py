"""Reads an error in any of its forms: JSON with or without `error`, plain text, or an HTML page. Pure."""

from __future__ import annotations

from typing import Any

from streambench.client.decode.chunk_json import UnreadableError, first_of, read_json, without_half_pairs, write_json
from streambench.records.schema import Failure
from streambench.text import shown_name

MESSAGE_LIMIT = 4_000
"""Characters read of a gateway's message. The record builder masks them, then cuts them to the length kept."""


def failure_from_body(kind: str, body: bytes, *, status: int | None = None) -> Failure:
    """Returns the failure that an error body describes: JSON with or without `error`, plain text or HTML."""
    try:
        plain = read_json(without_half_pairs(body))
    except UnreadableError:
        plain = _title(body.decode("utf-8", "replace"))
    return failure_from_plain(kind, plain, status=status)


def failure_from_plain(kind: str, plain: Any, *, status: int | None = None) -> Failure:
    error = first_of(plain.get("error"), plain) if isinstance(plain, dict) else plain
    if not isinstance(error, dict):
        return Failure(kind=kind, message=_text(error), status=status)
    message = first_of(*(error.get(key) for key in ("message", "detail", "html-message", "msg", "error", "type")))
    kind_of_it = error.get("type")
    # The type `error` is the event's own type, not a code.
    code = first_of(error.get("code"), None if kind_of_it == "error" else kind_of_it)
    return Failure(
        kind=kind,
        message=_keys(error) if message is None else _text(message),
        status=status if status is not None else _status(error.get("code")),
        code=None if code is None else _text(code),
    )


def _keys(error: dict[str, Any]) -> str:
    """Returns the keys of an object that states no error. It may be an answer, so its values are not repeated."""
    names = ", ".join(map(shown_name, list(error)[:12]))
    return f"an object with the keys {names}" if names else "an empty object"


def _title(text: str) -> str:
    """Returns an HTML page's title, which says as much as the page; other text without outer white space."""
    start = text.lower().find("<title>")
    if start < 0:
        return text.strip()
    return text[start + 7 :].split("<", 1)[0].strip()


def _text(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else write_json(value)
    return text[:MESSAGE_LIMIT]


def _status(code: object) -> int | None:
    """Returns the code if it is an HTTP status, as a number or as digits; else None."""
    digits = str(code)
    return int(digits) if digits.isdigit() and len(digits) == 3 and digits.isascii() else None
