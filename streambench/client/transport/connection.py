"""One kept-alive HTTP/1.1 connection, plain or TLS: writes a request's bytes, records the response's on the tape.

llhttp parses HTTP as it arrives (a fraction of a microsecond per chunk). Nothing above HTTP is parsed here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import httptools

from streambench.client.transport.exchange import Exchange
from streambench.client.transport.socket_hub import SocketHub
from streambench.records.schema import Connection, Failure

PLAINTEXT_SIZE = 64 * 1024
HEADER_COUNT = 1_000
"""Header fields of a response; this many are `too_large`, however short they are."""


class HttpConnection:
    """Idle until `send`, then busy until that response has ended. Informs its pool by `on_idle` and `on_closed`."""

    def __init__(
        self,
        sock: socket.socket,
        hub: SocketHub,
        made: Connection,
        on_idle: Callable[[HttpConnection], None],
        on_closed: Callable[[HttpConnection, Exchange | None], None],
        tls: TlsChannel | None = None,
    ) -> None:
        self.made = made
        self.closed = False
        self.used = False
        self._sock = sock
        self._hub = hub
        self._tls = tls
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._exchange: Exchange | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._unsent = b""
        self._stamp = 0
        self._taken = 0
        self._header_bytes = 0
        self._into: list[memoryview] | None = None
        self._paused = False
        self._keep_alive = False
        self._complete = False
        self._needs_eof = False
        hub.add(sock, self._on_readable)

    def send(self, exchange: Exchange, request: bytes, *, stale: int = 0) -> None:
        """Writes as much of `request` as the kernel takes at once, and the rest later.

        The response is recorded on the exchange's tape. `stale` is the number of closed connections tried before.
        """
        self._exchange = exchange
        self._parser = httptools.HttpResponseParser(self)
        self._taken = 0
        self._header_bytes = 0
        self._into = self._hub.little if exchange.tight else None
        self._complete = False
        self._needs_eof = False
        tape = exchange.tape
        tape.connection = replace(self.made, stale=stale) if not self.used else Connection(new=False, stale=stale)
        tape.stamps = "kernel" if self._hub.kernel_stamps else "read"
        self.used = True
        self._write(self._tls.encrypt(request) if self._tls is not None else request)

    def close(self) -> None:
        """Closes the connection. If an exchange is in progress, the caller must end it."""
        if self.closed:
            return
        self.closed = True
        self._hub.remove(self._sock)
        if self._unsent:
            asyncio.get_running_loop().remove_writer(self._sock.fileno())
        self._sock.close()
        self._exchange = None
        self._parser = None  # breaks a reference cycle, because full garbage collection is off during a run

    def _write(self, data: bytes) -> None:
        if self._unsent:  # a writer is registered: append to what it will write
            self._unsent += data
            return
        try:
            count = self._sock.send(data)
        except BlockingIOError:
            count = 0
        except (BrokenPipeError, ConnectionResetError):  # the response may still be read
            return
        except OSError as error:
            self._lost(_reset(error))
            return
        if count < len(data):
            asyncio.get_running_loop().add_writer(self._sock.fileno(), self._write_rest)
            self._unsent = data[count:]
            return
        if self._exchange is not None and self._exchange.tape.sent is None:
            self._exchange.tape.sent = self._exchange.clock.now_ns()

    def _write_rest(self) -> None:
        rest, self._unsent = self._unsent, b""
        asyncio.get_running_loop().remove_writer(self._sock.fileno())
        self._write(rest)

    def _on_readable(self) -> None:
        exchange = self._exchange
        not_before = exchange.tape.last_byte or exchange.tape.start if exchange is not None else 0
        try:
            data, stamp, lag = self._hub.read(self._sock, not_before, self._into)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lost(_reset(error))
            return
        if not data:
            self._eof()
            return
        if exchange is not None:
            tape = exchange.tape
            tape.read_count += 1
            if lag > tape.read_lag:
                tape.read_lag = lag
            elif lag < 0:
                tape.stamps = "read"
        self._stamp = stamp
        if self._tls is None:
            self._parse(data)
        else:
            self._decrypt(data)

    def _decrypt(self, data: memoryview) -> None:
        tls = self._tls
        if tls is None:
            return
        try:
            for plain in tls.decrypt(data):
                self._parse(plain)
            answer = tls.pending()
        except ssl.SSLError as error:
            self._lost(Failure("disconnected", f"TLS: {error.reason or error}", detail="tls"))
            return
        if answer and not self.closed:  # such as the reply to a key update
            self._write(answer)
        if tls.ended and not self.closed:
            self._eof()

    def _parse(self, data: memoryview | bytes) -> None:
        exchange, parser = self._exchange, self._parser
        if self.closed or not data:
            return
        if exchange is None or parser is None:  # bytes without a request
            self._drop()
            return
        self._taken += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._lost(_not_http(error))
                return
            self._keep_alive = False  # the response is complete; the bytes after it belong to no request
        if self._complete:
            self._end(exchange)
            return
        if self._taken > exchange.mark:
            self._look(exchange)
        if exchange.tape.done_hint:
            exchange.expect_end()

    def _look(self, exchange: Exchange) -> None:
        """Checks the response's limits, and stops reading if the response comes faster than it is decoded."""
        failure = exchange.look(self._taken) or self._header_failure(exchange)
        if failure is not None:
            self._lost(failure)
            return
        self._into = self._hub.little if exchange.tight else None
        if exchange.full and not self._paused:
            self._paused = True
            self._hub.remove(self._sock)
            exchange.resume = self._resume

    def _resume(self) -> None:
        if self._paused and not self.closed:
            self._paused = False
            self._hub.add(self._sock, self._on_readable)

    def _header_failure(self, exchange: Exchange) -> Failure | None:
        if self._header_bytes > exchange.bounds.head_bytes:
            return Failure("too_large", f"the headers exceeded {exchange.bounds.head_bytes} bytes", detail="headers")
        if len(exchange.tape.headers) >= HEADER_COUNT:
            return Failure("too_large", f"the response has {HEADER_COUNT} or more headers", detail="headers")
        return None

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        if self._complete:  # a second response without a request: the connection cannot be reused
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.tape.headers_at is not None:  # a trailer
            return
        self._header_bytes += len(name) + len(value) + 3  # the colon and CRLF
        if self._header_bytes <= exchange.bounds.head_bytes and len(exchange.tape.headers) < HEADER_COUNT:
            exchange.tape.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        exchange, parser = self._exchange, self._parser
        if exchange is None or parser is None or self._complete:
            return
        status = parser.get_status_code()
        tape = exchange.tape
        if status < 200:  # 100 Continue, 103 Early Hints: the final response follows
            tape.headers.clear()
            return
        if self._header_failure(exchange) is not None:
            return
        tape.status = status
        tape.headers_at = self._stamp
        self._keep_alive = parser.should_keep_alive()
        self._needs_eof = not any(_frames_the_body(name, value) for name, value in tape.headers)
        version = parser.get_http_version()
        if version != "1.1" and tape.connection is not None:
            tape.connection = replace(tape.connection, http_version=version)

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and not self._complete:
            exchange.tape.add(body, self._stamp)

    def on_message_complete(self) -> None:
        if self._exchange is not None and self._exchange.tape.status is not None:
            self._exchange.tape.last_byte = self._stamp
            self._complete = True

    # The end of a response or of the connection.

    def _end(self, exchange: Exchange) -> None:
        self._exchange = None
        self._parser = None
        if self._keep_alive and not self._unsent:
            self._on_idle(self)
        else:
            self._drop()
        exchange.finish()

    def _eof(self) -> None:
        exchange = self._exchange
        if exchange is not None and self._needs_eof:
            self._keep_alive = False
            exchange.tape.last_byte = exchange.tape.last_byte or self._stamp
            self._end(exchange)
            return
        began = exchange is not None and exchange.tape.headers_at is not None
        where = "in the middle of the body" if began else "before responding"
        self._lost(Failure("disconnected", f"the server closed the connection {where}", detail="cut"))

    def _lost(self, failure: Failure) -> None:
        """Handles a broken connection.

        If a connection that was not opened for this exchange died before any byte came back, the pool sends the request
        again on a new connection, and the exchange does not end.
        """
        exchange = self._exchange
        swallowed = exchange is not None and not self.made_for(exchange) and self._taken == 0
        self.close()
        self._on_closed(self, exchange if swallowed else None)
        if exchange is not None and not swallowed:
            exchange.finish(failure)

    def _drop(self) -> None:
        self.close()
        self._on_closed(self, None)

    @staticmethod
    def made_for(exchange: Exchange) -> bool:
        """True if the exchange's connection was opened for it, or if the connection is not known."""
        connection = exchange.tape.connection
        return connection is None or connection.new


