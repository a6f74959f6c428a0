"""A server that says, byte for byte and when it is told to, what a test wants said."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 10.0
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def sized(body: bytes, extra: bytes = b"") -> bytes:
    """A whole answer with a content-length."""
    return HEAD + extra + b"content-length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST = chunk(b"")


async def until(true: Callable[[], bool]) -> None:
    """Turns the event loop until `true`; no longer than a test may take."""
    limit = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        await asyncio.sleep(0)


async def turns(count: int = 50) -> None:
    """Lets the event loop go round: whatever was to happen by itself has happened then."""
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self) -> Request:
        """The next request, read to the end of its body."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._request()

    async def _request(self) -> Request:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.split("\r\n")[:-2]
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in rest)}
        return Request(line, headers, await self._reader.readexactly(int(headers.get("content-length", 0))))

    def write(self, data: bytes) -> int:
        """Hands `data` to the kernel in this very call; returns the monotonic instant just before."""
        before = time.monotonic_ns()
        self._writer.write(data)
        return before

    async def answer(self, data: bytes) -> Request:
        """Reads a request and writes `data`."""
        request = await self.request()
        self.write(data)
        return request

    async def some(self) -> bytes:
        """A little of what came."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read(10_000)

    def encrypted(self, data: bytes) -> bytes:
        """The TLS record of `data`, to be written by `raw`."""
        protocol: Any = self._writer.transport
        protocol = protocol._ssl_protocol
        protocol._sslobj.write(data)
        record: bytes = protocol._outgoing.read()
        return record

    def raw(self, data: bytes) -> int:
        """Writes below TLS, in this very call; returns the monotonic instant just before."""
        before = time.monotonic_ns()
        assert os.write(self.socket.fileno(), data) == len(data)
        return before

    def unread(self) -> int:
        """Bytes that came and were not taken from the kernel yet."""
        return int(struct.unpack("i", fcntl.ioctl(self.socket.fileno(), termios.FIONREAD, b"\0" * 4))[0])

    @property
    def closed(self) -> bool:
        return self._writer.transport.is_closing()

    @property
    def socket(self) -> socket.socket:
        sock: socket.socket = self._writer.get_extra_info("socket")
        return sock

    async def refuse_handshake(self, tls: ssl.SSLContext) -> None:
        """Shakes hands as far as it goes, and sends the alert: asyncio's own servers keep theirs to themselves."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        side = tls.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                self.write(outgoing.read())
                incoming.write(await self.some())
            except ssl.SSLError:
                self.write(outgoing.read())
                return

    def certificate(self) -> object:
        """What the client showed."""
        return self._writer.get_extra_info("peercert")

    def close(self) -> None:
        """Says goodbye as servers do: close_notify where there is TLS, then FIN."""
        self._writer.close()

    def half_close(self) -> None:
        """FIN at once and nothing else; what the client still writes is taken."""
        self.socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """FIN in this very call, without a close_notify."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> bytes:
        """Waits until the client has closed; returns what it still said."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._reader.read()
        except ConnectionError:
            return b""


@dataclass
class Server:
    """Takes connections as they come; `peer` gives the next one that no test has had yet."""

    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    name: str = ""
    """The host's name in `url`, if it is not the address."""
    accepted: int = 0
    peers: list[Peer] = field(default_factory=list)
    port: int = 0
    _queue: asyncio.Queue[Peer] = field(default_factory=asyncio.Queue)
    _server: asyncio.Server | None = None
    _over: bool = False

    async def start(self) -> Server:
        self._server = await asyncio.start_server(self._accept, self.host, 0, ssl=self.tls, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def url(self) -> str:
        name = self.name or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{'https' if self.tls else 'http'}://{name}:{self.port}/v1"

    async def peer(self) -> Peer:
        async with asyncio.timeout(PATIENCE_S):
            return await self._queue.get()

    def refuse(self) -> None:
        """No further connection is taken; those that stand stay."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        self.refuse()
        self._over = True
        for peer in self.peers:
            peer.cut()
        await turns(5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self._queue.put_nowait(peer)
        if self._over:  # it was on its way when the others were cut
            peer.cut()
