"""A client made of nothing but sockets and http.client."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streambench.simulator.process import SimulatorProcess

Json = dict[str, Any]
Start = Callable[..., "Client"]


@dataclass(frozen=True)
class Reply:
    """A whole reply, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The data of every event, in order."""
        return [block.removeprefix("data: ") for block in self.body.decode().split("\n\n") if block]

    @property
    def chunks(self) -> list[Json]:
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    def text(self, field: str = "content") -> str:
        deltas = [chunk["choices"][0]["delta"] for chunk in self.chunks if chunk["choices"]]
        return "".join(delta.get(field) or "" for delta in deltas)


class Client:
    """Talks to one simulator."""

    def __init__(self, process: SimulatorProcess, truth: Path) -> None:
        self.process = process
        self.truth_path = truth
        self.url = process.base_url()
        parts = urlsplit(self.url)
        self.host, self.port = str(parts.hostname), int(parts.port or 0)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=20)

    def request(self, method: str, path: str, body: bytes | None = None, headers: Json | None = None) -> Reply:
        connection = self.connect()
        try:
            return self.request_on(connection, method, path, body, headers)
        finally:
            connection.close()

    def request_on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Json | None = None,
    ) -> Reply:
        connection.request(method, path, body=body, headers={"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def chat(self, model: str, text: str = "hello", **fields: Any) -> Reply:
        return self.request("POST", "/v1/chat/completions", chat_body(model, text, **fields))

    def stream(self, model: str, text: str = "hello", **fields: Any) -> Reply:
        return self.chat(model, text, stream=True, **fields)

    def raw_stream(self, model: str, text: str = "hello") -> socket.socket:
        """A socket on which a stream was asked for; the test reads the bytes itself."""
        sock = socket.create_connection((self.host, self.port), timeout=20)
        body = chat_body(model, text, stream=True)
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return sock

    def truths(self) -> list[Json]:
        return [json.loads(line) for line in self.truth_path.read_text().splitlines()]

    def truth_of(self, request_id: str) -> Json:
        return next(truth for truth in self.truths() if truth["request_id"] == request_id)


def chat_body(model: str, text: str = "hello", **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **fields}).encode()


def read_to_end(sock: socket.socket) -> bytes:
    """All bytes until the server closes. Raises ConnectionResetError as the socket does."""
    received = b""
    while read := sock.recv(65536):
        received += read
    return received


def read_until_silent(sock: socket.socket, silent_s: float = 0.3) -> bytes:
    """All bytes until none has come for so long."""
    received = b""
    sock.settimeout(silent_s)
    try:
        while read := sock.recv(65536):
            received += read
    except TimeoutError:
        return received
    raise AssertionError("the server closed the connection")
