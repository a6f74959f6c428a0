"""Our own transport below the SDK: the bytes leave at the planned instant, what arrives is stamped by the kernel."""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import cached_property

import httpx2

from streambench.clock import Clock
from streambench.records import Failure
from streambench.transport.exchange import CURRENT, Bounds, Exchange
from streambench.transport.hub import Hub
from streambench.transport.pool import Origin, Pool
from streambench.transport.tls import TlsSettings, ssl_context

DEFAULT_PORTS = {"http": 80, "https": 443}


class DirectTransport(httpx2.AsyncBaseTransport):
    """HTTP/1.1 over kept-alive connections, pooled per origin. `fresh` opens a new connection for every request."""

    def __init__(self, hub: Hub, clock: Clock, tls: TlsSettings, *, fresh: bool = False) -> None:
        self._hub = hub
        self._clock = clock
        self._tls = tls
        self._fresh = fresh
        self._pools: dict[Origin, Pool] = {}

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return ssl_context(self._tls)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = CURRENT.get()
        alone = exchange is None
        if exchange is None:
            exchange = Exchange(self._clock, Bounds())
        wire_bytes = serialise(request, await request.aread())
        pool = self._pool(_origin(request.url))
        exchange.load(
            begin=lambda: pool.begin(exchange, wire_bytes),
            cut=lambda: pool.cut(exchange),
            forget=lambda: pool.forget(exchange),
        )
        if alone:
            exchange.fire()
            await end_of(exchange)
        else:
            await exchange.released
        return response_of(exchange)

    async def warm(self, base_url: str, count: int, connect_s: float, spare: int = 0) -> None:
        """Opens connections to the URL's origin until `count` stand idle, then keeps `spare` of them in hand."""
        if not self._fresh:
            await self._pool(_origin(httpx2.URL(base_url))).warm(count, connect_s, spare)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.close()

    def _pool(self, origin: Origin) -> Pool:
        if origin not in self._pools:
            self._pools[origin] = Pool(origin, self._hub, self._clock, lambda: self._context, fresh=self._fresh)
            if origin.tls:
                with suppress(OSError):  # reads the CA bundle ahead of all latencies; a request tells what is amiss
                    self._context  # noqa: B018
        return self._pools[origin]


async def end_of(exchange: Exchange) -> None:
    """Waits for an exchange that no client watches; who is cancelled while waiting takes its wire down too."""
    try:
        await exchange.over
    finally:
        exchange.abort(Failure("cancelled", "the caller went away"))


def response_of(exchange: Exchange) -> httpx2.Response:
    """The answer as the SDK takes it; the body only where the SDK makes an error of it. Raises as httpx2 does."""
    tape = exchange.tape
    if tape.status is None:
        failure = tape.failure
        message = failure.message if failure is not None else "no answer"
        if failure is not None and failure.kind == "timeout":
            raise httpx2.ReadTimeout(message)
        if failure is not None and failure.kind == "connect_error":
            raise httpx2.ConnectError(message)
        raise httpx2.ReadError(message)
    return httpx2.Response(
        tape.status,
        headers=[
            (name.encode(), value.encode())  # as bytes: httpx2 refuses text that is not ASCII
            for name, value in tape.headers
            if name not in ("content-encoding", "content-length")
        ],
        content=tape.body() if tape.status >= 400 else b"",
    )


def serialise(request: httpx2.Request, body: bytes) -> bytes:
    """Head and body in one buffer. Raises LocalProtocolError for a header that would break out of its line."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    for name, value in request.headers.raw:
        if any(byte in b"\r\n\0" for byte in name + value):
            raise httpx2.LocalProtocolError(f"header {name.decode('latin-1')!r} holds a line break or NUL")
        lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", body])


def _origin(url: httpx2.URL) -> Origin:
    return Origin(url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS[url.scheme], tls=url.scheme == "https")
