"""The wire below the SDK. `client` gives each request an `Exchange`; a transport tapes what came, and when.

`DirectTransport` is our own, with kernel stamps; `StandardTransport` is the SDK's stack, for proxies and HTTP/2.
"""

from __future__ import annotations

from typing import Any

import httpx2

from streambench.transport.direct import DirectTransport
from streambench.transport.exchange import CURRENT, Bounds, Exchange
from streambench.transport.hub import Hub
from streambench.transport.standard import StandardTransport
from streambench.transport.tape import Tape
from streambench.transport.tls import TlsSettings

__all__ = [
    "CURRENT",
    "Bounds",
    "DirectTransport",
    "Exchange",
    "Hub",
    "StandardTransport",
    "Tape",
    "TlsSettings",
    "http_client",
]


def http_client(transport: DirectTransport | StandardTransport) -> Any:
    """What the SDK takes as `http_client`. Deadlines are ours, so it has none; redirects are answers, not detours."""
    return httpx2.AsyncClient(transport=transport, timeout=None, follow_redirects=False, trust_env=False)
