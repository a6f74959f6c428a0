"""Connections to one origin: opened ahead or at need, kept alive, handed out last in, first out."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import aiohappyeyeballs

from streambench.clock import Clock
from streambench.records import Connection, Failure
from streambench.transport.exchange import Exchange
from streambench.transport.hub import Hub, ask_for_stamps
from streambench.transport.wire import Tls, Wire

HAPPY_EYEBALLS_S = 0.25
"""RFC 8305's recommended delay before the next address is tried beside the first."""
CLOSED = Failure("cancelled", "the transport was closed")


@dataclass(frozen=True, slots=True)
class Origin:
    host: str
    port: int
    tls: bool


class Pool:
    """Never more idle connections than were once in use together; a server that closes one is noticed at once."""

    def __init__(
        self, origin: Origin, hub: Hub, clock: Clock, context: Callable[[], ssl.SSLContext], *, fresh: bool = False
    ) -> None:
        self.origin = origin
        self._hub = hub
        self._clock = clock
        self._context = context
        self._fresh = fresh
        self._idle: list[Wire] = []
        self._opening = 0
        self._spare = 0
        self._connect_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: dict[Exchange, bytes] = {}
        self._wires: dict[Exchange, Wire] = {}
        self.closed = False

    def begin(self, exchange: Exchange, request: bytes) -> None:
        """Sends over an idle connection in this very call, or over a new one as soon as it stands."""
        self._requests[exchange] = request
        if self._idle:
            self._send(self._idle.pop(), exchange)
            if len(self._idle) + self._opening < self._spare:
                self._spawn(self._open_idle(self._connect_s))
        else:
            self._spawn(self._open_and_send(exchange))

    def cut(self, exchange: Exchange) -> None:
        """Drops the connection that carries the exchange."""
        self._requests.pop(exchange, None)
        wire = self._wires.pop(exchange, None)
        if wire is not None:
            wire.close()

    def forget(self, exchange: Exchange) -> None:
        """The exchange is over; its wire may already serve another."""
        self._requests.pop(exchange, None)
        self._wires.pop(exchange, None)

    async def warm(self, count: int, connect_s: float, spare: int = 0) -> None:
        """Opens connections until `count` stand idle or are being opened, and from then on keeps `spare` in hand.

        Failures are left for a request to tell.
        """
        self._spare = spare
        self._connect_s = connect_s
        missing = max(0, count - len(self._idle) - self._opening)
        await asyncio.gather(*(self._open_idle(connect_s) for _ in range(missing)))

    async def close(self) -> None:
        """Drops every connection; an exchange that is still under way ends as cancelled."""
        self.closed = True
        for exchange in tuple(self._requests):
            exchange.abort(CLOSED)
        for task in tuple(self._tasks):
            task.cancel()
        while self._idle:
            self._idle.pop().close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _send(self, wire: Wire, exchange: Exchange, stale: int = 0) -> None:
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

    async def _open_for(self, exchange: Exchange) -> Wire | None:
        """A new connection, or None when it failed and the exchange was told how."""
        limit = exchange.bounds.connect_s
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
        except (OSError, ValueError):  # TimeoutError is one
            return
        finally:
            self._opening -= 1
        wire.made = replace(wire.made, new=False, ahead=True)
        self._on_idle(wire)

    async def _open(self, connect_s: float) -> Wire:
        async with asyncio.timeout(connect_s):
            return await self._connect()

    async def _connect(self) -> Wire:
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
            tls = Tls(self._context(), self.origin.host) if self.origin.tls else None
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
        return Wire(sock, self._hub, made, self._on_idle, self._on_closed, tls)

    def _on_idle(self, wire: Wire) -> None:
        if self.closed or self._fresh:
            wire.close()
        else:
            self._idle.append(wire)

    def _on_closed(self, wire: Wire, swallowed: Exchange | None) -> None:
        """An idle wire leaves the pool. A request that a dead wire swallowed, unanswered, goes out once more."""
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


async def _addresses(loop: asyncio.AbstractEventLoop, origin: Origin) -> list[Any]:
    """An address needs no look-up, and so no thread of the loop's executor, which costs a turn of the interpreter."""
    try:
        return socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)


def connect_failure(error: OSError | ValueError, origin: Origin) -> Failure:
    """Which of DNS, refusal and TLS it was, in words that name the host."""
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
        return Failure("connect_error", f"{place}: connection reset while it was set up", detail="reset")
    if not isinstance(error, OSError):
        return Failure("connect_error", f"{origin.host!r} cannot be a host name: {error}", detail="dns")
    return Failure("connect_error", f"{place}: {error.strerror or error}", detail="unreachable")
