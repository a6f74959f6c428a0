"""Readers of single values: durations, URLs, names. Each returns the value or raises ValueError.

On the way: schema.py hangs them on its fields. Their messages never repeat the value, which may be a secret.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streambench.documents import duration_s, nearest
from streambench.trace_ids import why_no_link

MAX_LABEL = 200
NEVER_RETRIED = (400, 401, 403, 404, 422)
"""Statuses that the same request would get again."""
_SIZE = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>[KMG]i?B|B)", re.ASCII | re.IGNORECASE)
DURATION_FORM = r"^\s*(\d+(\.\d+)?\s*(h|m|s|ms)\s*)+$"
SIZE_FORM = r"^\s*\d+(\.\d+)?\s*([kKmMgG][iI]?)?[bB]\s*$"
"""What `seconds` and `size` take, for the JSON Schema, whose patterns know no names."""
_UNIT_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIGNAL_PATHS = ("/v1/traces", "/v1/metrics", "/v1/logs")
_SDK_PATHS = ("/chat/completions", "/completions", "/responses", "/models")


def not_bool(value: Any) -> Any:
    """Python counts `true` as 1; a config does not."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  pydantic turns ValueError, not TypeError, into a problem
    return value


def seconds(value: Any) -> Any:
    """Seconds of `10m`, `90s`, `1h30m`, `500ms`; anything else is left for the number's own check."""
    value = not_bool(value)
    duration = duration_s(value) if isinstance(value, str) else None
    return value if duration is None else duration


def size(value: Any) -> Any:
    """Bytes of `64MB`, `256KiB`, `1.5 GiB`; anything else is left for the number's own check."""
    value = not_bool(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= MAX_LABEL else None
    return value if match is None else round(float(match["amount"]) * _UNIT_BYTES[match["unit"].lower()])


def streaming(value: Any) -> Any:
    """`true`, `false`, or a list of both."""
    stated = value if isinstance(value, list | tuple) else [value]
    if not stated or not all(isinstance(one, bool) for one in stated) or len(set(stated)) != len(stated):
        raise ValueError("says neither yes nor no, nor each of them once")
    return tuple(stated)


def as_list(value: Any) -> Any:
    """A single text as a list of it."""
    return [value] if isinstance(value, str) else value


def number_or_text(limits: dict[str, float], form: str) -> dict[str, Any]:
    """The JSON Schema of a value that may be a number or a text of this form."""
    return {"anyOf": [{"type": "number", **limits}, {"type": "string", "pattern": form}]}


def retriable_status(status: int) -> int:
    if status in NEVER_RETRIED:
        raise ValueError("is never retried: the same request would fail again")
    return status


def label(text: str) -> str:
    """A name that can stand in a table's cell."""
    if not is_label(text):
        raise ValueError("is no usable name")
    return text


def is_label(text: str) -> bool:
    return bool(text) and text == text.strip() and text.isprintable() and len(text) <= MAX_LABEL


def is_glob(name: str) -> bool:
    """Whether it stands for all names that match it."""
    return any(sign in name for sign in "*?[")


def folder(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("is no folder's path")
    return at_home(value) if isinstance(value, str) else value


def at_home(text: str) -> Path:
    """The path, with `~` meant as a shell means it: no folder of that name should come to be."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user: then it is a name like any other
        return Path(text)


def base_url(text: str) -> str:
    if text == "embedded":
        return text
    if meant_embedded(text):
        raise ValueError(f"is no URL{nearest(text, ['embedded'])}")
    _check_url(text, ("http", "https"))
    url = text.rstrip("/")
    for path in _SDK_PATHS:
        if urlsplit(url).path.endswith(path):
            raise ValueError(f"must end before {path}, which is added to it")
    return url


def meant_embedded(text: str) -> bool:
    """Whether `embedded` stands there, or was mistyped."""
    return "/" not in text and "." not in text and bool(nearest(text, ["embedded"]))


def proxy_url(text: str) -> str:
    _check_url(text, ("http", "https", "socks5", "socks5h"))
    return text


def otlp_url(text: str) -> str:
    """A collector's address, to which each signal's own path is added."""
    _check_url(text, ("http", "https"))
    for path in _SIGNAL_PATHS:
        if urlsplit(text).path.rstrip("/").endswith(path):
            raise ValueError(f"must end before {path}, which is added to it")
    return text


def trace_url(text: str) -> str:
    """A pattern for links to traces, with `{trace_id}` in it."""
    why = why_no_link(text)
    if why is not None:
        raise ValueError(why)
    return text


def _check_url(text: str, schemes: tuple[str, ...]) -> None:
    if not text.isprintable() or re.search(r"\s", text):
        raise ValueError("holds a space or a control character")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is no URL: its host or port cannot be read") from None
    if parts.scheme not in schemes or "://" not in text:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if not host:
        raise ValueError("names no host")
    if parts.fragment:
        raise ValueError("must have no #fragment")
