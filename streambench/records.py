"""The facts of a run, stored once: one `AttemptRecord` a line of the journal, one `RunHeader` a run.

Times are integer nanoseconds. A field ending in `_at_ns` is an instant since the run's anchor; any other `_ns` is a
duration, or an offset from the attempt's start. `None` is unknown; zero is zero. Numbers are derived by readers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from streambench.errors import SchemaError

SCHEMA = 1
"""1 (2026-11): first schema."""

Phase = Literal["warmup", "measure"]
Stamps = Literal["kernel", "read", "sdk"]

KINDS: Mapping[str, str] = {
    "r": "role",
    "t": "reasoning",
    "c": "content",
    "f": "tool",
    "x": "refusal",
    "u": "usage",
    "o": "other",
}
"""One letter a chunk in the journal; what each means."""

GENERATED = frozenset("tcfx")
"""Kinds that carry generated output."""

ANSWER = frozenset("cf")
"""Kinds that carry the visible answer."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request of the plan. `scheduled_ns` is its offset from its phase's start; None where no schedule rules."""

    seq: int
    gateway: str
    model: str
    """The model's alias: the name that every view shows."""
    prompt_id: str
    repeat: int
    block: int
    """Tickets of one block are one (prompt, repeat) for every model: the pairing."""
    phase: Phase = "measure"
    scheduled_ns: int | None = None
    session_id: str | None = None
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Connection:
    """How the socket came to be. The durations are None on a reused connection, and where nobody can tell."""

    new: bool
    """Opened by this attempt: its set-up is inside the attempt's latencies."""
    http_version: str = "1.1"
    dns_ns: int | None = None
    connect_ns: int | None = None
    tls_ns: int | None = None
    ahead: bool = False
    """Opened before the attempt and first used by it: the durations lie outside its latencies."""
    stale: int = 0
    """Kept-alive connections that turned out closed when this attempt wrote to them; the time is inside its latency."""


