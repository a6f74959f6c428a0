"""How an exchange ends from our side: broken off, or left alone after `[DONE]`."""

from __future__ import annotations

import pytest

from streambench.client.transport import exchange as exchange_module
from streambench.records.schema import Failure

from .conftest import Rig
from .server import CHUNKED, HEAD, LAST, chunk, sized, turns, until

pytestmark = pytest.mark.anyio

LATE = Failure("timeout", "no further output for 1 s", detail="idle")
DONE = b"data: [DONE]\n\n"


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grace after `[DONE]`, made too short to be noticed."""
    monkeypatch.setattr(exchange_module, "DONE_GRACE_S", 0.02)


async def test_abort_closes_the_connection_and_keeps_what_came(rig: Rig) -> None:
    """In that very call; the end's reason is the caller's."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(b"data: 1\n\n"))
    await call.body(1)
    call.exchange.abort(LATE)
    assert call.tape.ended is not None
    assert call.tape.failure == LATE
    assert call.tape.pieces == [b"data: 1\n\n"]
    assert await peer.gone() == b""
    assert rig.idle() == 0


async def test_nothing_is_taped_after_an_abort(rig: Rig) -> None:
    """Bytes that lay in the socket already are nobody's."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(b"data: 1\n\n"))
    await call.body(1)
    peer.write(chunk(b"data: 2\n\n") + LAST)
    call.exchange.abort(LATE)
    await turns()
    assert call.tape.pieces == [b"data: 1\n\n"]
    assert call.tape.failure == LATE


async def test_abort_in_the_middle_of_a_large_request_stops_writing(rig: Rig) -> None:
    """What was not sent stays unsent, and no writer is left in the event loop."""
    server = await rig.server()
    transport = rig.direct()
    await transport.warm(server.url, 1, 5.0)
    peer = await server.peer()
    call = (await rig.call(server.url, transport, b"x" * 50_000_000)).fire()
    call.exchange.abort(LATE)
    assert len(await peer.gone()) < 50_000_000
    assert call.tape.sent is None
    tape = await rig.exchanged(server.url, transport, sized(b"x"), server)  # the descriptor's number is used again
    assert tape.failure is None


async def test_abort_after_the_end_harms_no_one(rig: Rig) -> None:
    """The connection may serve another exchange by then."""
    server = await rig.server()
    transport = rig.direct()
    first = (await rig.call(server.url, transport)).fire()
    peer = await server.peer()
    await peer.answer(sized(b"x"))
    await until(lambda: first.tape.ended is not None)
    second = (await rig.call(server.url, transport)).fire()
    first.exchange.abort(LATE)
    await peer.answer(sized(b"y"))
    tape = await second.over()
    assert (tape.body(), tape.failure, first.tape.failure) == (b"y", None, None)


async def test_an_exchange_that_is_fired_as_another_ends_takes_its_connection(rig: Rig) -> None:
    """The wire is idle before `over` wakes anyone."""
    server = await rig.server()
    transport = rig.direct()
    first = (await rig.call(server.url, transport)).fire()
    second = await rig.call(server.url, transport)
    first.exchange.over.add_done_callback(lambda _: second.fire())
    peer = await server.peer()
    await peer.answer(sized(b"x"))
    await peer.answer(sized(b"y"))
    tape = await second.over()
    assert tape.connection is not None
    assert (tape.body(), tape.connection.new, server.accepted) == (b"y", False, 1)


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([DONE], id="alone"),
        pytest.param([b"data: x\n\n" + DONE], id="behind a chunk"),
        pytest.param([b"data: [DO", b"NE]\n\n"], id="in two pieces"),
        pytest.param([b"data: [DONE]", b"\n", b"\n"], id="its line breaks apart"),
        pytest.param([DONE, b": bye\n\n"], id="a comment behind it"),
    ],
)
async def test_silence_after_done_is_the_end_without_blame(rig: Rig, pieces: list[bytes]) -> None:
    """Some servers never close their body; its connection cannot be used again."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED)
    for number, piece in enumerate(pieces, 1):
        peer.write(chunk(piece))
        await call.body(number)
    tape = await call.over()
    assert tape.failure is None
    assert tape.last_byte == tape.stamp_of[-1]
    assert await peer.gone() == b""
    assert rig.idle() == 0


@pytest.mark.usefixtures("short_grace")
async def test_content_that_ends_like_done_is_not_the_end(rig: Rig) -> None:
    """Who knows the events is asked; the stream goes on, and its true end counts."""
    server = await rig.server()
    call = await rig.call(server.url, rig.direct())
    asked: list[bool] = []

    def is_done() -> bool:
        asked.append(call.tape.pieces[-1] == DONE)
        return asked[-1]

    call.exchange.is_done = is_done
    call.fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(b"data: say [DONE]\n\n"))
    await until(lambda: bool(asked))
    assert not call.exchange.over.done()
    peer.write(chunk(DONE))
    assert (await call.over()).failure is None
    assert asked == [False, True]


async def test_a_body_that_ends_within_the_grace_keeps_its_connection(rig: Rig) -> None:
    """The usual case: `[DONE]`, and the last chunk a moment later."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(DONE))
    await call.body(1)
    peer.write(LAST)
    assert (await call.over()).failure is None
    assert rig.idle() == 1


async def test_a_cut_within_the_grace_is_still_a_cut(rig: Rig) -> None:
    """`[DONE]` came, the body's end did not: the tape says what happened, others judge."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(DONE))
    await call.body(1)
    peer.close()
    tape = await call.over()
    assert tape.failure is not None
    assert tape.failure.detail == "cut"


async def test_closing_the_transport_ends_what_is_under_way(rig: Rig) -> None:
    """Nobody waits for an answer that cannot come; connected or not."""
    server = await rig.server()
    transport = rig.direct()
    streaming = (await rig.call(server.url, transport)).fire()
    peer = await server.peer()
    await peer.answer(HEAD + b"\r\ndata: 1\n\n")
    await streaming.body(1)
    connecting = (await rig.call(server.url, transport)).fire()
    await transport.aclose()
    for call in (streaming, connecting):
        tape = await call.over()
        assert tape.failure is not None
        assert tape.failure.kind == "cancelled"
    assert await peer.gone() == b""
