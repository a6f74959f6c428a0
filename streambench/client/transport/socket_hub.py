"""One epoll set for all sockets, registered as a single reader of the event loop; and the reads, with kernel stamps.

A ready socket costs one `recvmsg` and one call; the loop's own overhead is paid once per batch, not once per socket.
Without epoll, each socket is a reader of the loop. docs/design/002-transport-and-stamps.md has the numbers.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import sys
from collections.abc import Callable

from streambench.clock import Clock, KernelClock

SO_TIMESTAMPNS = 35
"""Linux on x86-64 and arm64; Python's socket module has no name for it. The ancillary item has the same number."""

READ_SIZE = 256 * 1024
LITTLE = 16 * 1024
"""Bytes of one read near a limit. A response can pass its limit by this much."""
ROUNDS = 4
"""Batches that one turn of the loop may process before timers run."""
BUSY = 8
"""If at least this many sockets were ready at once, another poll before returning to the loop is worth its cost."""
MEASURE_S = 1.0
SLACK_NS = 50_000
"""How far two readings of the clocks' offset may differ if the wall clock was not set in between."""
PROBES = 100
PROBE_PAUSE_S = 0.001

_stamp = struct.Struct("@ll")
_ANCILLARY = 64


class SocketHub:
    """Shared by all connections of a run. `kernel_stamps` is True if this machine's kernel timestamps what arrives."""

    def __init__(self, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._now = clock.now_ns
        self._calls: dict[int, Callable[[], None]] = {}
        self._buffer = bytearray(READ_SIZE)
        self._view = memoryview(self._buffer)
        self._whole = [self._buffer]
        self.little = [self._view[:LITTLE]]
        """The buffer for `read` when a limit is near."""
        self._epoll = select.epoll() if sys.platform == "linux" else None
        self.kernel_clock = KernelClock()
        self._holder = hold_kernel_stamps()
        self.kernel_stamps = probe_kernel_stamps()
        if self._epoll is not None:
            self._loop.add_reader(self._epoll.fileno(), self._drain)
        self._timer = self._loop.call_later(MEASURE_S, self._measure)

    def add(self, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        self._calls[sock.fileno()] = on_readable
        if self._epoll is not None:
            self._epoll.register(sock.fileno(), select.EPOLLIN)
        else:
            self._loop.add_reader(sock.fileno(), on_readable)

    def remove(self, sock: socket.socket) -> None:
        if self._calls.pop(sock.fileno(), None) is None:
            return
        if self._epoll is not None:
            self._epoll.unregister(sock.fileno())
        else:
            self._loop.remove_reader(sock.fileno())

    def read(
        self, sock: socket.socket, not_before: int, into: list[memoryview] | None = None
    ) -> tuple[memoryview, int, int]:
        """Reads once. Returns the data (valid until the next read), its arrival and how long it waited in the kernel.

        Both times are monotonic nanoseconds. The arrival is the kernel's timestamp of the read's last segment. If there
        is no timestamp, or it is before `not_before` or in the future because the wall clock was set, the arrival is
        the time of the read and the wait is -1.
        """
        if not self.kernel_stamps:
            count = sock.recv_into(into[0] if into is not None else self._buffer)
            return self._view[:count], self._now(), -1
        count, ancillary, _, _ = sock.recvmsg_into(self._whole if into is None else into, _ANCILLARY)
        now = self._now()
        for level, kind, data in ancillary:
            if kind == SO_TIMESTAMPNS and level == socket.SOL_SOCKET:
                seconds, nanoseconds = _stamp.unpack_from(data)
                stamp = seconds * 1_000_000_000 + nanoseconds - self.kernel_clock.offset_ns
                if not_before <= stamp <= now:
                    return self._view[:count], stamp, now - stamp
                if 0 < not_before - stamp < SLACK_NS:  # the offset was measured between two reads
                    return self._view[:count], not_before, now - not_before
        return self._view[:count], now, -1

    def close(self) -> None:
        self._timer.cancel()
        self._calls.clear()
        self._holder.close()
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def _drain(self) -> None:
        epoll = self._epoll
        if epoll is None:
            return
        calls = self._calls
        for _ in range(ROUNDS):
            ready = epoll.poll(0)
            for descriptor, _ in ready:
                call = calls.get(descriptor)
                if call is not None:
                    call()
            if len(ready) < BUSY:
                return  # data that came in the meantime wakes the loop again

    def _measure(self) -> None:
        self.kernel_clock.measure()
        self._timer = self._loop.call_later(MEASURE_S, self._measure)


def ask_for_stamps(sock: socket.socket) -> bool:
    """Asks the kernel to timestamp what this socket receives. Returns False if it refuses or is not Linux."""
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def hold_kernel_stamps() -> socket.socket:
    """Returns a socket that keeps the kernel timestamping as long as it is open.

    Linux begins some milliseconds after the machine's first socket has asked for it, and stops with the last one.
    Without this socket, the first bytes of a run, or of each of its connections, would have no timestamp.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ask_for_stamps(holder)
    return holder


def probe_kernel_stamps() -> bool:
    """True if one of up to `PROBES` bytes sent over loopback comes with a kernel timestamp.

    Some sandboxes accept the option without effect.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
            far, _ = server.accept()
            with far:
                near.settimeout(1.0)
                return ask_for_stamps(near) and any(_comes_stamped(near, far) for _ in range(PROBES))
    except OSError:
        return False


def _comes_stamped(near: socket.socket, far: socket.socket) -> bool:
    far.sendall(b"x")
    _, ancillary, _, _ = near.recvmsg(1, _ANCILLARY)
    if any(kind == SO_TIMESTAMPNS and len(data) == _stamp.size for _, kind, data in ancillary):
        return True
    select.select((), (), (), PROBE_PAUSE_S)
    return False
