"""When a byte came: the kernel's word where it gives one, else the time of the read."""

from __future__ import annotations

import socket
import sys

import pytest

from streambench.client.transport.direct import DirectTransport
from streambench.client.transport.socket_hub import ask_for_stamps
from streambench.clock import NS

from .conftest import Authority, Rig
from .server import CHUNKED, LAST, Server, chunk, turns

pytestmark = pytest.mark.anyio

MS = 1_000_000
BUSY_NS = 30 * MS
"""How long the event loop is held up, so that the kernel's time and the read's cannot be confused."""
SLACK_NS = MS
"""The mapping from the kernel's clock to the monotonic one drifts a little between two measurements of it."""


def hold_up(rig: Rig, since: int) -> int:
    """Keeps the event loop from reading for a while; returns the instant when it may again."""
    while (now := rig.clock.now_ns()) < since + BUSY_NS:
        pass
    return now


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection, just made."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        return near, server.accept()[0]


@pytest.fixture
def kernel(rig: Rig) -> None:
    if not rig.hub.kernel_stamps:
        pytest.skip("this machine's kernel stamps nothing")


@pytest.mark.skipif(sys.platform != "linux", reason="stamps are Linux's")
async def test_the_kernel_goes_on_stamping_while_a_hub_is_there(rig: Rig) -> None:
    """Linux stops when its last asking socket is closed and takes milliseconds to begin anew: a hub keeps one open."""
    if not rig.hub.kernel_stamps:
        pytest.skip("this machine's kernel stamps nothing")
    for _ in range(20):
        near, far = socket_pair()
        with near, far:
            assert ask_for_stamps(near)
            far.send(b"x")
            assert near.recvmsg(1, 64)[1], "came unstamped"


@pytest.mark.usefixtures("kernel")
async def test_a_kernel_stamp_is_the_instant_of_the_write_however_late_we_read(
    rig: Rig, reached: tuple[Server, DirectTransport]
) -> None:
    """Written, then 30 ms of a busy event loop, then read: the stamp stays at the write."""
    server, transport = reached
    call = (await rig.call(server.url, transport)).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED)
    await call.read(1)
    await turns()
    seen = call.tape.read_count
    written = peer.write(chunk(b"data: x\n\n"))
    hold_up(rig, written)
    await call.read(seen + 1)
    assert call.tape.stamps == "kernel"
    assert written - SLACK_NS <= call.tape.stamp_of[-1] <= written + BUSY_NS // 2


@pytest.mark.usefixtures("kernel")
async def test_the_wait_in_the_kernel_is_our_own_lag(rig: Rig, reached: tuple[Server, DirectTransport]) -> None:
    """What lay 30 ms is told as at least 20."""
    server, transport = reached
    call = (await rig.call(server.url, transport)).fire()
    peer = await server.peer()
    await peer.request()
    hold_up(rig, peer.write(CHUNKED + LAST))
    tape = await call.over()
    assert tape.read_lag >= 20 * MS


async def test_without_kernel_stamps_the_stamp_is_the_time_of_the_read(
    rig: Rig, reached: tuple[Server, DirectTransport]
) -> None:
    """Not before the event loop came to it; and the tape says so."""
    rig.hub.kernel_stamps = False
    server, transport = reached
    call = (await rig.call(server.url, transport)).fire()
    peer = await server.peer()
    await peer.request()
    free = hold_up(rig, peer.write(CHUNKED + chunk(b"data: x\n\n") + LAST))
    tape = await call.over()
    assert tape.stamps == "read"
    assert tape.stamp_of[0] >= free
    assert tape.read_lag == 0


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("step_s", [-3600, 3600])
async def test_a_stamp_that_makes_no_sense_gives_way_to_the_time_of_the_read(rig: Rig, step_s: int) -> None:
    """The wall clock was set by an hour: stamps lie before the start or in the future, and the tape says `read`."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.request()
    rig.hub.kernel_clock.offset_ns += step_s * NS
    free = hold_up(rig, peer.write(CHUNKED + chunk(b"data: x\n\n") + LAST))
    tape = await call.over()
    assert tape.stamps == "read"
    assert tape.stamp_of[0] >= free


@pytest.mark.usefixtures("kernel")
async def test_one_read_without_a_stamp_marks_the_whole_tape(rig: Rig) -> None:
    """A mixture is as good as its worst part."""
    server = await rig.server()
    call = (await rig.call(server.url, rig.direct())).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED)
    await call.read(1)
    offset = rig.hub.kernel_clock.offset_ns
    rig.hub.kernel_clock.offset_ns = 0
    peer.write(chunk(b"data: x\n\n"))
    await call.read(2)
    rig.hub.kernel_clock.offset_ns = offset
    peer.write(LAST)
    assert (await call.over()).stamps == "read"


async def test_pieces_of_one_read_share_its_number_and_stamp(rig: Rig, reached: tuple[Server, DirectTransport]) -> None:
    """Their order is known, the gap between them is not."""
    server, transport = reached
    call = (await rig.call(server.url, transport)).fire()
    peer = await server.peer()
    await peer.request()
    peer.write(CHUNKED + chunk(b"data: 1\n\n") + chunk(b"data: 2\n\n") + LAST)
    tape = await call.over()
    assert tape.pieces == [b"data: 1\n\n", b"data: 2\n\n"]
    assert len(set(tape.read_of)) == 1
    assert len(set(tape.stamp_of)) == 1


async def test_pieces_of_two_reads_have_numbers_of_their_own(rig: Rig, reached: tuple[Server, DirectTransport]) -> None:
    """The second comes after the first was read."""
    server, transport = reached
    call = (await rig.call(server.url, transport)).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED + chunk(b"data: 1\n\n"))
    await call.body(1)
    peer.write(chunk(b"data: 2\n\n") + LAST)
    tape = await call.over()
    assert tape.read_of[0] < tape.read_of[1]
    assert tape.stamp_of[0] < tape.stamp_of[1]


async def test_two_tls_records_in_one_read_share_its_number(rig: Rig, authority: Authority) -> None:
    """They were written apart and lay in the socket together."""
    server = await rig.server(tls=authority.server("localhost"), name="localhost")
    call = (await rig.call(server.url, rig.direct(authority.settings))).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED)
    await call.read(1)
    await turns()
    peer.write(chunk(b"data: 1\n\n"))
    peer.write(chunk(b"data: 2\n\n"))
    peer.write(LAST)
    tape = await call.over()
    assert tape.pieces == [b"data: 1\n\n", b"data: 2\n\n"]
    assert tape.read_of[0] == tape.read_of[1]


@pytest.mark.usefixtures("kernel")
async def test_a_tls_record_in_two_segments_is_stamped_when_it_was_complete(rig: Rig, authority: Authority) -> None:
    """Its first half cannot be read by anyone."""
    context = authority.server("localhost")
    server = await rig.server(tls=context, name="localhost")
    call = (await rig.call(server.url, rig.direct(authority.settings))).fire()
    peer = await server.peer()
    await peer.answer(CHUNKED)
    await call.read(1)
    await turns()
    seen = call.tape.read_count
    record = peer.encrypted(chunk(b"data: x\n\n"))
    peer.raw(record[:10])
    await call.read(seen + 1)
    assert call.tape.body_bytes == 0
    completed = peer.raw(record[10:])
    hold_up(rig, completed)
    await call.body(1)
    assert completed - SLACK_NS <= call.tape.stamp_of[0] <= completed + BUSY_NS // 2
