"""uvicorn's HTTP protocol with direct access to the socket: paced writes that bypass ASGI messages, cuts and resets.

The response still begins and ends through uvicorn, which therefore handles keep-alive, chunked framing and pipelining.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import MutableMapping
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streambench.clock import MonotonicClock

EXTENSION = "streambench"
"""Key of the ASGI scope's `extensions` that holds the connection and `received_ns`, when the request was complete."""

_now_ns = MonotonicClock().now_ns


class ConnectionEvents(Protocol):
    """Receives the connection's events: `stop` when it is lost, `resume` when it can be written to again."""

    def stop(self) -> None: ...

    def resume(self) -> None: ...


class ServerConnection(HttpToolsProtocol):
    """One client connection."""

    paused = False
    lost = False
    playing: ConnectionEvents | None = None
    """The stream or wait in progress on this connection; set by `SimulatorApp`."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        # asyncio sets TCP_NODELAY only if the listening socket was created with an explicit protocol number
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
        """Writes to the transport, bypassing ASGI messages. asyncio sends at once if nothing is queued."""
        self.transport.write(payload)

    def cut(self) -> None:
        """Closes the connection (FIN) without sending the body's closing chunk."""
        self.transport.close()

    def reset(self) -> None:
        """Closes the connection with a TCP RST, which is what SO_LINGER with a timeout of 0 causes."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
