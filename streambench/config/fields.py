"""Parsers and field types for single values: durations, sizes, URLs, names.

Each parser returns the value or raises ValueError. schema.py uses the types for its fields. The messages never repeat
the value, which may be a secret.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    WithJsonSchema,
)

from streambench.records.trace_ids import why_no_link
from streambench.text import nearest
from streambench.workload.headers import added_name, header_name, header_value

MAX_LABEL = 200
_SIGNAL_PATHS = ("/v1/traces", "/v1/metrics", "/v1/logs")
_SDK_PATHS = ("/chat/completions", "/completions", "/responses", "/models")


def streaming(value: Any) -> Any:
    """Returns a tuple of bools for `true`, `false`, or a list of one or both. Raises ValueError for anything else."""
    stated = value if isinstance(value, list | tuple) else [value]
    if not stated or not all(isinstance(one, bool) for one in stated) or len(set(stated)) != len(stated):
        raise ValueError("must be true, false, or a list with each at most once")
    return tuple(stated)


def as_list(value: Any) -> Any:
    """Returns a single text as a list of one; any other value unchanged."""
    return [value] if isinstance(value, str) else value


def label(text: str) -> str:
    """Returns a name that fits into a table cell. Raises ValueError for any other text."""
    if not is_label(text):
        raise ValueError("is not a valid name")
    return text


def is_label(text: str) -> bool:
    """True for one printable line of 1 to MAX_LABEL characters without spaces at its ends."""
    return bool(text) and text == text.strip() and text.isprintable() and len(text) <= MAX_LABEL


def is_glob(name: str) -> bool:
    """True if the name has a wildcard, and so stands for all names that match it."""
    return any(sign in name for sign in "*?[")


def folder(value: Any) -> Any:
    """Returns a folder's path, with `~` expanded. Raises ValueError for an empty text or one with a NUL."""
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("is not a folder path")
    return at_home(value) if isinstance(value, str) else value


def at_home(text: str) -> Path:
    """Returns the path with `~` expanded as a shell does: otherwise a folder named `~` would be created."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no user of that name: `~name` stays as it is
        return Path(text)


def base_url(text: str) -> str:
    """Returns `embedded`, or a gateway's URL without slashes at its end.

    Raises ValueError for an invalid URL, a misspelt `embedded`, or a URL that already ends in the path of an API.
    """
    if text == "embedded":
        return text
    if meant_embedded(text):
        raise ValueError(f"is not a URL{nearest(text, ['embedded'])}")
    _check_url(text, ("http", "https"))
    url = text.rstrip("/")
    for path in _SDK_PATHS:
        if urlsplit(url).path.endswith(path):
            raise ValueError(f"must not end in {path}: streambench adds this path")
    return url


def meant_embedded(text: str) -> bool:
    """True if the text is `embedded` or a misspelling of it."""
    return "/" not in text and "." not in text and bool(nearest(text, ["embedded"]))


def proxy_url(text: str) -> str:
    """Returns the URL of an HTTP or SOCKS5 proxy. Raises ValueError if it is invalid."""
    _check_url(text, ("http", "https", "socks5", "socks5h"))
    return text


def otlp_url(text: str) -> str:
    """Returns a collector's base URL, to which the path of each signal is added.

    Raises ValueError if the URL is invalid or already ends in such a path.
    """
    _check_url(text, ("http", "https"))
    for path in _SIGNAL_PATHS:
        if urlsplit(text).path.rstrip("/").endswith(path):
            raise ValueError(f"must not end in {path}: streambench adds this path")
    return text


def trace_url(text: str) -> str:
    """Returns a URL pattern for links to traces. Raises ValueError if it is invalid or has no `{trace_id}`."""
    why = why_no_link(text)
    if why is not None:
        raise ValueError(why)
    return text


def _check_url(text: str, schemes: tuple[str, ...]) -> None:
    if not text.isprintable() or re.search(r"\s", text):
        raise ValueError("contains a space or a control character")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL: its host or port cannot be parsed") from None
    if parts.scheme not in schemes or "://" not in text:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if not host:
        raise ValueError("has no host")
    if parts.fragment:
        raise ValueError("must not have a #fragment")


Label = Annotated[str, AfterValidator(label)]
BaseUrl = Annotated[str, AfterValidator(base_url)]
ProxyUrl = Annotated[str, AfterValidator(proxy_url)]
OtlpUrl = Annotated[str, AfterValidator(otlp_url)]
TraceUrl = Annotated[str, AfterValidator(trace_url)]
Folder = Annotated[Path, BeforeValidator(folder)]
Streaming = Annotated[tuple[bool, ...], BeforeValidator(streaming)]
"""Streamed responses (true), whole responses (false), or both."""
Headers = dict[
    Annotated[str, AfterValidator(header_name)],
    Annotated[str, BeforeValidator(header_value), WithJsonSchema({"type": ["string", "number"]})],
]
Suites = Annotated[
    tuple[str, ...],
    BeforeValidator(as_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
AddedHeaders = dict[
    Annotated[str, AfterValidator(added_name)],
    Annotated[str, BeforeValidator(header_value), WithJsonSchema({"type": ["string", "number"]})],
]
"""Headers that a model adds to its gateway's, except those that only the gateway or the request itself may set."""

LABEL = "text on one line (put numbers in quotes)"
API = "chat, responses, completions"
STREAM = "true, false, or [true, false] for both"
PARAMS = "request parameters, such as {max_tokens: 64}"
HEADERS = "a mapping of header names to one-line texts"


class Frozen(BaseModel):
    """Base of all parts of a config: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)
