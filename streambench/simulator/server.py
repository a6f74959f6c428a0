"""Runs the simulator on uvicorn, on a loopback address only, until its parent exits or a signal arrives."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from streambench.errors import SimulatorError
from streambench.simulator.app import SimulatorApp
from streambench.simulator.connection import ServerConnection
from streambench.simulator.pacer import Pacer
from streambench.simulator.profile_file import load_models
from streambench.simulator.truth_log import TruthLog

READY = "READY "
TICKS_PER_S = 10
COLLECT_AFTER = 500
"""Minimum number of requests between two garbage collections, which run only while no stream is active."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the simulator process."""

    models: Path
    seed: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    truth: Path | None = None
    parent_pipe: bool = False
    """True if the process must exit when standard input, a pipe from the parent, ends."""


def serve(options: Options, announce: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM, or the end of the parent's pipe, and then ends the process.

    `announce` gets the base URL as soon as requests are accepted. Raises SimulatorError if the models file is invalid,
    the host is not a loopback address, or the port is in use.
    """
    host = loopback(options.host)
    file = load_models(options.models)
    log = TruthLog(options.truth) if options.truth is not None else None
    with listening_socket(host, options.port) as sock:
        asyncio.run(_serve(options, sock, lambda pacer: SimulatorApp(file, options.seed, pacer, log), announce))


async def _serve(
    options: Options, sock: socket.socket, make: Callable[[Pacer], SimulatorApp], announce: Callable[[str], None]
) -> None:
    pacer = Pacer(asyncio.get_running_loop())
    if options.parent_pipe:
        _watch_parent()
    _keep_garbage_out_of_the_way()
    await _Server(make(pacer), pacer, sock, announce).serve(sockets=[sock])


class _Server(uvicorn.Server):
    """uvicorn's server, which also announces its URL, stops at once, and collects garbage only when idle."""

    def __init__(
        self, gateway: SimulatorApp, pacer: Pacer, sock: socket.socket, announce: Callable[[str], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                gateway,
                http=ServerConnection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                date_header=False,
                # a pooled connection must stay open for a client that pauses between two requests
                timeout_keep_alive=3600,
            )
        )
        self._gateway = gateway
        self._pacer = pacer
        self._sock = sock
        self._announce = announce
        self._collected = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._announce(base_url(self._sock))

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_S == 0 and self._pacer.idle and self._gateway.served - self._collected > COLLECT_AFTER:
            self._collected = self._gateway.served
            gc.collect()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Exits at once on SIGINT and SIGTERM. uvicorn would wait for open streams, which may never end."""
        _exit_now()


def loopback(host: str) -> str:
    """Returns the address to listen on. Raises SimulatorError if `host` is not a loopback address."""
    if host == "localhost":
        return "127.0.0.1"
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    raise SimulatorError(f"--host: the simulator serves this machine only (found {host!r}; accepted: 127.0.0.1, ::1)")


def listening_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(4096)
    except (OSError, OverflowError) as exc:
        sock.close()
        reason = getattr(exc, "strerror", None) or exc
        raise SimulatorError(f"--host {host} --port {port}: cannot listen on this address ({reason})") from exc
    return sock


def base_url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def _watch_parent() -> None:
    stdin = sys.stdin.fileno()

    def look() -> None:
        if not os.read(stdin, 4096):
            _exit_now()

    try:
        asyncio.get_running_loop().add_reader(stdin, look)
    except OSError as exc:  # epoll cannot watch a file or /dev/null
        raise SimulatorError("--parent-pipe: standard input must be a pipe") from exc


def _keep_garbage_out_of_the_way() -> None:
    gc.collect()
    gc.freeze()
    gc.disable()


def _exit_now() -> None:
    """Exits without cleanup: the truth log is written line by line, and the kernel closes the sockets."""
    os._exit(0)
