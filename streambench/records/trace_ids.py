"""Creates trace and span ids, reads `traceparent` (W3C Trace Context, version 00), and checks trace link patterns."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import urlsplit

from streambench.records.schema import RunTrace

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
TRACE_ID = "{trace_id}"
LINK = f"a URL that contains {TRACE_ID}, such as https://traces.example/trace/{TRACE_ID}"
"""Describes the patterns that `why_no_link` accepts."""
Carrier = Callable[[str, str], Mapping[str, str]]
"""Takes a trace id and a span id; returns the headers that make a gateway's spans children of that span."""
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


def new_trace_id() -> str:
    """Returns 32 random hexadecimal digits, never all zero."""
    return _drawn(16)


def new_span_id() -> str:
    """Returns 16 random hexadecimal digits, never all zero."""
    return _drawn(8)


def why_no_link(pattern: str) -> str | None:
    """Returns why a pattern cannot make links to traces; None if it can.

    The reason does not quote the pattern, which may hold a secret.
    """
    if not pattern.isprintable() or " " in pattern:
        return "contains a space or a control character"
    try:
        parts = urlsplit(pattern)
    except ValueError:
        return "is not an http or https URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is not an http or https URL"
    if "@" in parts.netloc:
        return "contains a user or password, which anyone with the page could read"
    return None if TRACE_ID in pattern else f"has no {TRACE_ID}"


def _drawn(size: int) -> str:
    while not any(drawn := os.urandom(size)):
        pass
    return drawn.hex()


def new_run_trace(
    traceparent: str | None = None,
    shape: Literal["run", "request"] = "run",
    attempts: Literal["auto", "always"] = "auto",
) -> RunTrace:
    """Returns the trace of a new run: a child of the span in `traceparent` if that is valid, else a new trace."""
    found = _TRACEPARENT.fullmatch((traceparent or "").strip().lower())
    if found is None or not _is_valid(*found.groups()):
        return RunTrace(new_trace_id(), new_span_id(), shape=shape, attempts=attempts)
    _, trace_id, parent, flags, _ = found.groups()
    return RunTrace(
        trace_id,
        new_span_id(),
        parent_span_id=parent,
        sampled=bool(int(flags, 16) & 1),
        shape=shape,
        attempts=attempts,
    )


def model_span_id(run: RunTrace, alias: str) -> str:
    """Returns the id of a model's span. It is computed from the run's ids and the alias, so it need not be stored."""
    digest = hashlib.sha256(f"{run.trace_id}/{run.span_id}/{alias}".encode()).digest()
    return digest[:8].hex() if any(digest[:8]) else digest[8:16].hex()


def _is_valid(version: str, trace_id: str, parent: str, _flags: str, more: str | None) -> bool:
    if version == "ff" or (version == "00" and more is not None):
        return False
    return trace_id != _NO_TRACE and parent != _NO_SPAN
