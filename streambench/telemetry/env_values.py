"""Parsers of single OTEL_* values. Each returns the value or raises UnusableError, whose text never repeats a secret.

`settings` decides which variable counts; this module parses its text. The parsers follow the Python SDK 1.45 where the
SDK reads the variable itself, and the specification where the SDK leaves it to auto-instrumentation. Pure.
"""

from __future__ import annotations

import math
import re
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from streambench.config.sections import Compression, Content, Exporter, Protocol
from streambench.redaction import Secrets, mask_url
from streambench.text import nearest, shown

GRPC_PORT: Final = 4317
HTTP_PORT: Final = 4318

_EXPORTERS: dict[str, Exporter] = {
    "otlp": "otlp",
    "otlp_proto_http": "otlp",
    "otlp_proto_grpc": "otlp",
    "console": "console",
    "none": "none",
}
_PROTOCOL_OF: dict[str, Protocol] = {"otlp_proto_http": "http/protobuf", "otlp_proto_grpc": "grpc"}
_PROTOCOLS: dict[str, Protocol] = {"http/protobuf": "http/protobuf", "grpc": "grpc"}
_COMPRESSIONS: dict[str, Compression] = {"gzip": "gzip", "none": "none"}
_CONTENTS: dict[str, Content] = {
    "NO_CONTENT": "NO_CONTENT",
    "SPAN_ONLY": "SPAN_ONLY",
    "EVENT_ONLY": "EVENT_ONLY",
    "SPAN_AND_EVENT": "SPAN_AND_EVENT",
    "TRUE": "EVENT_ONLY",  # older packages knew true and false only, and wrote content into events
    "FALSE": "NO_CONTENT",
}
_SIGNAL_PATHS = ("/v1/traces", "/v1/metrics", "/v1/logs")
_PLAIN_ADDRESS = re.compile(r"[\w.-]+(:\d+)?/?", re.ASCII)
_SCHEME = re.compile(r"[a-zA-Z][\w+.-]*://", re.ASCII)

