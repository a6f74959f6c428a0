"""The SDK's own stack under the same tape: through real proxies, with stamps of its own kind."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
import trustme

from streambench.client.transport import exchange as exchange_module
from streambench.config.sections import Bounds, Tls
from streambench.errors import ConfigError
from streambench.records.schema import Failure

from .conftest import Authority, Rig
from .server import CHUNKED, LAST, chunk, sized, turns, until

pytestmark = pytest.mark.anyio

OK = CHUNKED + chunk(b"data: 1\n\n") + LAST
BACKLOG = 64 * 1024


@dataclass
class Proxy:
    """Forwards plain requests in absolute form, and opens tunnels."""

    lines: list[str] = field(default_factory=list)
    refusal: bytes = b""
    """What it says instead of opening a tunnel."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    server: asyncio.Server | None = None

    async def start(self) -> Proxy:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        line, rest = head.split(b"\r\n", 1)
        self.lines.append(line.decode("ascii"))
        method, target, version = line.split(b" ")
        if self.refusal:
            writer.write(self.refusal)
            writer.close()
            return
        address = urlsplit((b"//" + target if method == b"CONNECT" else target).decode("ascii"))
        there, onward = await asyncio.open_connection(address.hostname, address.port)
        self.writers.append(onward)
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            onward.write(b" ".join((method, address.path.encode("ascii"), version)) + b"\r\n" + rest)
        for source, sink in ((reader, onward), (there, writer)):
            task = asyncio.get_running_loop().create_task(self.pump(source, sink))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(BACKLOG):
                sink.write(data)
        except ConnectionError:
            sink.transport.abort()
        else:
            sink.close()

    async def close(self) -> None:
        assert self.server is not None
        self.server.close()
        for task in tuple(self.tasks):
            task.cancel()
        for writer in self.writers:
            writer.transport.abort()
        await turns(5)


@pytest.fixture
async def proxy(anyio_backend: str) -> AsyncIterator[Proxy]:
    proxy = await Proxy().start()
    yield proxy
    await proxy.close()


async def test_a_plain_request_goes_through_the_proxy_in_absolute_form(rig: Rig, proxy: Proxy) -> None:
    """The tape has the shape that our own transport gives it, and says whose stamps these are."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.standard(proxy=proxy.url))).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(b"data: 1\n\n"))
    await call.body(1)
    peer.write(chunk(b"data: 2\n\n") + LAST)
    tape = await call.over()
    assert proxy.lines == [f"POST {server.url}/chat/completions HTTP/1.1"]
    assert (tape.status, tape.failure, tape.stamps) == (200, None, "sdk")
    assert tape.header("content-type") == "text/event-stream"
    assert tape.body() == b"data: 1\n\ndata: 2\n\n"
    assert len(tape.pieces) == len(tape.stamp_of) == len(tape.read_of) == tape.read_count == 2
    moments = [tape.start, tape.sent, tape.headers_at, tape.first_byte, tape.last_byte, tape.ended]
    assert moments == sorted(moments, key=lambda moment: moment or 0)


async def test_a_tls_request_goes_through_a_tunnel(rig: Rig, proxy: Proxy, authority: Authority) -> None:
    """CONNECT, and the certificate looked at is the gateway's."""
    server = await rig.server(tls=authority.server("localhost"), name="localhost")
    tape = await rig.exchanged(server.url, rig.standard(authority.settings, proxy=proxy.url), OK, server)
    assert proxy.lines == [f"CONNECT localhost:{server.port} HTTP/1.1"]
    assert (tape.failure, tape.body()) == (None, b"data: 1\n\n")
    assert tape.connection is not None
    assert tape.connection.new
    assert tape.connection.tls_ns is not None


async def test_a_kept_connection_is_not_new(rig: Rig, proxy: Proxy) -> None:
    """The standard stack keeps them too."""
    server = await rig.server()
    transport = rig.standard(proxy=proxy.url)
    first = await rig.exchanged(server.url, transport, sized(b"x"), server)
    second = await rig.exchanged(server.url, transport, sized(b"y"), server.peers[0])
    assert first.connection is not None
    assert second.connection is not None
    assert (first.connection.new, second.connection.new, second.connection.connect_ns) == (True, False, None)


async def test_nothing_is_on_the_wire_before_fire(rig: Rig) -> None:
    """Held, as in our own transport; warming does nothing here."""
    server = await rig.server()
    transport = rig.standard()
    await transport.warm(server.url, 3, 5.0)
    await rig.call(server.url, transport)
    await turns()
    assert server.accepted == 0


async def test_abort_cancels_the_request_and_closes_its_connection(rig: Rig) -> None:
    """What came stays on the tape."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.standard())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(b"data: 1\n\n"))
    await call.body(1)
    call.exchange.abort(Failure("timeout", detail="idle"))
    tape = await call.over()
    assert (tape.failure, tape.body()) == (Failure("timeout", detail="idle"), b"data: 1\n\n")
    assert await peer.gone() == b""


async def test_silence_after_done_is_the_end_without_blame(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same grace as in our own transport."""
    monkeypatch.setattr(exchange_module, "DONE_GRACE_S", 0.02)
    server = await rig.server()
    call = (await rig.call(server.url, rig.standard())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(b"data: [DONE]\n\n"))
    assert (await call.over()).failure is None
    assert await peer.gone() == b""


