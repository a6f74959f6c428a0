"""What a hostile gateway costs: each hostile stream against a client of its own, with the limits that a run has.

    python benchmarks/hostile.py [--only NAME] [--repeat 1]

A server in a process of its own offers every stream below, over loopback, up to a bound of bytes and time. For each,
a child process opens a `Client`, sends one healthy request, the hostile one and a healthy one again, and writes the
record as the journal would.

outcome   the record's verdict, with the failure's detail
limit     the limit that the stream runs into, and what was taken when it was cut: bytes, chunks or seconds
over      how far over its limit that is
memory    peak resident size of the child over that of one that sent only the healthy requests (goal: under 50 MB)
lag       the longest that the child's event loop was late: what other streams of the same run would have suffered
after     the verdict on the healthy request that came after
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

MB = 1_000_000
GOAL_MB = 50
GOAL_OVER = 0.10
SEND_MB = 450
"""What the server sends of one stream at most."""
SEND_S = 120.0
LIVE_S = 1_800.0
BLOCK = 64 * 1024
TOTAL_S = 3.0
"""The total time of the stream that trickles; the others have the default."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
UNTIL_CLOSE = HEAD + b"connection: close\r\n\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"r-1","model":"m","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
HEALTHY = EVENT * 20 + END
COMMENT = b": x\n"


