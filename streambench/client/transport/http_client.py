"""Creates the HTTP client that the SDK uses."""

from __future__ import annotations

from typing import Any

import httpx2

from streambench.client.transport.direct import DirectTransport
from streambench.client.transport.standard import StandardTransport


def http_client(transport: DirectTransport | StandardTransport) -> Any:
    """Returns the object that the SDK takes as `http_client`.

    It has no timeout, as `DeadlineWatch` enforces the deadlines. It does not follow redirects: they are recorded as
    responses.
    """
    return httpx2.AsyncClient(transport=transport, timeout=None, follow_redirects=False, trust_env=False)