# The grammar of opentelemetry.util.re, which the exporters use for headers: W3C baggage with percent-encoded values, or
# plain text with spaces, which is not decoded.
_NAME = r"[!#-'*+.0-9A-Z^-z|~-]+"
_ENCODED = re.compile(rf"{_NAME}[ \t]*=[ \t]*[!#-+\--:<-\[\]-~]*")
_PLAIN = re.compile(rf"{_NAME}[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class UnusableError(Exception):
    """Raised for a text that is not a valid value. `found` is safe to show; None if it may be a secret."""

    def __init__(self, message: str, accepted: str, found: str | None = None) -> None:
        super().__init__(message)
        self.accepted = accepted
        self.found = found


def exporter(text: str) -> Exporter:
    """Returns the first of `otlp`, `console` and `none` that the list holds: streambench uses only one exporter."""
    names = [name.strip().lower() for name in text.split(",")]
    known = {_EXPORTERS[name] for name in names if name in _EXPORTERS}
    for one in ("otlp", "console", "none"):
        if one in known:
            return one
    raise UnusableError(
        f"is not a supported exporter{nearest(names[0], _EXPORTERS)}", "otlp, console or none", shown(text)
    )


def protocol_of_exporter(text: str) -> Protocol | None:
    """Returns the protocol of Python's exporter names `otlp_proto_http` and `otlp_proto_grpc`; None for other names."""
    names = (name.strip().lower() for name in text.split(","))
    return next((_PROTOCOL_OF[name] for name in names if name in _PROTOCOL_OF), None)


def protocol(text: str) -> Protocol:
    known = _PROTOCOLS.get(text.lower())
    if known is not None:
        return known
    if text.lower() == "http/json":
        raise UnusableError("OTLP as JSON is not supported", "http/protobuf or grpc", shown(text))
    raise UnusableError(f"is not a supported protocol{nearest(text, _PROTOCOLS)}", "http/protobuf or grpc", shown(text))


def compression(text: str) -> Compression:
    known = _COMPRESSIONS.get(text.lower())
    if known is None:
        raise UnusableError("is not a supported compression", "gzip or none", shown(text))
    return known


def content(text: str) -> Content:
    """Parses the convention's four values, in any case; `true` and `false` mean what they meant in older packages."""
    known = _CONTENTS.get(text.upper())
    if known is None:
        raise UnusableError(
            f"is not a valid choice{nearest(text.upper(), _CONTENTS)}",
            "NO_CONTENT, SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT",
            shown(text),
        )
    return known


def seconds(text: str) -> float:
    """Returns seconds, the unit that Python's exporters read; the specification says milliseconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UnusableError("is not a valid time", "a number of seconds above 0", shown(text))
    return value


def switch(text: str) -> bool:
    """True for `true` in any case; False for any other text, as the specification says."""
    return text.lower() == "true"


def headers(text: str) -> dict[str, str]:
    """Parses `name=value,name=value`: names in lower case, values decoded. Errors give an entry's position only."""
    pairs = [pair.strip(" \t") for pair in text.split(",")]
    return dict(_header(pair, place) for place, pair in enumerate(pairs, start=1) if pair)


def _header(pair: str, place: int) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    if _ENCODED.fullmatch(pair):
        name, value = unquote(name), unquote(value)
    elif not _PLAIN.fullmatch(pair):
        raise UnusableError(
            f"entry {place} is not a header", "name=value,name=value with values percent-encoded: %20 is a space"
        )
    name, value = name.strip().lower(), value.strip()
    if not _TOKEN.fullmatch(name) or not (value.isascii() and value.isprintable()):
        raise UnusableError(
            f"entry {place} contains a character that a header cannot carry", "printable ASCII, also after decoding"
        )
    return name, value


# --- addresses


def http_url(text: str, path: str | None) -> str:
    """Returns the complete URL of a signal. `path` is added to a base URL; None if the text is complete already."""
    parts = _split(text)
    if parts.scheme not in ("http", "https"):
        raise _no_scheme(text, HTTP_PORT)
    if parts.port == GRPC_PORT:
        example = _with_port(parts, HTTP_PORT)
        accepted = f"{example}, or protocol grpc in `telemetry.protocol` or OTEL_EXPORTER_OTLP_PROTOCOL"
        raise UnusableError(f"{GRPC_PORT} is the port for gRPC", accepted, _safe(text))
    if path is None:
        return text
    if parts.path.rstrip("/").endswith(_SIGNAL_PATHS):
        raise UnusableError(
            "must be a base URL, to which a path such as /v1/traces is added", "the part before /v1/", _safe(text)
        )
    return parts._replace(path=parts.path.rstrip("/") + path).geturl()


def grpc_target(text: str, *, insecure: bool) -> tuple[str, bool]:
    """Returns `host:port`, and True for no TLS. The URL's scheme decides; `insecure` counts if there is no scheme."""
    parts = _split(text if _SCHEME.match(text) else f"//{text}")
    if parts.scheme not in ("http", "https", ""):
        raise _no_scheme(text, GRPC_PORT)
    if parts.port == HTTP_PORT:
        example = _with_port(parts, GRPC_PORT)
        accepted = f"{example}, or protocol http/protobuf in `telemetry.protocol` or OTEL_EXPORTER_OTLP_PROTOCOL"
        raise UnusableError(f"{HTTP_PORT} is the port for HTTP", accepted, _safe(text))
    if not parts.hostname:
        raise UnusableError("has no host", _example(GRPC_PORT), _safe(text))
    if parts.username is not None:
        raise UnusableError(
            "gRPC does not support a user or password in the URL", "credentials in a header", _safe(text)
        )
    port = parts.port or (443 if parts.scheme == "https" else GRPC_PORT)
    return f"{_host(parts)}:{port}", parts.scheme == "http" or (not parts.scheme and insecure)


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UnusableError("is not a URL: its host or port is invalid", _example(HTTP_PORT), _safe(text)) from None
    if not text.isprintable() or " " in text:
        raise UnusableError("contains a space or a control character", _example(HTTP_PORT), _safe(text))
    if not host and parts.scheme in ("http", "https"):
        raise UnusableError("has no host", _example(HTTP_PORT), _safe(text))
    if parts.fragment:
        raise UnusableError("must not have a #fragment", _example(HTTP_PORT), _safe(text))
    return parts


def _no_scheme(text: str, port: int) -> UnusableError:
    example = f"http://{text}" if _PLAIN_ADDRESS.fullmatch(text) else _example(port)
    return UnusableError("must begin with http:// or https://", example, _safe(text))


def _example(port: int) -> str:
    return f"a URL such as http://localhost:{port}"


def _with_port(parts: SplitResult, port: int) -> str:
    return f"{parts.scheme or 'http'}://{_host(parts)}:{port}"


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _safe(text: str) -> str:
    return shown(Secrets().mask(mask_url(text)))
