"""Where an answer begins and ends, whatever way its server has of saying so."""

from __future__ import annotations

import asyncio

import pytest

from streambench.config.sections import Bounds
from streambench.records.schema import Failure

from .conftest import Authority, Rig
from .server import CHUNKED, HEAD, LAST, chunk, sized, turns, until

pytestmark = pytest.mark.anyio

TEXT = b"data: one\n\ndata: two\n\n"


def kept(rig: Rig) -> bool:
    """Whether the one pool of the rig holds an idle connection."""
    return rig.idle() == 1


@pytest.mark.parametrize(
    ("answer", "keeps"),
    [
        pytest.param(sized(TEXT), True, id="content-length"),
        pytest.param(CHUNKED + chunk(TEXT[:5]) + chunk(TEXT[5:]) + LAST, True, id="chunked"),
        pytest.param(HEAD + b"Transfer-Encoding: Chunked\r\n\r\n" + chunk(TEXT) + LAST, True, id="Chunked"),
        pytest.param(CHUNKED + b"16;a=b;c\r\n" + TEXT + b"\r\n0;z\r\n\r\n", True, id="chunk extensions"),
        pytest.param(CHUNKED + chunk(TEXT) + b"0\r\nx-sum: 1\r\nx-end: 2\r\n\r\n", True, id="trailers"),
        pytest.param(sized(TEXT, b"connection: close\r\n"), False, id="connection: close"),
        pytest.param(sized(TEXT).replace(b"/1.1", b"/1.0"), False, id="HTTP/1.0"),
        pytest.param(
            sized(TEXT, b"connection: keep-alive\r\n").replace(b"/1.1", b"/1.0"), True, id="HTTP/1.0 kept alive"
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + sized(TEXT), True, id="100"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + sized(TEXT), True, id="103, 102"
        ),
        pytest.param(sized(TEXT, b"upgrade: h2c\r\nconnection: upgrade\r\n"), True, id="offers another protocol"),
        pytest.param(sized(TEXT, b"x-empty:\r\nx-next: 1\r\n"), True, id="empty header"),
    ],
)
async def test_an_answer_is_whole_wherever_it_is_cut(
    rig: Rig,
    answer: bytes,
    keeps: bool,  # noqa: FBT001 - a column of a table
) -> None:
    """Two segments, split at every place in turn: always the same body, no failure, the same word on the connection."""
    server = await rig.server()
    transport = rig.direct()
    peer = None
    for split in range(1, len(answer)):
        call = (await rig.call(server.url, transport)).fire()
        if peer is None or not keeps:
            peer = await server.peer()
        await peer.answer(answer[:split])
        await call.read(1)
        peer.write(answer[split:])
        tape = await call.over()
        assert (tape.body(), tape.failure, tape.status) == (TEXT, None, 200), split
        assert kept(rig) is keeps, split


async def test_a_chunked_answer_may_come_byte_by_byte(rig: Rig) -> None:
    """Each byte in a read of its own."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.request()
    for count, byte in enumerate(CHUNKED + chunk(TEXT) + LAST, 1):
        peer.write(bytes((byte,)))
        await call.read(count)
    assert (await call.over()).body() == TEXT


async def test_a_body_without_a_length_ends_with_the_connection(rig: Rig) -> None:
    """And that is no failure of the wire."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(HEAD + b"\r\n" + TEXT)
    peer.close()
    tape = await call.over()
    assert (tape.body(), tape.failure) == (TEXT, None)
    assert tape.last_byte == tape.stamp_of[-1]
    assert not kept(rig)


async def test_a_body_without_a_length_ends_with_close_notify(rig: Rig, authority: Authority) -> None:
    """TLS says goodbye before the connection does."""
    server = await rig.server(tls=authority.server("localhost"), name="localhost")
    call = (await rig.call(server.url, rig.direct(authority.settings))).fire()
    peer = await server.peer()
    await peer.answer(HEAD + b"\r\n" + TEXT)
    peer.close()
    tape = await call.over()
    assert (tape.body(), tape.failure) == (TEXT, None)


async def test_an_answer_may_have_no_body(rig: Rig) -> None:
    """204 ends with its head."""
    server = await rig.server()
    tape = await rig.exchanged(server.url, rig.direct(), b"HTTP/1.1 204 No Content\r\n\r\n", server)
    assert (tape.status, tape.failure, tape.first_byte) == (204, None, None)
    assert tape.last_byte == tape.headers_at
    assert kept(rig)


