"""Request headers that a user may add: which names and values can be sent, which are not the user's to say. Pure.

On the way: `config` and `suite` check with these; `client` lays a gateway's, a model's and a prompt's over one another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from streambench.secrets import is_secret_name, looks_secret

FRAMING = frozenset({"connection", "content-length", "content-type", "host", "transfer-encoding"})
"""Headers that a request's own bytes decide: another value would cut or garble it."""

RESERVED: Mapping[str, str] = {
    "authorization": "the gateway's `api_key` says it",
    "accept-encoding": "a compressed stream arrives in blocks, which no arrival could be told of",
    "traceparent": "telemetry says it, or the gateway's spans would be lost",
    "tracestate": "telemetry says it",
    "expect": "the answer to it would be taken for the answer to the prompt",
    "upgrade": "the connection stays HTTP",
    "te": "it concerns the connection, not the request",
    "trailer": "it concerns the connection, not the request",
    "keep-alive": "`connections:` of the gateway says it",
    "proxy-connection": "`connections:` of the gateway says it",
}
"""Headers that a model or a prompt may not add, and why."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def header_name(text: str) -> str:
    """The name itself. Raises ValueError for one that cannot be sent."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("is no header name")
    if text.lower() in FRAMING:
        raise ValueError("is set by the request itself")
    return text


def added_name(text: str) -> str:
    """A name that a model or prompt may add. Raises ValueError with the reason why not."""
    name = header_name(text)
    if name.lower() in RESERVED:
        raise ValueError(f"may not be set here: {RESERVED[name.lower()]}")
    return name


def header_value(value: Any) -> Any:
    """Numbers are fine as header values; line breaks would let a value add headers of its own."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and not is_header_safe(value):
        raise ValueError("holds a character that no header can carry, such as a line break or one outside ASCII")
    return value


def is_header_safe(text: str) -> bool:
    return text.isascii() and text.isprintable()


def why_not_of_prompt(name: str, value: Any) -> str | None:
    """Why a prompt may not send this header; None where it may."""
    try:
        added_name(name)
        if not isinstance(value, str):
            return "must be text"
        header_value(value)
    except ValueError as error:
        return str(error)
    if is_secret_name(name) or looks_secret(value) or "${" in value:
        return "a suite holds no secrets; put the header under the gateway or the model, as ${NAME}"
    return None


def laid_over(*layers: Mapping[str, str]) -> dict[str, str]:
    """The headers of all layers; a later one wins over one of the same name, whose spelling stays the first one's."""
    spelling: dict[str, str] = {}
    merged: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.items():
            merged[spelling.setdefault(name.lower(), name)] = value
    return merged
