"""What is closed is gone: descriptors, tasks, timers, readers of the event loop."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from streambench.client.transport.direct import DirectTransport
from streambench.client.transport.socket_hub import SocketHub
from streambench.clock import LoopClock
from streambench.config.sections import Tls
from streambench.records.schema import Failure

from .conftest import Authority, Rig
from .server import CHUNKED, chunk, sized, turns, until

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error::ResourceWarning")]

FDS = Path("/proc/self/fd")


def descriptors() -> int:
    return len(list(FDS.iterdir())) if FDS.exists() else 0


def sockets() -> set[str]:
    """Sockets that this process has open. What another test left behind may close meanwhile."""
    if not FDS.exists():
        pytest.skip("this system does not list a process's descriptors")
    return {target for target in map(_target, FDS.iterdir()) if target.startswith("socket:")}


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # the listing's own
        return ""


async def test_a_hub_and_a_clock_leave_nothing(rig: Rig) -> None:
    """epoll set, timer, the probe's sockets."""
    before = descriptors()
    clock = LoopClock()
    hub = SocketHub(clock)
    hub.close()
    clock.close()
    assert descriptors() == before


async def test_a_hub_may_be_closed_before_its_connections(rig: Rig) -> None:
    """The order at the end of a run is nobody's concern."""
    server = await rig.server()
    hub = SocketHub(rig.clock)
    transport = DirectTransport(hub, rig.clock, Tls(verify=False))
    await transport.warm(server.url, 1, 5.0)
    hub.close()
    await transport.aclose()
    assert await (await server.peer()).gone() == b""


async def test_closing_the_transport_closes_every_connection(rig: Rig, authority: Authority) -> None:
    """Idle, streaming, connecting, broken off: all of them, and no task is left."""
    server = await rig.server(tls=authority.server("localhost"), name="localhost")
    tasks_before = asyncio.all_tasks()
    transport = rig.direct(authority.settings)
    await transport.warm(server.url, 4, 5.0)
    await until(lambda: server.accepted == 4)
    calls = [(await rig.call(server.url, transport)).fire() for _ in range(6)]
    await until(lambda: server.accepted == 6)
    for peer in server.peers[:3]:
        peer.write(CHUNKED)
    calls[0].exchange.abort(Failure("cancelled"))
    await transport.aclose()
    for call in calls:
        await call.over()
        call.task.cancel()
    for peer in server.peers:
        await peer.gone()
    await server.close()
    await until(lambda: not [task for task in asyncio.all_tasks() - tasks_before if not task.done()])


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (sized(b"x"), None),
        (CHUNKED, "close"),
        (CHUNKED + chunk(b"x"), "reset"),
        (b"garbage\r\n\r\n", "close"),
        (CHUNKED, "abort"),
    ],
    ids=["whole", "cut", "reset", "garbage", "aborted"],
)
async def test_however_an_exchange_ends_its_socket_is_closed(rig: Rig, answer: bytes, end: str | None) -> None:
    """With the transport at the latest, there are as many as before."""
    before = sockets()
    server = await rig.server()
    transport = rig.direct()
    call = (await rig.call(server.url, transport)).fire()
    peer = await server.peer()
    await peer.answer(answer)
    if end == "abort":
        call.exchange.abort(Failure("cancelled"))
    elif end is not None:
        getattr(peer, end)()
    await call.over()
    await transport.aclose()
    await server.close()
    await until(lambda: sockets() <= before)


async def test_a_connection_that_never_stood_leaves_no_socket(rig: Rig) -> None:
    """A handshake that timed out, a port that refused."""
    before = sockets()
    server = await rig.server()
    transport = rig.direct()
    url = server.url.replace("http:", "https:")
    await (await rig.call(url, transport, connect_s=0.01)).fire().over()
    await server.close()
    await (await rig.call(server.url, transport)).fire().over()
    await until(lambda: sockets() <= before)


async def test_a_cancelled_handshake_closes_its_socket(rig: Rig) -> None:
    """Closing while TLS is half way: the server sees the end."""
    server = await rig.server()
    transport = rig.direct()
    (await rig.call(server.url.replace("http:", "https:"), transport)).fire()
    peer = await server.peer()
    await peer.some()
    await transport.aclose()
    assert await peer.gone() == b""


async def test_warming_that_outlives_the_transport_leaves_no_connection(rig: Rig) -> None:
    """Closed while a connection is being opened: it is dropped as soon as it stands."""
    server = await rig.server()
    transport = rig.direct()
    warming = asyncio.get_running_loop().create_task(transport.warm(server.url, 1, 5.0))
    await turns(1)
    await transport.aclose()
    await warming
    assert rig.idle() == 0
    assert await (await server.peer()).gone() == b""


async def test_a_request_after_closing_does_not_hang(rig: Rig) -> None:
    """It opens a connection of its own, and that one is not kept."""
    server = await rig.server()
    transport = rig.direct()
    await transport.warm(server.url, 1, 5.0)
    await transport.aclose()
    await (await server.peer()).gone()
    tape = await rig.exchanged(server.url, transport, sized(b"x"), server)
    assert tape.failure is None
    assert rig.idle() == 0


async def test_a_ready_descriptor_whose_number_was_given_away_does_no_harm(rig: Rig) -> None:
    """In one batch of events a callback closes another's socket, and a new one gets its number."""
    pairs = [socket.socketpair() for _ in range(2)]
    for near, far in pairs:
        near.setblocking(False)  # noqa: FBT003 - the socket module's signature
        far.send(b"x")
    called: list[str] = []
    fresh: list[Any] = []

    def first() -> None:
        called.append("first")
        pairs[0][0].recv(1)
        rig.hub.remove(pairs[1][0])
        number = pairs[1][0].fileno()
        pairs[1][0].close()
        fresh.extend(socket.socketpair())
        assert fresh[0].fileno() == number
        fresh[0].setblocking(False)  # noqa: FBT003
        rig.hub.add(fresh[0], third)

    def third() -> None:
        called.append("third")
        with pytest.raises(BlockingIOError):
            rig.hub.read(fresh[0], 0)

    rig.hub.add(pairs[0][0], first)
    rig.hub.add(pairs[1][0], lambda: called.append("second"))
    await until(lambda: bool(called))
    await turns(5)
    assert called[0] == "first"
    assert "second" not in called
    rig.hub.remove(pairs[0][0])
    rig.hub.remove(fresh[0])
    for each in (*pairs[0], pairs[1][1], *fresh):
        each.close()
