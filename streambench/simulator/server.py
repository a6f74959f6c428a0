"""Runs the gateway on uvicorn until its parent goes or a signal comes. Loopback only."""

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
from streambench.simulator.connection import Connection
from streambench.simulator.gateway import Gateway
from streambench.simulator.models_file import load_models
from streambench.simulator.pacer import Pacer
from streambench.simulator.truth import TruthLog

READY = "READY "
TICKS_PER_S = 10
COLLECT_AFTER = 500
"""Requests between two garbage collections, which wait for an idle moment."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the simulator is to run."""

    models: Path
    seed: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    truth: Path | None = None
    parent_pipe: bool = False
    """Exit when standard input ends: it is a pipe that dies with the parent."""


def serve(options: Options, announce: Callable[[str], None]) -> None:
    """Serves until told to stop, and then ends the process. `announce` gets the base URL once requests are taken.

    Raises SimulatorError for a bad models file, a host that is not loopback, a port that is taken.
    """
    host = loopback(options.host)
    file = load_models(options.models)
    log = TruthLog(options.truth) if options.truth is not None else None
    with listening_socket(host, options.port) as sock:
        asyncio.run(_serve(options, sock, lambda pacer: Gateway(file, options.seed, pacer, log), announce))


async def _serve(
    options: Options, sock: socket.socket, make: Callable[[Pacer], Gateway], announce: Callable[[str], None]
) -> None:
    pacer = Pacer(asyncio.get_running_loop())
    if options.parent_pipe:
        _watch_parent()
    _keep_garbage_out_of_the_way()
    await _Server(make(pacer), pacer, sock, announce).serve(sockets=[sock])


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready, stops at once, and collects garbage only when idle."""

    def __init__(self, gateway: Gateway, pacer: Pacer, sock: socket.socket, announce: Callable[[str], None]) -> None:
        super().__init__(
            uvicorn.Config(
                gateway,
                http=Connection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                date_header=False,
                # a pooled connection must not be closed under a client that thinks between two prompts
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
        """On SIGINT and SIGTERM. uvicorn would wait for the streams under way, which may never end."""
        _exit_now()


def loopback(host: str) -> str:
    """The address to listen on. Raises SimulatorError for one that others could reach."""
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
        raise SimulatorError(f"--host {host} --port {port}: cannot listen there ({reason})") from exc
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
    except OSError as exc:  # a file or /dev/null cannot be watched, and would be at its end already
        raise SimulatorError("--parent-pipe: standard input is no pipe") from exc


def _keep_garbage_out_of_the_way() -> None:
    gc.collect()
    gc.freeze()
    gc.disable()


def _exit_now() -> None:
    """Nothing is left to save: the truth log is written line by line, and the kernel closes the sockets."""
    os._exit(0)