# --- the streams


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def endless(start: bytes, unit: bytes) -> Iterator[bytes]:
    """`start`, then `unit` for ever, in blocks."""
    yield start
    yield from repeat(unit * max(1, BLOCK // len(unit)))


def content_of(size: int) -> Iterator[bytes]:
    """One chunk whose content has `size` characters, then the end of a healthy stream."""
    yield UNTIL_CLOSE + b'data: {"choices":[{"delta":{"content":"'
    for _ in range(size // BLOCK):
        yield b"x" * BLOCK
    yield b'"}}]}\n\n' + END


def bomb(unit: bytes, size: int) -> Iterator[bytes]:
    """A gzip stream that grows to `size` bytes."""
    packer = zlib.compressobj(9, wbits=31)
    block = unit * (1024 * 1024 // len(unit))
    yield HEAD + b"content-encoding: gzip\r\nconnection: close\r\n\r\n"
    for _ in range(size // len(block)):
        yield packer.compress(block)
    yield packer.flush()


def times(start: bytes, unit: bytes, count: int, end: bytes = b"") -> Iterator[bytes]:
    yield start
    at_once = max(1, BLOCK // len(unit))
    for first in range(0, count, at_once):
        yield unit * min(at_once, count - first)
    yield end


def trickle() -> Iterator[bytes]:
    yield UNTIL_CLOSE
    while True:
        time.sleep(0.02)
        yield EVENT


def json_bomb(inside: bytes, count: int) -> Iterator[bytes]:
    """Events just under the limit of a line, of JSON that takes thirty times its size as objects."""
    event = b'data: {"choices":[],"usage":{"prompt_tokens":[' + inside * (1_000_000 // len(inside)) + b"0]}}\n\n"
    return times(UNTIL_CLOSE, event, count, END)


TRAILERS = CHUNKED + chunk(EVENT) + b"0\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """A stream, and the limit it should run into: a key of `bounds`, `total`, or none where it is harmless."""

    name: str
    stream: Callable[[], Iterable[bytes]]
    limit: str | None
    expected: str
    config: Mapping[str, Any] | None = None


STANDARD = {"gateway": {"proxy": "itself"}}
"""Sends through the SDK's standard stack: the server is its own proxy."""

CASES = (
    Case("a line without an end", lambda: endless(UNTIL_CLOSE + b"data: ", b"x"), "line_bytes", "too_large line"),
    Case(
        "an event without an end",
        lambda: endless(UNTIL_CLOSE, b"data: %s\n" % (b"a" * 1000)),
        "line_bytes",
        "too_large event",
    ),
    Case("an event of short lines", lambda: endless(UNTIL_CLOSE, b"data: ab\n"), None, "too_large event"),
    Case("a chunk of 50 MB", lambda: content_of(50 * MB), "line_bytes", "too_large line"),
    Case("chunks without an end", lambda: endless(UNTIL_CLOSE, EVENT), "chunks", "too_large chunks"),
    Case("chunks, text kept", lambda: endless(UNTIL_CLOSE, EVENT), "chunks", "too_large chunks", {"keep_text": True}),
    Case(
        "long chunks, text kept",
        lambda: endless(UNTIL_CLOSE, EVENT.replace(b"Hello", "\U0001f600".encode() * 20_000)),
        "text_chars",
        "too_large text",
        {"keep_text": True},
    ),
    Case("chunks that trickle", trickle, "total", "timeout total", {"timeouts": {"total": TOTAL_S}}),
    Case("comments without an end", lambda: endless(UNTIL_CLOSE, COMMENT), "stream_bytes", "too_large body"),
    Case("blank lines without an end", lambda: endless(UNTIL_CLOSE, b"\n"), "stream_bytes", "too_large body"),
    Case("frames that are no JSON", lambda: endless(UNTIL_CLOSE, b"data: x\n\n"), "chunks", "too_large chunks"),
    Case("a million empty chunks", lambda: times(UNTIL_CLOSE, b"data: {}\n\n", MB, END), "chunks", "too_large chunks"),
    Case("a million empty events", lambda: times(UNTIL_CLOSE, b"data:\n\n", MB, HEALTHY), None, "ok"),
    Case("JSON of empty lists", lambda: json_bomb(b"[],", 30), None, "empty"),
    Case("JSON of empty objects", lambda: json_bomb(b"{},", 30), None, "empty"),
    Case("a gzip bomb of comments", lambda: bomb(COMMENT, 1_000 * MB), "inflated", "too_large inflated"),
    Case("a gzip bomb of one line", lambda: bomb(b"x", 1_000 * MB), None, "too_large line"),
    Case("HTTP chunks of a byte", lambda: times(CHUNKED, b"1\r\n:\r\n1\r\n\n\r\n", 2 * MB), None, "disconnected cut"),
    Case("HTTP chunks of three bytes", lambda: times(CHUNKED, chunk(b":x\n"), 4 * MB), None, "disconnected cut"),
    Case("100 MB of headers", lambda: times(HEAD, b"x-some: header\r\n", 6 * MB), "head_bytes", "too_large headers"),
    Case("100 MB in one header", lambda: times(HEAD + b"x: ", b"y", 100 * MB), "head_bytes", "too_large headers"),
    Case("hints without an end", lambda: endless(b"", b"HTTP/1.1 103 H\r\n\r\n"), "head_bytes", "too_large headers"),
    Case(
        "100 MB of trailers",
        lambda: times(TRAILERS, b"x-some: trailer\r\n", 6 * MB),
        "head_bytes",
        "too_large headers",
    ),
    Case("100 MB in one trailer", lambda: times(TRAILERS + b"x: ", b"y", 100 * MB), "head_bytes", "too_large headers"),
    Case(
        "100 MB of chunk extension",
        lambda: times(CHUNKED + chunk(EVENT) + b"5;x=", b"y", 100 * MB),
        "head_bytes",
        "too_large headers",
    ),
    Case(
        "an error without an end",
        lambda: endless(UNTIL_CLOSE.replace(b"200 OK", b"500 No"), b"no luck "),
        "stream_bytes",
        "http_error",
    ),
    Case(
        "a page without an end",
        lambda: endless(UNTIL_CLOSE.replace(b"event-stream", b"html"), b"<br>\n"),
        "stream_bytes",
        "not_a_stream text/html",
    ),
    Case("a line, by the SDK's stack", lambda: endless(UNTIL_CLOSE + b"data: ", b"x"), "line_bytes", "too_large line",
         STANDARD),
    Case("comments, by the SDK's stack", lambda: endless(UNTIL_CLOSE, COMMENT), "stream_bytes", "too_large body",
         STANDARD),
    Case("headers, by the SDK's stack", lambda: times(HEAD, b"x-some: header\r\n", 6 * MB), None, "too_large headers",
         STANDARD),
)  # fmt: skip
BY_NAME = {case.name: case for case in CASES}
IDLE = "(healthy only)"


# --- the server


def _serve() -> None:
    """Answers by the name of the model asked for; ends with its parent, or after half an hour."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(server.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(server,), daemon=True).start()
    watchdog = threading.Timer(LIVE_S, os._exit, (0,))
    watchdog.daemon = True
    watchdog.start()
    sys.stdin.read()


def _accept(server: socket.socket) -> None:
    while True:
        near, _ = server.accept()
        threading.Thread(target=_talk, args=(near,), daemon=True).start()


def _talk(near: socket.socket) -> None:
    near.settimeout(SEND_S)
    with near, near.makefile("rb") as asked, suppress(OSError):
        while (model := _asked_for(asked)) is not None:
            if model == "healthy":
                near.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(HEALTHY) + HEALTHY)
            else:
                _send(near, BY_NAME[model].stream())
                return


def _asked_for(asked: Any) -> str | None:
    length = None
    while line := asked.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return None if length is None else str(json.loads(asked.read(length))["model"])


def _send(near: socket.socket, pieces: Iterable[bytes]) -> None:
    sent, until = 0, time.monotonic() + SEND_S
    for piece in pieces:
        near.sendall(piece)
        sent += len(piece)
        if sent > SEND_MB * MB or time.monotonic() > until:
            return
    near.shutdown(socket.SHUT_WR)
    near.recv(1)  # until the client has read it all


# --- the client, in a process of its own


def _drive(name: str, url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(_seen(name, Path(folder), url))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**seen, "peak": peak * (1 if sys.platform == "darwin" else 1024)}))


async def _seen(name: str, folder: Path, url: str) -> dict[str, Any]:
    from streambench.client.client import Client
    from streambench.client.instruments import Instruments
    from streambench.client.loop_lag import LagSampler
    from streambench.client.transport.socket_hub import SocketHub
    from streambench.clock import LoopClock, take_anchor

    config = _config(name, folder, url)
    clock = LoopClock()
    lag = LagSampler(clock)
    hub = SocketHub(clock)
    client = Client(config, {"hub": url}, Instruments(clock, take_anchor(), lag, hub))
    lag.start()
    gc.collect()
    gc.disable()  # as in a run
    try:
        healthy, hostile = config.models[0].alias, config.models[-1].alias
        await _attempt(client, config, healthy)
        began = time.monotonic_ns()
        seen = await _attempt(client, config, hostile)
        seen["lag_ns"] = lag.worst(began, time.monotonic_ns()) or 0
        after = await _attempt(client, config, healthy)
        return {**seen, "after": after["outcome"], "limits": {**asdict(config.bounds), "total": TOTAL_S}}
    finally:
        lag.stop()
        await client.close()
        hub.close()
        clock.close()


def _config(name: str, folder: Path, url: str) -> Any:
    from streambench.config.load import load_config

    changes = dict((BY_NAME[name].config or {}) if name in BY_NAME else {})
    hub = {"base_url": url, "api_key": "none", **changes.pop("gateway", {})}
    if "proxy" in hub:
        hub["proxy"] = url.removesuffix("/v1")
    models = ["healthy", name] if name in BY_NAME else ["healthy"]
    path = folder / "config.yaml"
    path.write_text(
        json.dumps({"name": "hostile", "gateways": {"hub": hub}, "models": models, "prompts": ["Hi"], **changes})
    )
    return load_config(path)


async def _attempt(client: Any, config: Any, alias: str) -> dict[str, Any]:
    """One request, to its line in the journal."""
    from streambench.metrics.outcomes import outcome_of
    from streambench.records.schema import Ticket, to_line

    taken = _watch_what_is_taken()
    ticket = Ticket(seq=0, gateway="hub", model=alias, prompt_id=config.suite.prompts[0].id, repeat=0, block=0)
    prepared = await client.prepare(ticket)
    began = time.monotonic()
    await prepared.fire(time.monotonic_ns(), 0)
    record = await prepared.record()
    spent = time.monotonic() - began
    line = to_line(record)
    failure = record.failure
    return {
        "outcome": " ".join(filter(None, [outcome_of(record), failure.detail if failure else None])),
        "bytes": max(record.body_bytes, *taken),
        "chunks": len(record.timeline.kind),
        "inflated": record.comments * len(COMMENT),
        "text": len(record.text or ""),
        "s": spent,
        "line": len(line),
    }


def _watch_what_is_taken() -> list[int]:
    """Bytes of the answer at each look that the transport takes at its limits, framing included."""
    from streambench.client.transport.exchange import Exchange

    taken = [0]
    look = getattr(Exchange, "plain_look", Exchange.look)

    def watched(self: Exchange, count: int) -> Any:
        taken[0] = count
        return look(self, count)

    Exchange.plain_look = look  # type: ignore[attr-defined]
    Exchange.look = watched  # type: ignore[method-assign,assignment]
    return taken


# --- the table


def main() -> None:
    options = _options()
    if options.serve:
        _serve()
    elif options.drive:
        _drive(options.drive, options.url)
    else:
        sys.exit(_table([case for case in CASES if options.only is None or options.only in case.name], options.repeat))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="streams whose name holds this text")
    parser.add_argument("--repeat", type=int, default=1, help="how often each; the worst of every column is shown")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    return parser.parse_args()


def _table(cases: Iterable[Case], times_each: int) -> int:
    """Prints it; returns how many streams missed a goal."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}, Python {sys.version.split()[0]}, {sys.platform}\n")
    head = ("stream", "outcome", "limit", "taken", "over", "time s", "lag ms", "memory MB", "after", "")
    _line(*head)
    missed = 0
    with subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        port = server.stdout.readline().strip() if server.stdout else ""
        url = f"http://127.0.0.1:{port}/v1"
        idle = max(_child(IDLE, url)["peak"] for _ in range(3))
        for case in cases:
            missed += not _row(case, [_child(case.name, url) for _ in range(times_each)], idle)
        if server.stdin:
            server.stdin.close()
    print(f"\nidle client: {idle / MB:.1f} MB. Goals: under {GOAL_MB} MB over it, no limit passed by more than 10 %.")
    print("all met" if not missed else f"{missed} missed")
    return missed


def _row(case: Case, seen: list[dict[str, Any]], idle: int) -> bool:
    limit, taken = _against_limit(case, seen)
    over = max(0.0, taken / limit - 1) if limit else 0.0
    memory = (max(each["peak"] for each in seen) - idle) / MB
    outcomes = {each["outcome"] for each in seen}
    good = outcomes == {case.expected} and over <= GOAL_OVER and memory < GOAL_MB
    good = good and {each["after"] for each in seen} == {"ok"}
    _line(
        case.name,
        " / ".join(sorted(outcomes)),
        f"{limit:,.0f} {case.limit.removesuffix('_bytes')}" if limit and case.limit else "-",
        f"{taken:,.0f}",
        f"{over:.1%}" if limit else "-",
        f"{max(each['s'] for each in seen):.1f}",
        f"{max(each['lag_ns'] for each in seen) / 1e6:.0f}",
        f"{memory:.1f}",
        " / ".join(sorted({each["after"] for each in seen})),
        "" if good else f"MISSED (expected {case.expected})",
    )
    return good


def _against_limit(case: Case, seen: list[dict[str, Any]]) -> tuple[float | None, float]:
    """The limit and what was taken of it: bytes where nothing else is limited."""
    column = {"chunks": "chunks", "inflated": "inflated", "text_chars": "text", "total": "s"}.get(
        case.limit or "", "bytes"
    )
    taken = max(each[column] for each in seen)
    key = "stream_bytes" if case.limit == "inflated" else case.limit
    return (None if key is None else seen[0]["limits"][key]), taken


def _line(*cells: str) -> None:
    widths = (29, 24, 23, 12, 7, 7, 7, 10, 6, 0)
    aligned = (f"{cell:<{width}}" if i in (0, 1, 2, 8, 9) else f"{cell:>{width}}" for i, (cell, width) in
               enumerate(zip(cells, widths, strict=True)))  # fmt: skip
    print("  ".join(aligned).rstrip(), flush=True)


def _child(name: str, url: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--drive", name, "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"{name}: {done.stderr}")
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


if __name__ == "__main__":
    main()
