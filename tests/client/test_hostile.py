"""Hostile streams over real sockets: each ends in a stated outcome, with flat memory, and the client goes on.

The limits are lowered; benchmarks/hostile.py offers the same at full size.
"""

from __future__ import annotations

import asyncio
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripted_gateway import NO_END, PATIENCE_S, ScriptedGateway, Seen, delta, sse, streamed

from streambench.client.client import Client
from streambench.client.instruments import Instruments
from streambench.client.loop_lag import LagSampler
from streambench.client.transport.socket_hub import SocketHub
from streambench.clock import LoopClock, take_anchor
from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.metrics.outcomes import evidence, outcome_of
from streambench.records.schema import AttemptRecord, Ticket

KIB, MIB = 1024, 1024 * 1024
BOUNDS = {"head_bytes": 4 * KIB, "line_bytes": 4 * KIB, "stream_bytes": 64 * KIB, "chunks": 50, "text_chars": 100}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
EVENT = sse(delta("Hello"))
END = sse(delta(finish_reason="stop"), "[DONE]")
TRAILERS = CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(EVENT), EVENT)

Stream = Callable[[], Iterable[bytes]]


def endless(start: bytes, unit: bytes) -> Stream:
    """`start`, then `unit` until the client has gone."""

    def stream() -> Iterator[bytes]:
        yield start
        yield from repeat(unit * max(1, 4 * KIB // len(unit)))

    return stream


def once(*pieces: bytes) -> Stream:
    return lambda: pieces


def bomb(unit: bytes) -> Stream:
    """Grows to 8 MiB; the connection stays open."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(unit * (8 * MIB // len(unit))) + packer.flush()
    return once(NO_END.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n") + packed)


@dataclass(frozen=True)
class Case:
    name: str
    stream: Stream
    outcome: str
    detail: str | None
    config: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("a line without an end", endless(NO_END + b"data: ", b"x"), "too_large", "line"),
    Case("a comment without an end", endless(NO_END + EVENT + b": ", b"x"), "too_large", "line"),
    Case("an event without an end", endless(NO_END, b"data: ab\n"), "too_large", "event"),
    Case("a chunk of 30 KB", once(NO_END + sse(delta("x" * 30_000)) + END), "too_large", "line"),
    Case("chunks without an end", endless(NO_END, EVENT), "too_large", "chunks"),
    Case("empty chunks", endless(NO_END, b"data: {}\n\n"), "too_large", "chunks"),
    Case("frames that are no JSON", endless(NO_END, b"data: x\n\n"), "too_large", "chunks"),
    Case("kept text without an end", endless(NO_END, EVENT), "too_large", "text", {"keep_text": True}),
    Case("comments without an end", endless(NO_END, b": x\n"), "too_large", "body"),
    Case("empty events without an end", endless(NO_END, b"data:\n\n"), "too_large", "body"),
    Case("blank lines without an end", endless(NO_END, b"\n"), "too_large", "body"),
    Case("HTTP chunks of a byte", endless(CHUNKED, b"1\r\n:\r\n1\r\n\n\r\n"), "too_large", "body"),
    Case("a gzip bomb", bomb(b": x\n"), "too_large", "inflated"),
    Case("a gzip bomb of one line", bomb(b"x"), "too_large", "line"),
    Case("headers without an end", endless(HEAD, b"x-some: header\r\n"), "too_large", "headers"),
    Case("a header without an end", endless(HEAD + b"x: ", b"y"), "too_large", "headers"),
    Case("a header's name without an end", endless(HEAD, b"x"), "too_large", "headers"),
    Case("hints without an end", endless(b"", b"HTTP/1.1 103 H\r\n\r\n"), "too_large", "headers"),
    Case("a reason without an end", endless(b"HTTP/1.1 200 ", b"O"), "too_large", "headers"),
    Case("a large head in one read", once(HEAD + b"x: y\r\n" * 900 + streamed()[len(HEAD) :]), "too_large", "headers"),
    Case("1,001 small headers", once(HEAD + b"x:\r\n" * 1_001 + b"content-length: 0\r\n\r\n"), "too_large", "headers"),
    Case("trailers without an end", endless(TRAILERS, b"x-some: trailer\r\n"), "too_large", "headers"),
    Case("a trailer without an end", endless(TRAILERS + b"x: ", b"y"), "too_large", "headers"),
    Case("a chunk extension without an end", endless(CHUNKED + b"5;x=", b"y"), "too_large", "headers"),
    Case("long extensions on short chunks", endless(CHUNKED, b"1;x=%s\r\n:\r\n" % (b"y" * 99)), "too_large", "headers"),
    Case("an error without an end", endless(NO_END.replace(b"200", b"500"), b"no luck "), "http_error", None),
    Case("a page without an end", endless(NO_END.replace(b"event-stream", b"html"), b"<br>\n"),
         "not_a_stream", "text/html"),
    Case("a value without an end", endless(NO_END.replace(b"text/event-stream", b"application/json"), b"[1,"),
         "not_a_stream", "application/json"),
    Case("chunks, nothing in them", endless(NO_END, b": x\n\n"), "timeout", "first_chunk",
         {"bounds": {}, "timeouts": {"first_chunk": 0.2, "total": 5}}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_stream_ends_in_a_stated_outcome(case: Case, tmp_path: Path) -> None:
    """Within its limits; the next request over the same client is answered."""
    hostile, after = Run(tmp_path, case.stream, case.config).records()
    assert outcome_of(hostile) == case.outcome, evidence(hostile)
    assert hostile.failure is not None
    assert hostile.failure.detail == case.detail, evidence(hostile)
    assert outcome_of(after) == "ok"


@pytest.mark.parametrize(
    ("stream", "detail"),
    [
        (endless(NO_END + b"data: ", b"x"), "line"),
        (endless(NO_END, EVENT), "chunks"),
        (endless(NO_END, b": x\n"), "body"),
    ],
    ids=["line", "chunks", "body"],
)
def test_the_limits_hold_behind_a_proxy_too(stream: Stream, detail: str, tmp_path: Path) -> None:
    """Where the SDK's standard stack does the reading."""
    hostile, after = Run(tmp_path, stream, proxied=True).records()
    assert outcome_of(hostile) == "too_large", evidence(hostile)
    assert hostile.failure is not None
    assert hostile.failure.detail == detail
    assert outcome_of(after) == "ok"


def test_the_standard_stacks_own_limit_of_headers_is_told(tmp_path: Path) -> None:
    """It is 100 KiB, and cannot be set."""
    hostile, after = Run(tmp_path, endless(HEAD, b"x-some: header\r\n"), proxied=True).records()
    assert outcome_of(hostile) == "too_large"
    assert hostile.failure is not None
    assert hostile.failure.detail == "headers"
    assert outcome_of(after) == "ok"


def test_what_came_before_the_limit_is_kept(tmp_path: Path) -> None:
    """50 chunks of 5 characters, and how it ended."""
    hostile, _ = Run(tmp_path, endless(NO_END, EVENT)).records()
    assert hostile.timeline.chars == (5,) * 50
    assert hostile.failure is not None
    assert (hostile.failure.kind, hostile.failure.detail) == ("too_large", "chunks")


def test_the_connection_of_a_hostile_stream_is_closed(tmp_path: Path) -> None:
    """What it may still send is nobody's; the next request has a new one."""
    run = Run(tmp_path, endless(NO_END, EVENT))
    _, after = run.records()
    assert run.seen[0].sock is not run.seen[1].sock
    assert after.connection is not None
    assert after.connection.new


@pytest.mark.parametrize("unit", [b": x\n", b"data:\n\n"], ids=["comments", "empty events"])
def test_a_line_is_cut_soon_after_its_limit(unit: bytes, tmp_path: Path) -> None:
    """With the default limits: of 1 MiB no more than a tenth over, after 3 MiB that were no line."""
    stream = [NO_END, *[unit * (64 * KIB // len(unit))] * 48, b"data: ", *[b"x" * 4 * KIB] * 1_000]
    before = 48 * (64 * KIB // len(unit)) * len(unit)
    hostile, _ = Run(tmp_path, once(*stream), {"bounds": {}}).records()
    assert hostile.failure is not None
    assert hostile.failure.detail == "line"
    assert hostile.body_bytes - before < 1.1 * MIB


@pytest.mark.parametrize(
    "stream",
    [
        endless(NO_END, b": x\n"),
        endless(NO_END.replace(b"200", b"500"), b"no luck "),
        endless(NO_END.replace(b"event-stream", b"html"), b"<br>\n"),
    ],
    ids=["stream", "error", "page"],
)
def test_memory_stays_flat(stream: Stream, tmp_path: Path) -> None:
    """8 MiB come, of which 2 MiB wait to be decoded at most: under 4 MiB are held at any moment."""
    run = Run(tmp_path, stream, {"bounds": {"stream_bytes": 8 * MIB}}, traced=True)
    hostile, _ = run.records()
    assert hostile.body_bytes > 8 * MIB
    assert run.peak < 4 * MIB


def test_short_http_chunks_weigh_what_they_hold(tmp_path: Path) -> None:
    """200,000 pieces of two bytes are 400 KB; kept each by itself they would take 13 MB."""
    run = Run(tmp_path, endless(CHUNKED, b"2\r\n:\n\r\n"), {"bounds": {"stream_bytes": 400_000}}, traced=True)
    hostile, _ = run.records()
    assert hostile.body_bytes > 400_000
    assert run.peak < 5 * MIB


def test_a_long_healthy_stream_is_read_whole(tmp_path: Path) -> None:
    """12,000 chunks are decoded while they come, and none is lost, doubled or out of order."""
    sizes = [1 + at % 7 for at in range(12_000)]
    body = sse(*(delta("x" * size) for size in sizes)) + END
    pieces = [NO_END, *(body[at : at + 5_000] for at in range(0, len(body), 5_000))]
    hostile, _ = Run(tmp_path, once(*pieces), {"bounds": {}}, closing=True).records()
    assert outcome_of(hostile) == "ok"
    assert hostile.timeline.chars == (*sizes, 0)
    assert hostile.body_bytes == len(body)
    assert list(hostile.timeline.offset_ns) == sorted(hostile.timeline.offset_ns)


def test_streams_beside_a_hostile_one_are_read(tmp_path: Path) -> None:
    """Three floods and a healthy request at once: it is answered while they are cut."""
    run = Run(tmp_path, endless(NO_END, b": x\n"), {"bounds": {"stream_bytes": 4 * MIB}})
    *floods, healthy = run.at_once(["hostile", "hostile", "hostile", "healthy"])
    assert {outcome_of(record) for record in floods} == {"too_large"}
    assert outcome_of(healthy) == "ok"


# --- running them


@dataclass
class Run:
    """A hostile request and a healthy one over one client; `proxied` has the SDK's standard stack send them."""

    folder: Path
    stream: Stream
    changes: dict[str, Any] = field(default_factory=dict)
    proxied: bool = False
    traced: bool = False
    closing: bool = False
    """The gateway closes when the stream is over; else it waits, as hostile ones do."""
    peak: int = 0
    seen: list[Seen] = field(default_factory=list)

    def records(self) -> list[AttemptRecord]:
        async def one_by_one(client: Client, config: Config) -> list[AttemptRecord]:
            if self.traced:
                tracemalloc.start()
            try:
                hostile = await attempt(client, config, "hostile")
                self.peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            return [hostile, await attempt(client, config, "healthy")]

        return self._with_client(one_by_one)

    def at_once(self, aliases: Iterable[str]) -> list[AttemptRecord]:
        async def together(client: Client, config: Config) -> list[AttemptRecord]:
            return list(await asyncio.gather(*(attempt(client, config, alias) for alias in aliases)))

        return self._with_client(together)

    def _with_client(self, work: Callable[[Client, Config], Any]) -> list[AttemptRecord]:
        async def run(config: Config) -> list[AttemptRecord]:
            async with opened(config) as client:
                records: list[AttemptRecord] = await work(client, config)
                return records

        with ScriptedGateway(self._answer) as gateway:
            self.seen = gateway.seen
            return asyncio.run(run(self._config(gateway.url)))

    def _answer(self, seen: Seen) -> Iterable[bytes]:
        if seen.json["model"] == "healthy":
            yield streamed()
            return
        yield from self.stream()
        if self.closing:
            raise ConnectionError
        seen.gone()

    def _config(self, url: str) -> Config:
        hub = {"base_url": url, "api_key": "none"}
        if self.proxied:
            hub["proxy"] = url.removesuffix("/v1")
        plain = {
            "gateways": {"hub": hub},
            "models": ["hostile", "healthy"],
            "prompts": ["Hi"],
            "bounds": BOUNDS,
            **self.changes,
        }
        path = self.folder / "run.yaml"
        path.write_text(yaml.safe_dump(plain))
        return load_config(path)


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Client]:
    clock = LoopClock()
    hub = SocketHub(clock)
    client = Client(
        config, {"hub": config.gateways["hub"].base_url}, Instruments(clock, take_anchor(), LagSampler(clock), hub)
    )
    try:
        yield client
    finally:
        await client.close()
        hub.close()
        clock.close()


async def attempt(client: Client, config: Config, alias: str) -> AttemptRecord:
    prompt = config.suite.prompts[0].id
    prepared = await client.prepare(Ticket(seq=0, gateway="hub", model=alias, prompt_id=prompt, repeat=0, block=0))
    async with asyncio.timeout(3 * PATIENCE_S):
        await prepared.fire(take_anchor().monotonic_ns, 0)
        return await prepared.record()
