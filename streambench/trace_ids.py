"""Ids of traces and spans, the `traceparent` that passes them on (W3C Trace Context, version 00), and links to them."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Literal
from urllib.parse import urlsplit

from streambench.records import RunTrace

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
TRACE_ID = "{trace_id}"
LINK = f"a web address with {TRACE_ID} in it, such as https://traces.example/trace/{TRACE_ID}"
"""What `why_no_link` accepts."""
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


def new_trace_id() -> str:
    """32 hexadecimal digits, at random and never all zero."""
    return _drawn(16)


def new_span_id() -> str:
    """16 hexadecimal digits, at random and never all zero."""
    return _drawn(8)


def why_no_link(pattern: str) -> str | None:
    """Why a pattern makes no links to traces; None where it does. Says nothing of its text, which may hold a secret."""
    if not pattern.isprintable() or " " in pattern:
        return "holds a space or a control character"
    try:
        parts = urlsplit(pattern)
    except ValueError:
        return "is no web address"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is no web address"
    if "@" in parts.netloc:
        return "names a user or a password, which everybody who has the page could read"
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
    """The place of a new run: below what `traceparent` names, else in a trace of its own."""
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
    """Of a model's span in a run: the same each time it is asked for, so that it need not be stored."""
    digest = hashlib.sha256(f"{run.trace_id}/{run.span_id}/{alias}".encode()).digest()
    return digest[:8].hex() if any(digest[:8]) else digest[8:16].hex()


def _is_valid(version: str, trace_id: str, parent: str, _flags: str, more: str | None) -> bool:
    if version == "ff" or (version == "00" and more is not None):
        return False
    return trace_id != _NO_TRACE and parent != _NO_SPAN
