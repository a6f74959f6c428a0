"""The schedule of one stream, the timer of all, and what happens when the client cannot keep up."""

from __future__ import annotations

import asyncio
from functools import partial

from streambench.clock import MonotonicClock
from streambench.simulator.faults import End
from streambench.simulator.pacer import NEVER, Pacer
from streambench.simulator.playback import Stream, Wait
from streambench.simulator.script import Script, http_chunk

from .client import Start

MS = 1_000_000


class FakeWire:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.paused = False
        self.payloads: list[bytes] = []

    def write(self, payload: bytes) -> None:
        self.payloads.append(payload)


def script() -> Script:
    """Three writes, due 10, 20 and 30 ms after the start; the end with the last."""
    return Script(
        payloads=[b"a", b"b", b"c"],
        due_ns=[10 * MS, 20 * MS, 30 * MS],
        chunks=[1, 1, 1],
        kinds="ccd",
        end=End.COMPLETE,
        end_ns=30 * MS,
        comment_ns=MS,
    )


async def make_stream(wire: FakeWire) -> Stream:
    return Stream(wire, Pacer(asyncio.get_running_loop()), 0, script, None)


def test_lateness_does_not_add_up() -> None:
    """The first write comes 7 ms late, at 17; the second is due at 20 all the same."""

    async def play() -> None:
        stream = await make_stream(FakeWire())
        assert stream.step(17 * MS) == 20 * MS

    asyncio.run(play())


def test_a_turn_before_its_time_writes_nothing() -> None:
    """At 9 ms nothing is due; the stream asks for 10."""

    async def play() -> None:
        wire = FakeWire()
        stream = await make_stream(wire)
        assert stream.step(9 * MS) == 10 * MS
        assert wire.payloads == []

    asyncio.run(play())


def test_a_stream_ends_after_its_last_write() -> None:
    """Three writes in order, then the end."""

    async def play() -> None:
        wire = FakeWire()
        stream = await make_stream(wire)
        while stream.step(40 * MS) != NEVER:
            pass
        assert wire.payloads == [b"a", b"b", b"c"]
        assert await stream.done is End.COMPLETE

    asyncio.run(play())


def test_a_paused_stream_waits() -> None:
    """No turn is asked for while the client does not read; nothing is lost."""

    async def play() -> None:
        wire = FakeWire()
        stream = await make_stream(wire)
        wire.paused = True
        assert stream.step(10 * MS) == NEVER
        wire.paused = False
        assert stream.step(15 * MS) == 20 * MS
        assert wire.payloads == [b"a"]

    asyncio.run(play())


def test_things_due_are_served_in_order() -> None:
    """Scheduled 3, 1, 2: done 1, 2, 3."""

    async def play() -> list[int]:
        pacer = Pacer(asyncio.get_running_loop())
        now_ns = MonotonicClock().now_ns()
        waits = {number: Wait() for number in (3, 1, 2)}
        order: list[int] = []

        def note(number: int, _: asyncio.Future[bool]) -> None:
            order.append(number)

        for number, wait in waits.items():
            wait.done.add_done_callback(partial(note, number))
            pacer.schedule(wait, now_ns + number * MS)
        await asyncio.gather(*(wait.done for wait in waits.values()))
        await asyncio.sleep(0)
        return order

    assert asyncio.run(play()) == [1, 2, 3]


def test_chunks_in_http() -> None:
    """Length in hexadecimal, data, each with CR LF."""
    assert http_chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"


def test_a_slow_reader_gets_everything(start: Start) -> None:
    """Some 12 MB, more than the kernel holds, to a client that starts reading only when the writing has stopped."""
    client = start("models: {long: {ttft_ms: 1, gap_ms: 0, tokens: 50000, burst: 10}, quick: {ttft_ms: 1, tokens: 1}}")
    sock = client.raw_stream("long")
    assert client.stream("quick").status == 200  # others are served meanwhile
    received = bytearray()
    while not received.endswith(b"0\r\n\r\n"):
        received += sock.recv(1 << 20)
    assert received.count(b'"delta":{"content":"') == 50_000
    assert received.count(b"[DONE]") == 1
    sock.close()
