"""Request headers that a user may add: which names and values can be sent, and which names are reserved. Pure.

`config` and `suite` check with these functions; `client` merges the headers of gateway, model and prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from streambench.redaction import is_secret_name, looks_secret

FRAMING = frozenset({"connection", "content-length", "content-type", "host", "transfer-encoding"})
"""Headers whose values follow from the request itself: other values would truncate or corrupt it."""

RESERVED: Mapping[str, str] = {
    "authorization": "set the gateway's `api_key` instead",
    "accept-encoding": "a compressed stream arrives in blocks, so the arrival of each chunk could not be timed",
    "traceparent": "telemetry sets it; with another value the gateway's spans would be lost",
    "tracestate": "telemetry sets it",
    "expect": "its response would be mistaken for the response to the prompt",
    "upgrade": "the connection must stay HTTP",
    "te": "it applies to the connection, not to the request",
    "trailer": "it applies to the connection, not to the request",
    "keep-alive": "set the gateway's `connections:` instead",
    "proxy-connection": "set the gateway's `connections:` instead",
}
"""Headers that a model or a prompt may not add, and why."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def header_name(text: str) -> str:
    """Returns the name. Raises ValueError if it cannot be sent."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("is not a header name")
    if text.lower() in FRAMING:
        raise ValueError("is set by the request itself")
    return text


def added_name(text: str) -> str:
    """Returns the name. Raises ValueError, with the reason, if a model or prompt may not add it."""
    name = header_name(text)
    if name.lower() in RESERVED:
        raise ValueError(f"may not be set here: {RESERVED[name.lower()]}")
    return name


def header_value(value: Any) -> Any:
    """Returns a number as text, and any other value unchanged.

    Raises ValueError for a text with characters that a header cannot carry: a line break would let it add headers.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and not is_header_safe(value):
        raise ValueError("contains a character that headers cannot carry, such as a line break or non-ASCII text")
    return value


def is_header_safe(text: str) -> bool:
    """True if the text is printable ASCII."""
    return text.isascii() and text.isprintable()


def why_not_of_prompt(name: str, value: Any) -> str | None:
    """Returns why a prompt may not send this header; None if it may."""
    try:
        added_name(name)
        if not isinstance(value, str):
            return "must be text"
        header_value(value)
    except ValueError as error:
        return str(error)
    if is_secret_name(name) or looks_secret(value) or "${" in value:
        return "a suite must not contain secrets; put the header under the gateway or the model, as ${NAME}"
    return None


def laid_over(*layers: Mapping[str, str]) -> dict[str, str]:
    """Returns the headers of all layers. A later layer overrides an earlier one; names are compared without case.

    The spelling of a name is that of its first layer.
    """
    spelling: dict[str, str] = {}
    merged: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.items():
            merged[spelling.setdefault(name.lower(), name)] = value
    return merged
