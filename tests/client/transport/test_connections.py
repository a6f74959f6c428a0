"""Connections that are kept, handed out again, and found dead."""

from __future__ import annotations

import pytest

from streambench.client.transport.direct import DirectTransport
from streambench.records.schema import Failure

from .conftest import Rig
from .server import CHUNKED, LAST, Server, sized, turns, until

pytestmark = pytest.mark.anyio

OK = sized(b"data: x\n\n")


async def test_the_first_request_tells_how_its_connection_came_to_be(
    rig: Rig, reached: tuple[Server, DirectTransport]
) -> None:
    """DNS, connect and, where there is TLS, the handshake."""
    server, transport = reached
    tape = await rig.exchanged(server.url, transport, OK, server)
    made = tape.connection
    assert made is not None
    assert made.new
    assert made.dns_ns is not None
    assert made.connect_ns is not None
    assert (made.tls_ns is not None) is (server.tls is not None)


async def test_a_second_request_goes_over_the_same_connection(
    rig: Rig, reached: tuple[Server, DirectTransport]
) -> None:
    """It is not new, and no set-up is shown for it."""
    server, transport = reached
    await rig.exchanged(server.url, transport, OK, server)
    tape = await rig.exchanged(server.url, transport, OK, server.peers[0])
    made = tape.connection
    assert made is not None
    assert (made.new, made.dns_ns, made.connect_ns, made.tls_ns, made.stale) == (False, None, None, None, 0)
    assert server.accepted == 1


async def test_requests_under_way_have_a_connection_each(rig: Rig) -> None:
    """Nothing waits for another's answer."""
    server = await rig.server()
    transport = rig.direct()
    calls = [(await rig.call(server.url, transport)).fire() for _ in range(3)]
    for _ in calls:
        await (await server.peer()).answer(OK)
    for call in calls:
        await call.over()
    assert (server.accepted, rig.idle()) == (3, 3)


async def test_connections_are_pooled_by_origin(rig: Rig) -> None:
    """Another port is another server."""
    one, other = await rig.server(), await rig.server()
    transport = rig.direct()
    await rig.exchanged(one.url, transport, OK, one)
    await rig.exchanged(other.url, transport, OK, other)
    assert (one.accepted, other.accepted) == (1, 1)


async def test_a_fresh_transport_opens_a_connection_for_every_request(rig: Rig) -> None:
    """And keeps none: each is closed with its answer."""
    server = await rig.server()
    transport = rig.direct(fresh=True)
    for _ in range(3):
        tape = await rig.exchanged(server.url, transport, OK, server)
        assert tape.connection is not None
        assert tape.connection.new
    assert (server.accepted, rig.idle()) == (3, 0)
    assert [await peer.gone() for peer in server.peers] == [b"", b"", b""]


async def test_warm_opens_as_many_as_asked(rig: Rig, reached: tuple[Server, DirectTransport]) -> None:
    """Handshakes included; what stands already is counted."""
    server, transport = reached
    await transport.warm(server.url, 3, 5.0)
    await transport.warm(server.url, 5, 5.0)
    await until(lambda: server.accepted == 5)
    assert rig.idle() == 5


async def test_a_connection_opened_ahead_is_not_set_up_inside_its_first_request(
    rig: Rig, reached: tuple[Server, DirectTransport]
) -> None:
    """It is not new to the request; how long its set-up took before is still told."""
    server, transport = reached
    await transport.warm(server.url, 1, 5.0)
    await until(lambda: server.accepted == 1)
    tape = await rig.exchanged(server.url, transport, OK, server.peers[0])
    made = tape.connection
    assert made is not None
    assert (made.new, made.ahead) == (False, True)
    assert made.connect_ns is not None


async def test_spare_connections_are_replaced_as_they_are_taken(rig: Rig) -> None:
    """Two in hand, one taken: a third is opened without waiting for the answer."""
    server = await rig.server()
    transport = rig.direct()
    await transport.warm(server.url, 2, 5.0, spare=2)
    await until(lambda: server.accepted == 2)
    call = (await rig.call(server.url, transport)).fire()
    await until(lambda: server.accepted == 3)
    call.exchange.abort(Failure("cancelled"))


async def test_warming_a_fresh_transport_opens_nothing(rig: Rig) -> None:
    """Its connections would never be used."""
    server = await rig.server()
    await rig.direct(fresh=True).warm(server.url, 3, 5.0)
    await turns()
    assert server.accepted == 0


async def test_warming_leaves_failures_for_a_request_to_tell(rig: Rig) -> None:
    """A dead gateway does not end the run."""
    server = await rig.server()
    await server.close()
    await rig.direct().warm(server.url, 2, 5.0)
    assert rig.idle() == 0


async def test_the_connection_used_last_is_used_next(rig: Rig) -> None:
    """Those left over grow old, and the server may close them."""
    server = await rig.server()
    transport = rig.direct()
    await transport.warm(server.url, 2, 5.0)
    await until(lambda: server.accepted == 2)
    call = (await rig.call(server.url, transport)).fire()
    used = next(peer for peer in server.peers if peer.unread())
    await used.answer(OK)
    await call.over()
    again = (await rig.call(server.url, transport)).fire()
    assert used.unread() > 0
    await used.answer(OK)
    await again.over()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_the_server_closed_while_idle_is_not_used(
    rig: Rig, reached: tuple[Server, DirectTransport], how: str
) -> None:
    """It leaves the pool as soon as the goodbye comes; the next request has a new one and is not called stale."""
    server, transport = reached
    await rig.exchanged(server.url, transport, OK, server)
    getattr(server.peers[0], how)()
    await until(lambda: rig.idle() == 0)
    tape = await rig.exchanged(server.url, transport, OK, server)
    assert tape.connection is not None
    assert (tape.connection.new, tape.connection.stale) == (True, 0)


