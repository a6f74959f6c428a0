"""streambench's own transport below the SDK: sends at the planned instant; the kernel timestamps what arrives."""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import cached_property

import httpx2

from streambench.client.transport.exchange import CURRENT, Exchange
from streambench.client.transport.pool import Pool, ServerOrigin
from streambench.client.transport.socket_hub import SocketHub
from streambench.client.transport.tls import ssl_context
from streambench.clock import Clock
from streambench.config.sections import Tls
from streambench.records.schema import Failure

DEFAULT_PORTS = {"http": 80, "https": 443}


class DirectTransport(httpx2.AsyncBaseTransport):
    """HTTP/1.1 over kept-alive connections, one pool per origin. `fresh` opens a new connection for every request."""

    def __init__(self, hub: SocketHub, clock: Clock, tls: Tls, *, fresh: bool = False) -> None:
        self._hub = hub
        self._clock = clock
        self._tls = tls
        self._fresh = fresh
        self._pools: dict[ServerOrigin, Pool] = {}

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return ssl_context(self._tls)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = CURRENT.get()
        alone = exchange is None
        if exchange is None:
            exchange = Exchange(self._clock)
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
        """Opens connections to the URL's origin until `count` are idle, then keeps `spare` idle. Not if `fresh`."""
        if not self._fresh:
            await self._pool(_origin(httpx2.URL(base_url))).warm(count, connect_s, spare)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.close()

    def _pool(self, origin: ServerOrigin) -> Pool:
        if origin not in self._pools:
            self._pools[origin] = Pool(origin, self._hub, self._clock, lambda: self._context, fresh=self._fresh)
            if origin.tls:
                with suppress(OSError):  # loads the CA bundle before any timing; a request reports an error
                    self._context  # noqa: B018
        return self._pools[origin]


async def end_of(exchange: Exchange) -> None:
    """Waits for the end of an exchange that was not made by a `Client`.

    If the waiting task is cancelled, the exchange is aborted and its connection closed.
    """
    try:
        await exchange.over
    finally:
        exchange.abort(Failure("cancelled", "the caller stopped waiting"))


def response_of(exchange: Exchange) -> httpx2.Response:
    """Returns the response for the SDK; with a body only for an error status, from which the SDK makes its error.

    Raises httpx2.ReadTimeout, httpx2.ConnectError or httpx2.ReadError if there was no response.
    """
    tape = exchange.tape
    if tape.status is None:
        failure = tape.failure
        message = failure.message if failure is not None else "no response"
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
    """Returns request line, headers and body as one buffer.

    Raises httpx2.LocalProtocolError if a header holds a line break or NUL, which would end its line early.
    """
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    for name, value in request.headers.raw:
        if any(byte in b"\r\n\0" for byte in name + value):
            raise httpx2.LocalProtocolError(f"header {name.decode('latin-1')!r} contains a line break or NUL")
        lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", body])


def _origin(url: httpx2.URL) -> ServerOrigin:
    return ServerOrigin(url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS[url.scheme], tls=url.scheme == "https")
