"""uvicorn's HTTP protocol with a way down to the socket: paced writes that skip the ASGI messages, cuts and resets.

The response still begins and ends through uvicorn, so keep-alive, chunked framing and pipelining stay its business.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import MutableMapping
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streambench.clock import MonotonicClock

EXTENSION = "streambench"
"""Where the ASGI scope carries the connection and the request's last instant."""

_now_ns = MonotonicClock().now_ns


class Playing(Protocol):
    """What the connection tells of its fate."""

    def stop(self) -> None: ...

    def resume(self) -> None: ...


class Connection(HttpToolsProtocol):
    """One client's connection."""

    paused = False
    lost = False
    playing: Playing | None = None
    """What is under way on this connection; set by the gateway."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        # asyncio sets this only where the listening socket was made with an explicit protocol number
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        super().connection_lost(exc)
        if self.playing is not None:
            self.playing.stop()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extension: dict[object, object] = {"connection": self, "received_ns": 0}
        cast(MutableMapping[str, Any], self.scope)["extensions"] = {EXTENSION: extension}

    def on_message_complete(self) -> None:
        cast(MutableMapping[str, Any], self.scope)["extensions"][EXTENSION]["received_ns"] = _now_ns()
        super().on_message_complete()

    def pause_writing(self) -> None:
        self.paused = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self.paused = False
        super().resume_writing()
        if self.playing is not None:
            self.playing.resume()

    def write(self, payload: bytes) -> None:
        """Past the ASGI messages; asyncio sends at once where nothing is queued before it."""
        self.transport.write(payload)

    def cut(self) -> None:
        """Closes (FIN) what stands open, the body's closing chunk unsent."""
        self.transport.close()

    def reset(self) -> None:
        """Closes with a TCP RST: that is what lingering for no time means."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
