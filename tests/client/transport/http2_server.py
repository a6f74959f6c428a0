"""A real HTTP/2 server that answers every request with one event and its end; needs the extra `http2`."""

from __future__ import annotations

import asyncio
import ssl
from importlib import import_module
from types import TracebackType
from typing import Any, Self


class Http2Server:
    def __init__(self, tls: ssl.SSLContext) -> None:
        tls.set_alpn_protocols(["h2"])
        self._tls = tls
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"https://localhost:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        config: Any = import_module("h2.config")
        connection: Any = import_module("h2.connection")
        ended: Any = import_module("h2.events").StreamEnded
        link = connection.H2Connection(config.H2Configuration(client_side=False))
        link.initiate_connection()
        writer.write(link.data_to_send())
        while data := await reader.read(65536):
            for event in link.receive_data(data):
                if isinstance(event, ended):
                    link.send_headers(event.stream_id, [(":status", "200"), ("content-type", "text/event-stream")])
                    link.send_data(event.stream_id, b"data: [DONE]\n\n", end_stream=True)
            writer.write(link.data_to_send())
        writer.close()
