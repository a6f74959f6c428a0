"""Makes an SSL context from a gateway's TLS settings: by default with the system's trust, as the SDK's own client."""

from __future__ import annotations

import ssl

import httpx2

from streambench.config.sections import Tls


def ssl_context(settings: Tls) -> ssl.SSLContext:
    """Returns the SSL context. Raises OSError or ssl.SSLError if a file cannot be used."""
    if settings.verify and settings.ca_bundle is not None:
        context = ssl.create_default_context(cafile=str(settings.ca_bundle))
    else:
        context = httpx2.create_ssl_context(verify=settings.verify)
    if settings.client_cert is not None:
        context.load_cert_chain(str(settings.client_cert), str(settings.client_key) if settings.client_key else None)
    return context
