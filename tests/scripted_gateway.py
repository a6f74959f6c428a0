"""A gateway that keeps every request as it came and answers what a test wrote, byte for byte, from a thread."""

from __future__ import annotations

import json
import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

PATIENCE_S = 10.0
NO_END = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
"""The head of a stream that ends with its connection."""


@dataclass(frozen=True)
class Seen:
    """One request, and the socket that it came by."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    sock: socket.socket

    @cached_property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """Its only value; None where it was not sent."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, values
        return values[0] if values else None

    def gone(self, wait_s: float = PATIENCE_S) -> bool:
        """Waits so long, but no longer than until the client has closed; whether it has."""
        readable, _, _ = select.select([self.sock], [], [], wait_s)
        return bool(readable)


Answer = Callable[[Seen], Iterable[bytes]]


def sized(status: str, body: bytes, *headers: str, content_type: str = "application/json") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def error(status: str, message: str, *headers: str, code: object = None) -> bytes:
    return sized(status, json.dumps({"error": {"message": message, "code": code}}).encode(), *headers)


def sse(*chunks: object) -> bytes:
    """Events of these chunks; a text stands as it is."""
    datas = (chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks)
    return "".join(f"data: {data}\n\n" for data in datas).encode()


def delta(content: str | None = None, finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    said = {} if content is None else {"content": content}
    return {"id": "r-1", "choices": [{"index": 0, "delta": said, "finish_reason": finish_reason}], **fields}


STREAM = sse(delta("Hel"), delta("lo"), delta(finish_reason="stop"), "[DONE]")


def streamed(body: bytes = STREAM, *headers: str, content_type: str = "text/event-stream") -> bytes:
    return sized("200 OK", body, *headers, content_type=content_type)


class ScriptedGateway:
    """`answer` gives the pieces of the answer to a request; each is one write. The connection is then kept.

    `GET .../models`, which a run asks first, goes to `models`, and into `asked`; by default it offers any name.
    """

    def __init__(self, answer: Answer, models: Answer | None = None) -> None:
        self.seen: list[Seen] = []
        self.asked: list[Seen] = []
        self.answer = answer
        self.models = models or (lambda _: [sized("200 OK", b'{"data": [{"id": "*"}]}')])
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ScriptedGateway:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


def _handler_of(gateway: ScriptedGateway) -> type[socketserver.StreamRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            try:
                while (seen := self._read()) is not None:
                    lists = seen.line.startswith("GET ") and "/models" in seen.line
                    (gateway.asked if lists else gateway.seen).append(seen)
                    for piece in (gateway.models if lists else gateway.answer)(seen):
                        self.request.sendall(piece)
            except OSError:  # the client went
                return

        def _read(self) -> Seen | None:
            line = self.rfile.readline().decode("latin-1").strip()
            if not line:
                return None
            headers: list[tuple[str, str]] = []
            while head := self.rfile.readline().decode("latin-1").strip():
                name, _, value = head.partition(":")
                headers.append((name, value.strip()))
            length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
            return Seen(line, tuple(headers), self.rfile.read(length), self.request)

    return Handler
