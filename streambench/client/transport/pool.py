"""Connections to one origin: opened ahead or on demand, kept alive, reused last in, first out."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import aiohappyeyeballs

from streambench.client.transport.connection import HttpConnection, TlsChannel
from streambench.client.transport.exchange import Exchange
from streambench.client.transport.socket_hub import SocketHub, ask_for_stamps
from streambench.clock import Clock
from streambench.records.schema import Connection, Failure

HAPPY_EYEBALLS_S = 0.25
"""Seconds before the next address is tried in parallel with the first: the delay that RFC 8305 recommends."""
CLOSED = Failure("cancelled", "the transport was closed")


@dataclass(frozen=True, slots=True)
class ServerOrigin:
    host: str
    port: int
    tls: bool


class Pool:
    """The connections to one origin. A connection that the server closes is removed at once.

    Apart from those that `warm` opens, there are never more idle connections than were once in use at the same time.
    """

    def __init__(
        self,
        origin: ServerOrigin,
        hub: SocketHub,
        clock: Clock,
        context: Callable[[], ssl.SSLContext],
        *,
        fresh: bool = False,
    ) -> None:
        self.origin = origin
        self._hub = hub
        self._clock = clock
        self._context = context
        self._fresh = fresh
        self._idle: list[HttpConnection] = []
        self._opening = 0
        self._spare = 0
        self._connect_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: dict[Exchange, bytes] = {}
        self._wires: dict[Exchange, HttpConnection] = {}
        self.closed = False

    def begin(self, exchange: Exchange, request: bytes) -> None:
        """Sends the request over an idle connection within this call, or over a new one as soon as it is open."""
        self._requests[exchange] = request
        if self._idle:
            self._send(self._idle.pop(), exchange)
            if len(self._idle) + self._opening < self._spare:
                self._spawn(self._open_idle(self._connect_s))
        else:
            self._spawn(self._open_and_send(exchange))

    def cut(self, exchange: Exchange) -> None:
        """Closes the connection that carries the exchange."""
        self._requests.pop(exchange, None)
        wire = self._wires.pop(exchange, None)
        if wire is not None:
            wire.close()

    def forget(self, exchange: Exchange) -> None:
        """Forgets an exchange that has ended; its connection may already serve another."""
        self._requests.pop(exchange, None)
        self._wires.pop(exchange, None)

    async def warm(self, count: int, connect_s: float, spare: int = 0) -> None:
        """Opens connections until `count` are idle or being opened, and from then on keeps `spare` of them idle.

        A failure is not reported here: the request that needs the connection reports it.
        """
        self._spare = spare
        self._connect_s = connect_s
        missing = max(0, count - len(self._idle) - self._opening)
        await asyncio.gather(*(self._open_idle(connect_s) for _ in range(missing)))

    async def close(self) -> None:
        """Closes every connection. An exchange that is still in progress ends as cancelled."""
        self.closed = True
        for exchange in tuple(self._requests):
            exchange.abort(CLOSED)
        for task in tuple(self._tasks):
            task.cancel()
        while self._idle:
            self._idle.pop().close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send(self, wire: HttpConnection, exchange: Exchange, stale: int = 0) -> None:
        self._wires[exchange] = wire
        wire.send(exchange, self._requests[exchange], stale=stale)

    async def _open_and_send(self, exchange: Exchange, stale: int = 0) -> None:
        wire = await self._open_for(exchange)
        if wire is None:
            return
        if exchange.tape.ended is not None or exchange not in self._requests:
            wire.close()
        else:
            self._send(wire, exchange, stale)

    async def _open_for(self, exchange: Exchange) -> HttpConnection | None:
        """Returns a new connection; None if it failed, in which case the exchange has ended with the failure."""
        limit = exchange.connect_s
        try:
            return await self._open(limit)
        except TimeoutError:
            exchange.finish(Failure("timeout", f"no connection within {limit:g} s", detail="connect"))
        except (OSError, ValueError) as error:
            exchange.finish(connect_failure(error, self.origin))
        return None

    async def _open_idle(self, connect_s: float) -> None:
        self._opening += 1
        try:
            wire = await self._open(connect_s)
        except (OSError, ValueError):  # OSError includes TimeoutError
            return
        finally:
            self._opening -= 1
        wire.made = replace(wire.made, new=False, ahead=True)
        self._on_idle(wire)

    async def _open(self, connect_s: float) -> HttpConnection:
        async with asyncio.timeout(connect_s):
            return await self._connect()

    async def _connect(self) -> HttpConnection:
        now = self._clock.now_ns
        loop = asyncio.get_running_loop()
        start = now()
        found = await _addresses(loop, self.origin)
        resolved = now()
        sock = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_S, interleave=1)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ask_for_stamps(sock)
            connected = now()
            tls = TlsChannel(self._context(), self.origin.host) if self.origin.tls else None
            if tls is not None:
                await tls.handshake(sock)
        except BaseException:
            sock.close()
            raise
        made = Connection(
            new=True,
            dns_ns=resolved - start,
            connect_ns=connected - resolved,
            tls_ns=now() - connected if tls is not None else None,
        )
        return HttpConnection(sock, self._hub, made, self._on_idle, self._on_closed, tls)

    def _on_idle(self, wire: HttpConnection) -> None:
        if self.closed or self._fresh:
            wire.close()
        else:
            self._idle.append(wire)

    def _on_closed(self, wire: HttpConnection, swallowed: Exchange | None) -> None:
        """Removes a closed connection from the pool.

        `swallowed` is a request whose reused connection died before any byte came back; it is sent again on a new one.
        """
        if wire in self._idle:
            self._idle.remove(wire)
        if swallowed is not None:
            swallowed.tape.sent = None
            swallowed.tape.connection = Connection(new=False, stale=1)
            self._spawn(self._open_and_send(swallowed, stale=1))

    def _spawn(self, work: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _addresses(loop: asyncio.AbstractEventLoop, origin: ServerOrigin) -> list[Any]:
    """Returns the origin's addresses.

    An IP address needs no look-up, and so no thread of the loop's executor, which would take a turn of the interpreter.
    """
    try:
        return socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)


def connect_failure(error: OSError | ValueError, origin: ServerOrigin) -> Failure:
    """Returns a `connect_error` that names the host and says what failed: tls, dns, refused, reset or unreachable."""
    place = f"{origin.host}:{origin.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure("connect_error", f"{place}: certificate not trusted: {error.verify_message}", detail="tls")
    if isinstance(error, ssl.SSLError):
        return Failure("connect_error", f"{place}: TLS handshake failed: {error.reason or error}", detail="tls")
    if isinstance(error, socket.gaierror):
        return Failure("connect_error", f"{origin.host}: {error.strerror or error}", detail="dns")
    if isinstance(error, ConnectionRefusedError):
        return Failure("connect_error", f"{place}: connection refused", detail="refused")
    if isinstance(error, ConnectionResetError):
        return Failure("connect_error", f"{place}: connection reset during set-up", detail="reset")
    if not isinstance(error, OSError):
        return Failure("connect_error", f"{origin.host!r} is not a valid host name: {error}", detail="dns")
    return Failure("connect_error", f"{place}: {error.strerror or error}", detail="unreachable")