@pytest.mark.parametrize("how", ["close", "cut", "reset", "half_close"])
async def test_a_request_that_a_dying_connection_swallowed_is_sent_once_more(
    rig: Rig, reached: tuple[Server, DirectTransport], how: str
) -> None:
    """The server closed in the instant of our write and answered nothing: a new connection, and `stale` says so."""
    server, transport = reached
    await rig.exchanged(server.url, transport, OK, server)
    call = await rig.call(server.url, transport)
    getattr(server.peers[0], how)()
    call.fire()
    await until(lambda: server.accepted == 2)
    await server.peers[1].answer(OK)
    tape = await call.over()
    assert tape.failure is None
    assert tape.body() == b"data: x\n\n"
    assert tape.connection is not None
    assert (tape.connection.new, tape.connection.stale) == (True, 1)
    assert tape.sent is not None


async def test_a_request_is_also_sent_once_more_when_it_was_read_but_not_answered(
    rig: Rig, reached: tuple[Server, DirectTransport]
) -> None:
    """From here a server that closed a moment too late looks like one that closed a moment too early."""
    server, transport = reached
    await rig.exchanged(server.url, transport, OK, server)
    call = (await rig.call(server.url, transport)).fire()
    await server.peers[0].request()
    server.peers[0].close()
    await until(lambda: server.accepted == 2)
    await server.peers[1].answer(OK)
    tape = await call.over()
    assert tape.connection is not None
    assert (tape.failure, tape.connection.stale) == (None, 1)


async def test_no_request_is_sent_a_third_time(rig: Rig, reached: tuple[Server, DirectTransport]) -> None:
    """The second connection was new: its end is the attempt's."""
    server, transport = reached
    await rig.exchanged(server.url, transport, OK, server)
    call = (await rig.call(server.url, transport)).fire()
    for number in (0, 1):
        await until(lambda number=number: server.accepted > number)  # type: ignore[misc]
        await server.peers[number].request()
        server.peers[number].close()
    tape = await call.over()
    assert tape.failure is not None
    assert tape.failure.detail == "cut"
    assert tape.connection is not None
    assert tape.connection.stale == 1
    await turns()
    assert server.accepted == 2


async def test_a_request_on_its_own_new_connection_is_not_sent_again(
    rig: Rig, reached: tuple[Server, DirectTransport]
) -> None:
    """A server that takes a connection and closes it has said what it had to say."""
    server, transport = reached
    call = (await rig.call(server.url, transport)).fire()
    peer = await server.peer()
    await peer.request()
    peer.close()
    tape = await call.over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("disconnected", "cut")
    await turns()
    assert server.accepted == 1


@pytest.mark.parametrize(
    "said",
    [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED, b"no HTTP at all\r\n\r\n"],
    ids=["a byte", "continue", "a head", "nonsense"],
)
async def test_a_request_that_was_answered_at_all_is_not_sent_again(
    rig: Rig, reached: tuple[Server, DirectTransport], said: bytes
) -> None:
    """It may have been worked on: a second one would not measure the same."""
    server, transport = reached
    await rig.exchanged(server.url, transport, OK, server)
    call = (await rig.call(server.url, transport)).fire()
    await server.peers[0].answer(said)
    server.peers[0].close()
    tape = await call.over()
    assert tape.failure is not None
    assert tape.failure.kind == "disconnected"
    await turns()
    assert server.accepted == 1


async def test_a_stale_connection_with_a_dead_server_behind_it_is_a_failure_to_connect(rig: Rig) -> None:
    """Both are told: the refusal, and that a kept connection came first."""
    server = await rig.server()
    transport = rig.direct()
    await rig.exchanged(server.url, transport, OK, server)
    call = (await rig.call(server.url, transport)).fire()
    server.refuse()
    server.peers[0].cut()
    tape = await call.over()
    assert tape.failure is not None
    assert (tape.failure.kind, tape.failure.detail) == ("connect_error", "refused")
    assert tape.connection is not None
    assert tape.connection.stale == 1


async def test_a_large_request_that_a_dying_connection_swallowed_is_sent_whole(rig: Rig) -> None:
    """What was left unsent on the first is not taken for all there is."""
    body = b"0123456789" * 500_000
    server = await rig.server()
    transport = rig.direct()
    await rig.exchanged(server.url, transport, OK, server)
    call = (await rig.call(server.url, transport, body)).fire()
    server.peers[0].reset()
    await until(lambda: server.accepted == 2)
    request = await server.peers[1].answer(OK)
    await call.over()
    assert request.body == body


async def test_a_bare_line_break_behind_an_answer_does_no_harm(rig: Rig) -> None:
    """Old servers end a body with one too many; HTTP lets it pass."""
    server = await rig.server()
    transport = rig.direct()
    await rig.exchanged(server.url, transport, CHUNKED + LAST + b"\r\n", server)
    tape = await rig.exchanged(server.url, transport, OK, server.peers[0])
    assert tape.failure is None
    assert server.accepted == 1