@dataclass(frozen=True, slots=True)
class ChunkTimeline:
    """Every chunk in order of arrival; the four columns have one entry a chunk.

    `offset_ns` is the arrival of the read that completed the chunk, since the attempt's start. Chunks with the same
    `read` came in one read: their order is known, the gaps between them are not.
    """

    offset_ns: tuple[int, ...] = ()
    kind: str = ""
    chars: tuple[int, ...] = ()
    """Generated characters in the chunk (Unicode code points)."""
    read: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as stated by `source`; None where it said nothing."""

    input: int | None = None
    output: int | None = None
    total: int | None = None
    reasoning: int | None = None
    cached: int | None = None
    cost_usd: float | None = None
    source: Literal["gateway", "tokenizer"] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, bounded and with secrets masked.

    `kind`: connect_error, http_error, not_a_stream, stream_error, timeout, disconnected, too_large, cancelled,
    client_error (our own side refused to send it).
    `detail` says which (dns, refused, tls; connect, first_chunk, idle, total; reset, cut).
    """

    kind: str
    message: str = ""
    detail: str | None = None
    status: int | None = None
    code: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call as the stream assembled it; its arguments are not kept, only whether they can be used."""

    name: str | None = None
    arguments_valid: bool | None = None
    """JSON, and of the declared schema where there is one; None where nobody can tell, or nothing came to judge."""
    why: str | None = None
    named_ns: int | None = None
    """When its name was complete: the read that brought the last of it. None where more of it could have followed."""
    complete_ns: int | None = None
    """When its arguments were: the read that brought their last character. None where they are no whole JSON."""
    choice: int = 0
    """Calls of one choice are parallel, those of two are not."""


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """What came where JSON was asked for; the text is not kept, only whether it can be used."""

    valid: bool | None = None
    """JSON, and of the schema where one was sent; None where nobody can tell, or a call or a refusal came instead."""
    why: str | None = None
    complete_ns: int | None = None
    """When it was whole: the read that brought its last character. None where it never was."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request's parameters ask of the answer's form, as far as it can be judged by."""

    tools: int = 0
    """Functions that were declared."""
    tool_choice: Literal["auto", "none", "required", "function"] | None = None
    """None without functions, and for a choice that nobody here knows. `function` is a named one."""
    function: str | None = None
    json: Literal["json_object", "json_schema"] | None = None
    effort: str | None = None
    """How much to think, in the model's own words."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One try on the wire, from the moment it was due to the moment it ended."""

    ticket: Ticket
    attempt: int
    """From 1 up. A resumed part counts on from the parts before, but for attempts that were broken off or whose key
    was refused: they are no tries, and the next has their number again, in a `segment` of its own.
    """
    trace_id: str
    span_id: str
    scheduled_at_ns: int
    """When the request was due: by the schedule, or when a lane took it."""
    queue_ns: int
    """Waiting for a throttle or a free slot, between due and start; never inside a latency."""
    start_at_ns: int
    ended_ns: int
    """When the attempt was over, however it ended."""
    connection: Connection | None = None
    sent_ns: int | None = None
    headers_ns: int | None = None
    first_byte_ns: int | None = None
    last_byte_ns: int | None = None
    stamps: Stamps = "read"
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    body_bytes: int = 0
    reads: int = 0
    timeline: ChunkTimeline = ChunkTimeline()
    comments: int = 0
    """Keep-alives: comments and events without data, up to where a limit of ours was passed, whatever the cut."""
    malformed: int = 0
    """Frames that were no JSON or no chunk."""
    malformed_why: str | None = None
    finish_reason: str | None = None
    done: bool = False
    """The stream said its end: `[DONE]`, or the event of Responses that tells how it ended."""
    usage: Usage | None = None
    usage_refused: bool = False
    """The gateway rejected `stream_options`; the request was sent without."""
    model_served: str | None = None
    response_id: str | None = None
    failure: Failure | None = None
    """What ended the attempt from outside the stream."""
    error_frame: Failure | None = None
    """An error that came inside the stream."""
    client_lag_ns: int | None = None
    """The largest lateness of our own event loop seen while this attempt ran."""
    text: str | None = None
    reasoning_text: str | None = None
    model_asked: str | None = None
    usage_asked: bool = True
    ids: int = 0
    """Distinct response ids in the stream."""
    roles: int = 0
    """Deltas that carried a role, in the choice that had the most of them."""
    after_finish: int = 0
    """Generated chunks that came after the finish_reason of their choice."""
    tool_calls: tuple[ToolCall, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    """Names of fields, as in `choices.delta.x`, that no dialect known here has; bounded."""
    broken_utf8: int = 0
    """Frames with bytes that are no UTF-8, or half a character."""
    retry_wait_ns: int = 0
    """Waited since the attempt before this one, by the retry policy; inside neither attempt."""
    segment: int = 0
    """The part of a resumed run that it belongs to: its `_at_ns` count from that part's anchor."""
    request_span_id: str = ""
    """The span of its request; `span_id` is the attempt's own. Both are of `trace_id`."""
    api: str = "chat"
    """By which API it was asked: one of `apis.Api`."""
    streamed: bool = True
    """A stream was asked for. Else the answer is one body: its chunks, one a kind, all have its last byte's arrival."""
    asked: Asked | None = None
    """None where nothing of the answer's form was asked."""
    json_answer: JsonAnswer | None = None
    """None where no JSON was asked for."""
    unfinished: int = 0
    """Choices that brought output and no finish_reason, where another choice had one."""
    summarised: bool = False
    """The reasoning that came was a summary of it, as the API itself says: what was billed is not what was streamed."""


@dataclass(frozen=True, slots=True)
class RunTrace:
    """Where a run's spans are, written down before they are sent, so that sent again they are the same ones.

    Ids are lower-case hexadecimal, of 32 and 16 digits.
    """

    trace_id: str
    span_id: str
    """Of the run itself."""
    parent_span_id: str | None = None
    """What started the run, from the environment's TRACEPARENT."""
    sampled: bool = True
    """False where the parent says so: nothing of its trace is kept."""
    shape: Literal["run", "request"] = "run"
    """One trace for the run, or one for each request, linked to the run's."""
    attempts: Literal["auto", "always"] = "auto"
    """Attempts have spans of their own: where there were several, or always."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """A later part of a run, written before its first request. `wall_ns` is the anchor of its records' `_at_ns`."""

    segment: int
    """From 1 up; the records of the run's first part have 0."""
    wall_ns: int
    monotonic_ns: int
    requests_missing: int
    """Measured requests that this part set out to send."""
    stamps: Stamps
    versions: Mapping[str, str]
    host: Mapping[str, Any]
    config_file: str | None = None
    overrides: tuple[str, ...] = ()
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Limits, budgets and breakers that were not as in the run's header, by key."""


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What a run was, written before its first request. `wall_ns` is the anchor of every `_at_ns` of its first part."""

    schema: int
    run_id: str
    name: str
    wall_ns: int
    seed: int
    config: Mapping[str, Any]
    suite: Mapping[str, Any]
    requests_planned: int
    simulated: tuple[str, ...]
    """Aliases of the models that are served by the embedded simulator."""
    stamps: Stamps
    versions: Mapping[str, str]
    host: Mapping[str, Any]
    monotonic_ns: int = 0
    """The anchor on the machine's monotonic clock: joins the run with other logs of the same boot."""
    config_file: str | None = None
    """Where the config stood, as an absolute path, so that the run can be resumed."""
    overrides: tuple[str, ...] = ()
    """`key=value` as given by `--set`; `key=***` where the value may be private."""
    trace: RunTrace | None = None
    folder: str | None = None
    """The working folder that the run was begun in: relative paths of its config are looked up there too."""
    resumed: tuple[Resumption, ...] = ()
    """The run's later parts, in order. Each is a file of its own, which `load` joins to the header."""

    def anchor_wall_ns(self, segment: int) -> int:
        """The wall clock at the anchor of a part of the run. Raises IndexError for one that is not known."""
        return self.resumed[segment - 1].wall_ns if segment else self.wall_ns


@dataclass(frozen=True, slots=True)
class RunEnd:
    """What is known only at the end. A run without one was killed, or still goes on."""

    status: Literal[
        "complete", "interrupted", "duration_limit", "disk_error", "key_refused", "failure_share", "budget", "set_aside"
    ]
    ended_at_ns: int
    measure_started_at_ns: int | None
    measure_ended_at_ns: int | None
    client_lag_ns: Mapping[str, int | None]
    """Of the loop's sampled lateness: n, p50, p90, p99, max."""
    clock_steps: int
    clock_error_ns: int
    reason: str | None = None
    """What stopped it, where the status does not say it all."""
    measured_ns: int | None = None
    """Of a resumed run: its parts' measured windows together. The instants above are then those of its last part."""

    @property
    def window_ns(self) -> int | None:
        """How long was measured; None where nothing was."""
        if self.measured_ns is not None or self.measure_started_at_ns is None or self.measure_ended_at_ns is None:
            return self.measured_ns
        return self.measure_ended_at_ns - self.measure_started_at_ns


def final_attempts(records: Iterable[AttemptRecord]) -> list[AttemptRecord]:
    """The last attempt of each request, which decides its outcome; in the order in which the requests were recorded."""
    last: dict[tuple[str, int], AttemptRecord] = {}
    for record in in_one_part(records):
        key = (record.ticket.phase, record.ticket.seq)
        if key not in last or record.attempt >= last[key].attempt:
            last[key] = record
    return list(last.values())


def in_one_part(records: Iterable[AttemptRecord]) -> list[AttemptRecord]:
    """Without what a conversation that a resumed run sent anew had left in earlier parts: its turns belong together."""
    rows = list(records)
    part: dict[str, int] = {}
    for record in rows:
        name = record.ticket.session_id
        if name is not None and record.segment >= part.get(name, 0):
            part[name] = record.segment
    if not any(part.values()):
        return rows
    return [each for each in rows if each.ticket.session_id is None or each.segment == part[each.ticket.session_id]]


def to_line(record: AttemptRecord) -> str:
    """One line of JSON, without the line's end."""
    return json.dumps(as_plain(record), separators=(",", ":"))


def from_line(line: str | bytes) -> AttemptRecord:
    """The record a line holds. Raises ValueError, TypeError or KeyError where it is torn or no record."""
    plain = json.loads(line)
    if not isinstance(plain, dict):
        raise TypeError(f"a record is an object, not {type(plain).__name__}")
    timeline = plain.get("timeline") or {}
    nested = {
        "ticket": Ticket(**plain["ticket"]),
        "connection": _maybe(Connection, plain.get("connection")),
        "timeline": ChunkTimeline(
            offset_ns=tuple(timeline.get("offset_ns", ())),
            kind=timeline.get("kind", ""),
            chars=tuple(timeline.get("chars", ())),
            read=tuple(timeline.get("read", ())),
        ),
        "usage": _maybe(Usage, plain.get("usage")),
        "tool_calls": tuple(ToolCall(**call) for call in plain.get("tool_calls", ())),
        "asked": _maybe(Asked, plain.get("asked")),
        "json_answer": _maybe(JsonAnswer, plain.get("json_answer")),
        "unknown_fields": tuple(plain.get("unknown_fields", ())),
        "failure": _maybe(Failure, plain.get("failure")),
        "error_frame": _maybe(Failure, plain.get("error_frame")),
    }
    return AttemptRecord(**{**plain, **nested})


def header_from_plain(plain: Mapping[str, Any]) -> RunHeader:
    """The header that `run.json` holds. Raises SchemaError for a newer schema, TypeError for no header."""
    schema = plain.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise SchemaError(f"this run has schema {schema}; this streambench reads up to {SCHEMA}: update streambench")
    tuples = {name: tuple(plain.get(name, ())) for name in ("simulated", "overrides")}
    return RunHeader(**{**plain, **tuples, "trace": _maybe(RunTrace, plain.get("trace")), "resumed": ()})


def resumption_from_plain(plain: Mapping[str, Any]) -> Resumption:
    """The part of a run that a `resume-<segment>.json` holds. Raises TypeError for none."""
    return Resumption(**{**plain, "overrides": tuple(plain.get("overrides", ()))})


def as_plain(value: Any) -> Any:
    """Dataclasses as dicts, all else as it is. Shallow on purpose: a timeline's columns are not copied."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return [as_plain(item) for item in value]
    return value


T = TypeVar("T")


def _maybe(kind: type[T], plain: Mapping[str, Any] | None) -> T | None:
    return None if plain is None else kind(**plain)
