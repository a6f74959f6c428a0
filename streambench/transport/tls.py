"""The TLS settings of a gateway, as an SSL context: system trust by default, as the SDK's own client has it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx2


@dataclass(frozen=True, slots=True)
class TlsSettings:
    ca_bundle: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    verify: bool = True


def ssl_context(settings: TlsSettings) -> ssl.SSLContext:
    """Raises OSError or ssl.SSLError for a file that cannot be used."""
    if settings.verify and settings.ca_bundle is not None:
        context = ssl.create_default_context(cafile=str(settings.ca_bundle))
    else:
        context = httpx2.create_ssl_context(verify=settings.verify)
    if settings.client_cert is not None:
        context.load_cert_chain(str(settings.client_cert), str(settings.client_key) if settings.client_key else None)
    return context