async def test_a_broken_off_answer_is_told(rig: Rig) -> None:
    """A cut in the middle of a chunked body."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.standard())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(b"data: 1\n\n"))
    peer.close()
    tape = await call.over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("disconnected", "cut")
    assert tape.body() == b"data: 1\n\n"


async def test_there_is_an_end_to_what_we_listen_to(rig: Rig) -> None:
    """The body's limit holds here as well."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.standard(), bounds=Bounds(stream_bytes=100))).fire()
    await (await server.peer()).answer(CHUNKED + chunk(b"x" * 200))
    tape = await call.over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("too_large", "body")


async def test_a_port_where_nobody_listens(rig: Rig) -> None:
    """The stack says that all attempts failed; the root of it says refused."""
    server = await rig.server()
    await server.close()
    tape = await (await rig.call(server.url, rig.standard())).fire().over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("connect_error", "refused")


async def test_a_name_that_nobody_knows(rig: Rig) -> None:
    """`.invalid` is kept free for this."""
    tape = await (await rig.call("http://gateway.invalid/v1", rig.standard())).fire().over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("connect_error", "dns")


async def test_an_unknown_authority(rig: Rig, authority: Authority, tmp_path: Path) -> None:
    """Certificates are looked at as strictly."""
    server = await rig.server(tls=authority.server("localhost"), name="localhost")
    bundle = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    tape = await (await rig.call(server.url, rig.standard(Tls(ca_bundle=bundle)))).fire().over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("connect_error", "tls")


async def test_a_server_that_does_not_shake_hands(rig: Rig) -> None:
    """The connect limit holds for TLS."""
    server = await rig.server()
    url = server.url.replace("http:", "https:")
    tape = await (await rig.call(url, rig.standard(), connect_s=0.05)).fire().over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("timeout", "connect")


async def test_a_proxy_that_refuses_the_tunnel(rig: Rig, proxy: Proxy, authority: Authority) -> None:
    """It is the proxy's failure, in the proxy's words."""
    proxy.refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    server = await rig.server(tls=authority.server("localhost"), name="localhost")
    tape = await (await rig.call(server.url, rig.standard(authority.settings, proxy=proxy.url))).fire().over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("connect_error", "proxy")
    assert "407" in tape.failure.message


async def test_an_error_below_the_stack_still_ends_the_exchange(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever for a request whose task has died."""

    async def broken(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.DecodingError("unforeseen")

    transport = rig.standard()
    monkeypatch.setattr(transport._inner, "handle_async_request", broken)
    call = (await rig.call("http://127.0.0.1:9/v1", transport)).fire()
    tape = await call.over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.message) == ("client_error", "DecodingError: unforeseen")


async def test_closing_the_transport_ends_what_is_under_way(rig: Rig) -> None:
    """Its tasks are gone when it returns."""
    server = await rig.server()
    before = asyncio.all_tasks()
    transport = rig.standard()
    call = (await rig.call(server.url, transport)).fire()
    await (await server.peer()).answer(CHUNKED)
    await until(lambda: call.tape.status is not None)
    await transport.aclose()
    assert call.tape.failure is not None
    assert call.tape.failure.kind == "cancelled"
    call.task.cancel()
    await until(lambda: asyncio.all_tasks() <= before | {task for task in asyncio.all_tasks() if task.done()})


async def test_a_request_without_an_exchange_is_sent_at_once(rig: Rig) -> None:
    """Nobody fires for it."""
    server = await rig.server()
    call = rig.alone(server.url, rig.standard())
    await (await server.peer()).answer(b"HTTP/1.1 404 X\r\ncontent-length: 4\r\n\r\ngone")
    response = await call
    assert (response.status_code, response.text) == (404, "gone")


@pytest.mark.skipif(importlib.util.find_spec("h2") is None, reason="HTTP/2 needs the extra: pip install .[http2]")
async def test_http2_is_spoken_where_it_was_asked_for(rig: Rig, authority: Authority) -> None:
    """One request to a real h2 server: the tape is as ever, the record says 2."""
    from .http2_server import Http2Server

    async with Http2Server(authority.server("localhost")) as server:
        call = (await rig.call(server.url, rig.standard(authority.settings, http2=True))).fire()
        tape = await call.over()
    assert (tape.status, tape.failure, tape.body()) == (200, None, b"data: [DONE]\n\n")
    assert tape.connection is not None
    assert tape.connection.http_version == "2"


@pytest.mark.skipif(importlib.util.find_spec("h2") is not None, reason="h2 is installed")
async def test_http2_without_its_extra_is_refused_with_the_mend(rig: Rig) -> None:
    """When the transport is made, not when the first server agrees to speak it."""
    with pytest.raises(ConfigError, match=re.escape("streambench[http2]")):
        rig.standard(http2=True)


@pytest.mark.skipif(importlib.util.find_spec("socksio") is not None, reason="socksio is installed")
async def test_socks_without_its_extra_is_refused_with_the_mend(rig: Rig) -> None:
    """The same for proxies that speak SOCKS."""
    with pytest.raises(ConfigError, match=re.escape("streambench[socks]")):
        rig.standard(proxy="socks5://127.0.0.1:9")