async def test_headers_of_hints_are_not_the_answers(rig: Rig) -> None:
    """103 may carry some; so may trailers."""
    server = await rig.server()
    answer = b"HTTP/1.1 103 H\r\nlink: x\r\n\r\n" + CHUNKED + chunk(TEXT) + b"0\r\nx-sum: 1\r\n\r\n"
    tape = await rig.exchanged(server.url, rig.direct(), answer, server)
    assert [name for name, _ in tape.headers] == ["content-type", "transfer-encoding"]


async def test_the_headers_instant_is_that_of_the_answer_not_of_a_hint(rig: Rig) -> None:
    """100 Continue says nothing of how fast the answer came."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    await call.read(1)
    assert (call.tape.headers_at, call.tape.status) == (None, None)
    written = peer.write(sized(TEXT))
    tape = await call.over()
    assert tape.headers_at is not None
    assert tape.headers_at > written - 1_000_000  # one millisecond for the drift between the kernel's clock and ours


async def test_an_older_http_version_is_told(rig: Rig) -> None:
    """The record names what the server speaks."""
    server = await rig.server()
    tape = await rig.exchanged(server.url, rig.direct(), sized(b"x").replace(b"/1.1", b"/1.0"), server)
    assert tape.connection is not None
    assert tape.connection.http_version == "1.0"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 2x0 OK\r\n\r\n", id="no status"),
        pytest.param(CHUNKED + b"zz\r\n", id="no chunk size"),
        pytest.param(HEAD + b"content-length: -1\r\n\r\n", id="no length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", id="no header"),
        pytest.param(HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", id="two lengths"),
        pytest.param(
            b"HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello", id="switch of protocols"
        ),
    ],
)
async def test_what_is_not_http_is_said_to_be_so(rig: Rig, answer: bytes) -> None:
    """A failure of its own kind, and the connection is dropped."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(answer)
    tape = await call.over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("disconnected", "protocol")
    assert await peer.gone() == b""


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * 3000, "headers"),
        (b"HTTP/1.1 103 H\r\n\r\n" * 200, "headers"),
        (CHUNKED + chunk(b"b" * 3000), "body"),
    ],
    ids=["one long header", "hints without end", "body"],
)
async def test_there_is_an_end_to_what_we_listen_to(rig: Rig, answer: bytes, detail: str) -> None:
    """The limits are the exchange's; the connection is dropped."""
    server = await rig.server()
    bounds = Bounds(head_bytes=2000, stream_bytes=2000)
    call = (await rig.call(server.url, rig.direct(), bounds=bounds)).fire()
    peer = await server.peer()
    await peer.answer(answer)
    tape = await call.over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("too_large", detail)
    assert await peer.gone() == b""


