"""The SDK's standard HTTP stack, recorded on the same kind of tape: for proxies and HTTP/2.

Timestamps are taken in user space, so they are as late as the event loop is. The records and the run's header mark them
as `sdk`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import httpx2

from streambench.client.transport.direct import DEFAULT_PORTS, end_of, response_of
from streambench.client.transport.exchange import CURRENT, Exchange
from streambench.client.transport.pool import CLOSED
from streambench.client.transport.tls import ssl_context
from streambench.clock import Clock
from streambench.config.sections import Tls
from streambench.errors import ConfigError, Problem
from streambench.records.schema import Connection, Failure

CONNECTIONS = httpx2.Limits(max_connections=100_000, max_keepalive_connections=100_000, keepalive_expiry=300)
"""High enough that the stack's pool never queues a request: the wait would be hidden inside the latency."""


class StandardTransport(httpx2.AsyncBaseTransport):
    """Sends requests through the SDK's HTTP stack. `proxy` is a URL (http, https, socks5); `http2` requests HTTP/2.

    Raises ConfigError if a required extra is not installed.
    """

    def __init__(self, clock: Clock, tls: Tls, *, proxy: str | None = None, http2: bool = False) -> None:
        self._clock = clock
        self._running: set[_SdkRoundTrip] = set()
        if http2 and find_spec("h2") is None:
            raise _lacks("HTTP/2", "http2")
        try:
            self._inner = httpx2.AsyncHTTPTransport(
                verify=ssl_context(tls), http1=True, http2=http2, limits=CONNECTIONS, proxy=proxy, trust_env=False
            )
        except ImportError:
            raise _lacks("a SOCKS proxy", "socks") from None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = CURRENT.get()
        alone = exchange is None
        if exchange is None:
            exchange = Exchange(self._clock)
        stop_reason = _SdkRoundTrip(self._inner, request, exchange, self._running)
        exchange.load(begin=stop_reason.begin, cut=stop_reason.cut)
        if alone:
            exchange.fire()
            await end_of(exchange)
        else:
            await exchange.released
        return response_of(exchange)

    async def warm(self, base_url: str, count: int, connect_s: float, spare: int = 0) -> None:
        """Does nothing: the standard stack opens a connection only for a request."""

    async def aclose(self) -> None:
        for stop_reason in tuple(self._running):
            stop_reason.exchange.abort(CLOSED)
            await stop_reason.gone()
        await self._inner.aclose()


@dataclass(eq=False)
class _SdkRoundTrip:
    """One request through the inner transport, in a task that a deadline can cancel."""

    inner: httpx2.AsyncHTTPTransport
    request: httpx2.Request
    exchange: Exchange
    running: set[_SdkRoundTrip]
    task: asyncio.Task[None] | None = None
    opened: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._run())
        self.running.add(self)
        self.task.add_done_callback(lambda _: self.running.discard(self))

    def cut(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def gone(self) -> None:
        if self.task is not None:
            await asyncio.wait((self.task,))

    async def _run(self) -> None:
        connect_s = self.exchange.connect_s
        self.request.extensions["trace"] = self._trace
        self.request.extensions["timeout"] = {"connect": connect_s, "read": None, "write": None, "pool": None}
        try:
            await self._tape(await self.inner.handle_async_request(self.request))
        except httpx2.ConnectTimeout:
            self.exchange.finish(Failure("timeout", f"no connection within {connect_s:g} s", detail="connect"))
        except (httpx2.ConnectError, httpx2.ProxyError, httpx2.UnsupportedProtocol) as error:
            place = f"{self.request.url.host}:{self.request.url.port or DEFAULT_PORTS[self.request.url.scheme]}"
            self.exchange.finish(Failure("connect_error", f"{place}: {error}", detail=_which(error)))
        except httpx2.TransportError as error:
            self.exchange.finish(_broken(error))
        except Exception as error:  # noqa: BLE001  # an exchange that never ends would block its caller
            self.exchange.finish(Failure("client_error", f"{type(error).__name__}: {error}"))
        finally:
            del self.request.extensions["trace"]  # a reference cycle, and full garbage collection is off during a run

    async def _tape(self, response: httpx2.Response) -> None:
        tape, now = self.exchange.tape, self.exchange.clock.now_ns
        tape.headers_at = now()
        tape.status = response.status_code
        tape.stamps = "sdk"
        tape.headers = [(name.lower(), value) for name, value in response.headers.items()]
        tape.connection = self._connection(response)
        try:
            async for piece in response.stream:  # type: ignore[union-attr]  # this transport's streams are async
                tape.read_count += 1
                tape.add(piece, now())
                if tape.body_bytes > self.exchange.mark:
                    failure = self.exchange.look(tape.body_bytes)
                    if failure is not None:
                        self.exchange.finish(failure)
                        return
                    await self._room()
                if tape.done_hint:
                    self.exchange.expect_end()
        finally:
            await response.aclose()
        self.exchange.finish()

    async def _room(self) -> None:
        """Waits until decoding has caught up, if too much has come that is not decoded yet."""
        if self.exchange.full:
            room = asyncio.Event()
            self.exchange.resume = room.set
            await room.wait()

    def _connection(self, response: httpx2.Response) -> Connection:
        version = response.extensions.get("http_version", b"HTTP/1.1").decode("ascii").removeprefix("HTTP/")
        return Connection(
            new="connect_tcp.started" in self.opened,
            http_version=version,
            connect_ns=self._between("connect_tcp"),
            tls_ns=self._between("start_tls"),
        )

    def _between(self, step: str) -> int | None:
        started, complete = self.opened.get(f"{step}.started"), self.opened.get(f"{step}.complete")
        return None if started is None or complete is None else complete - started

    async def _trace(self, event: str, _: dict[str, Any]) -> None:
        now = self.exchange.clock.now_ns()
        step = event.partition(".")[2]  # without the source (connection or proxy); the last one counts
        if step.startswith(("connect_tcp.", "start_tls.")):
            self.opened[step] = now
        elif step == "send_request_body.complete":
            self.exchange.tape.sent = now


def _lacks(what: str, extra: str) -> ConfigError:
    return ConfigError([Problem(f"{what} needs a package that is not installed: pip install 'streambench[{extra}]'")])


def _broken(error: httpx2.TransportError) -> Failure:
    """Returns `too_large` if the stack's own limit on headers was passed, else `disconnected`.

    Only the text of the error shows that the limit was passed.
    """
    if any("Receive buffer too long" in str(cause) for cause in _causes(error)):
        return Failure("too_large", "the headers exceeded the limit of the SDK's own HTTP stack", detail="headers")
    return Failure("disconnected", str(error) or type(error).__name__, detail="cut")


def _which(error: httpx2.TransportError) -> str:
    """Returns what failed in a connection: proxy, tls, dns, refused or unreachable.

    Only the root cause shows it: the SDK's stack says no more than that all attempts failed.
    """
    if isinstance(error, httpx2.ProxyError):
        return "proxy"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return "tls"
        if isinstance(cause, socket.gaierror):
            return "dns"
        if isinstance(cause, ConnectionRefusedError):
            return "refused"
    return "unreachable"


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else (error.__cause__ or error.__context__,)
    for cause in inner:
        if cause is not None:
            yield from _causes(cause)