class TlsChannel:
    """The TLS record layer over a socket that the caller reads and writes."""

    def __init__(self, context: ssl.SSLContext, hostname: str) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname=hostname)
        self.ended = False

    async def handshake(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush(loop, sock)
                data = await loop.sock_recv(sock, PLAINTEXT_SIZE)
                if not data:
                    raise ConnectionResetError("the server closed the connection during the TLS handshake") from None
                self._in.write(data)
            except ssl.SSLError:
                with suppress(OSError):  # sends the TLS alert, if the server still reads
                    await self._flush(loop, sock)
                raise
            else:
                await self._flush(loop, sock)
                return

    async def _flush(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        if self._out.pending:
            await loop.sock_sendall(sock, self._out.read())

    def encrypt(self, data: bytes) -> bytes:
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]
        return self._out.read()

    def decrypt(self, data: memoryview) -> Iterator[bytes]:
        """Yields the plaintext of every record that `data` completes.

        Raises ssl.SSLError for a broken record, after it has yielded the valid records before it.
        """
        self._in.write(data)
        while True:
            try:
                piece = self._object.read(PLAINTEXT_SIZE)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                self.ended = True
                return
            yield piece

    def pending(self) -> bytes:
        return self._out.read() if self._out.pending else b""


def _frames_the_body(name: str, value: str) -> bool:
    return name == "content-length" or (name == "transfer-encoding" and "chunked" in value.lower())


def _not_http(error: Exception) -> Failure:
    wants_more = isinstance(error, httptools.HttpParserUpgrade)
    what = "the server switched to another protocol" if wants_more else f"the response is not HTTP: {error}"
    return Failure("disconnected", what, detail="protocol")


def _reset(error: OSError) -> Failure:
    return Failure("disconnected", error.strerror or str(error), detail="reset")
