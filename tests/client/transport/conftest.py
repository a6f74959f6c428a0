"""A rig for each test: one clock, one hub, servers on loopback, and calls that are prepared and fired by hand."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme

from streambench.client.transport.direct import DirectTransport
from streambench.client.transport.exchange import CURRENT, Exchange
from streambench.client.transport.http_client import http_client
from streambench.client.transport.socket_hub import SocketHub
from streambench.client.transport.standard import StandardTransport
from streambench.client.transport.tape import Tape
from streambench.clock import LoopClock
from streambench.config.sections import Bounds, Timeouts, Tls

from .server import PATIENCE_S, Peer, Server, until

Transport = DirectTransport | StandardTransport


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Authority:
    """A certificate authority and where its certificate lies."""

    ca: trustme.CA
    bundle: Path

    @property
    def settings(self) -> Tls:
        return Tls(ca_bundle=self.bundle)

    def server(self, *names: str, not_after: datetime | None = None) -> ssl.SSLContext:
        """A server's context with a certificate for these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        not_before = datetime(2001, 1, 1, tzinfo=UTC) if not_after else None
        self.ca.issue_cert(*names, not_before=not_before, not_after=not_after).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    bundle = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(str(bundle))
    return Authority(ca, bundle)


@dataclass(frozen=True)
class Call:
    """A request that stands prepared in a transport, as `client` makes them."""

    exchange: Exchange
    task: asyncio.Task[Any]

    @property
    def tape(self) -> Tape:
        return self.exchange.tape

    def fire(self) -> Call:
        self.exchange.fire()
        return self

    async def over(self) -> Tape:
        async with asyncio.timeout(PATIENCE_S):
            await self.exchange.over
        return self.tape

    async def result(self) -> Any:
        """What the caller above the transport gets in the end."""
        self.exchange.release()
        return await self.task

    async def read(self, reads: int) -> None:
        """Waits until that many reads have been taped."""
        await until(lambda: self.tape.read_count >= reads)

    async def body(self, pieces: int) -> None:
        """Waits until that many pieces of the body have been taped."""
        await until(lambda: len(self.tape.pieces) >= pieces)


class Rig:
    def __init__(self) -> None:
        self.clock = LoopClock()
        self.hub = SocketHub(self.clock)
        self.transports: list[Transport] = []
        self._clients: dict[Transport, Any] = {}
        self._servers: list[Server] = []
        self._tasks: list[asyncio.Task[Any]] = []

    async def server(self, **how: Any) -> Server:
        server = await Server(**how).start()
        self._servers.append(server)
        return server

    def direct(self, tls: Tls | None = None, *, fresh: bool = False) -> DirectTransport:
        transport = DirectTransport(self.hub, self.clock, tls or Tls(verify=False), fresh=fresh)
        self.transports.append(transport)
        return transport

    def standard(self, tls: Tls | None = None, **how: Any) -> StandardTransport:
        transport = StandardTransport(self.clock, tls or Tls(verify=False), **how)
        self.transports.append(transport)
        return transport

    def client(self, transport: Transport) -> Any:
        if transport not in self._clients:
            self._clients[transport] = http_client(transport)
        return self._clients[transport]

    async def call(
        self,
        url: str,
        transport: Transport,
        body: bytes = b"{}",
        bounds: Bounds | None = None,
        connect_s: float = Timeouts().connect,
    ) -> Call:
        """A POST that is prepared and waits to be fired."""
        request = httpx2.Request("POST", f"{url}/chat/completions", content=body)
        call = self.under(self.client(transport).send(request), bounds, connect_s)
        await call.exchange.prepared
        return call

    def under(
        self, work: Coroutine[Any, Any, Any], bounds: Bounds | None = None, connect_s: float = Timeouts().connect
    ) -> Call:
        """Runs `work` in a task whose context holds an exchange of its own."""
        exchange = Exchange(self.clock, bounds or Bounds(), connect_s)
        context = copy_context()
        context.run(CURRENT.set, exchange)
        task = asyncio.get_running_loop().create_task(work, context=context)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._tasks.append(task)
        return Call(exchange, task)

    def alone(self, url: str, transport: Transport) -> asyncio.Task[Any]:
        """A request that comes to the transport without an exchange."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(
            self.client(transport).post(url, content=b"{}")
        )
        self._tasks.append(task)
        return task

    def idle(self) -> int:
        """Connections that stand idle in the rig's transports."""
        directs = [transport for transport in self.transports if isinstance(transport, DirectTransport)]
        return sum(len(pool._idle) for transport in directs for pool in transport._pools.values())

    def forget_calls(self) -> None:
        self._tasks.clear()

    async def exchanged(self, url: str, transport: Transport, answer: bytes, peer: Peer | Server) -> Tape:
        """One whole exchange: fired, answered with `answer`, over."""
        call = (await self.call(url, transport)).fire()
        end = await peer.peer() if isinstance(peer, Server) else peer
        await end.answer(answer)
        return await call.over()

    async def close(self) -> None:
        for transport in self.transports:
            await transport.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            await server.close()
        self.hub.close()
        self.clock.close()


@pytest.fixture
async def rig(anyio_backend: str) -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.close()


@pytest.fixture(params=["plain", "tls"])
async def reached(request: pytest.FixtureRequest, rig: Rig, authority: Authority) -> tuple[Server, DirectTransport]:
    """A server and a transport to it, without and with TLS."""
    if request.param == "plain":
        return await rig.server(), rig.direct()
    return await rig.server(tls=authority.server("localhost"), name="localhost"), rig.direct(authority.settings)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Has the running loop resolve every name to the given socket addresses; DNS is not ours."""

    def to(*found: tuple[int, tuple[Any, ...]]) -> None:
        async def getaddrinfo(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
            return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in found]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)

    yield to
    monkeypatch.undo()