async def test_a_body_in_the_same_read_is_not_counted_as_headers(rig: Rig) -> None:
    """A small head with a large body behind it is no large head."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct(), bounds=Bounds(head_bytes=2000))).fire()
    peer = await server.peer()
    body = b"x" * 20_000
    await peer.answer(sized(body))
    tape = await call.over()
    assert (tape.failure, tape.body_bytes) == (None, 20_000)


@pytest.mark.parametrize(
    "surplus",
    [
        pytest.param(b"garbage", id="garbage"),
        pytest.param(b"HTTP/1.1 500 Oops\r\nx-second: 1\r\ncontent-length: 4\r\n\r\noops", id="a second answer"),
        pytest.param(b"HTTP/1.1 500 Oops\r\nx-second: 1\r\n", id="half a second answer"),
    ],
)
@pytest.mark.parametrize("extra", [b"", b"connection: close\r\n"], ids=["kept alive", "closing"])
async def test_bytes_behind_the_answer_spoil_the_connection_only(rig: Rig, surplus: bytes, extra: bytes) -> None:
    """The answer stays what it was; nobody is sent over a connection that is out of step."""
    server = await rig.server()
    tape = await rig.exchanged(server.url, rig.direct(), sized(TEXT, extra) + surplus, server)
    assert (tape.status, tape.failure, tape.body()) == (200, None, TEXT)
    assert tape.header("x-second") is None
    assert not kept(rig)


async def test_bytes_that_come_while_nothing_was_asked_spoil_the_connection(rig: Rig) -> None:
    """An answer to no request would be taken for the next one's."""
    server = await rig.server()
    transport = rig.direct()
    await transport.warm(server.url, 1, 5.0)
    peer = await server.peer()
    peer.write(sized(TEXT))
    assert await peer.gone() == b""
    assert not kept(rig)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_request_larger_than_the_sockets_buffer_arrives_whole(
    rig: Rig,
    authority: Authority,
    secure: bool,  # noqa: FBT001 - a column of a table
) -> None:
    """5 MB go out in parts; `sent` is when the last was taken."""
    body = bytes(range(256)) * 20_000
    server = await rig.server(tls=authority.server("localhost") if secure else None, name="localhost")
    transport = rig.direct(authority.settings)
    await transport.warm(server.url, 1, 5.0)
    call = await rig.call(server.url, transport, body)
    call.fire()
    assert call.tape.sent is None
    request = await (await server.peer()).answer(sized(TEXT))
    tape = await call.over()
    assert request.body == body
    assert tape.failure is None
    assert tape.sent is not None
    assert tape.headers_at is not None
    assert tape.start < tape.sent < tape.headers_at
    assert kept(rig)


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "stays"])
async def test_an_answer_before_the_request_was_read_is_not_lost(
    rig: Rig,
    closes: bool,  # noqa: FBT001 - a column of a table
) -> None:
    """413 while 5 MB are still on their way, whether the server closes on us or waits: what it said counts."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct(), b"x" * 5_000_000)).fire()
    peer = await server.peer()
    await peer.some()
    peer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 4\r\n\r\nmuch")
    if closes:
        peer.close()
    tape = await call.over()
    assert (tape.status, tape.body(), tape.failure) == (413, b"much", None)
    assert not kept(rig)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_what_a_server_said_before_it_reset_us_is_read_though_writing_failed_first(
    rig: Rig,
    authority: Authority,
    secure: bool,  # noqa: FBT001 - a column of a table
) -> None:
    """The write side hears of the reset while the answer still lies unread in the socket."""
    if rig.hub._epoll is None:
        pytest.skip("reads cannot be held back here")
    server = await rig.server(tls=authority.server("localhost") if secure else None, name="localhost")
    transport = rig.direct(authority.settings)
    call = (await rig.call(server.url, transport, b"x" * 5_000_000)).fire()
    peer = await server.peer()
    await peer.some()
    loop = asyncio.get_running_loop()
    loop.remove_reader(rig.hub._epoll.fileno())
    peer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nmuch")
    peer.cut()  # with our request unread, that is a reset
    (wire,) = next(iter(transport._pools.values()))._wires.values()
    await until(lambda: not wire._unsent)
    loop.add_reader(rig.hub._epoll.fileno(), rig.hub._drain)
    tape = await call.over()
    assert (tape.status, tape.body(), tape.failure) == (413, b"much", None)
    await until(lambda: rig.idle() == 0)


@pytest.mark.parametrize(
    ("sent", "how", "failure"),
    [
        (b"", "close", ("cut", "before responding")),
        (b"HTTP/1.1 200 OK\r\nx-a", "close", ("cut", "before responding")),
        (CHUNKED + chunk(TEXT), "close", ("cut", "in the middle of the body")),
        (HEAD + b"content-length: 99\r\n\r\n" + TEXT, "close", ("cut", "in the middle of the body")),
        (HEAD + b"Transfer-Encoding: CHUNKED\r\n\r\n" + chunk(TEXT), "close", ("cut", "in the middle of the body")),
        (CHUNKED + chunk(TEXT), "reset", ("reset", "reset by peer")),
        (HEAD + b"\r\n" + TEXT, "reset", ("reset", "reset by peer")),
    ],
)
async def test_a_broken_off_answer_is_told_with_what_came(
    rig: Rig, sent: bytes, how: str, failure: tuple[str, str]
) -> None:
    """Cut or reset, before the answer or inside it."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(sent)
    if sent:
        await call.read(1)
    getattr(peer, how)()
    tape = await call.over()
    detail, words = failure
    assert isinstance(tape.failure, Failure)
    assert (tape.failure.kind, tape.failure.detail) == ("disconnected", detail)
    assert words in tape.failure.message
    assert tape.body() == (TEXT if TEXT in sent else b"")


async def test_a_broken_tls_record_ends_the_answer_after_the_good_ones(rig: Rig, authority: Authority) -> None:
    """What could be read before it stays on the tape, though it came in the same read."""
    server = await rig.server(tls=authority.server("localhost"), name="localhost")
    call = (await rig.call(server.url, rig.direct(authority.settings))).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED)
    await call.read(1)
    await turns()
    good = peer.encrypted(chunk(TEXT))
    peer.raw(good + b"\x17\x03\x03\x00\x20" + b"\0" * 32)
    tape = await call.over()
    assert tape.body() == TEXT
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("disconnected", "tls")
