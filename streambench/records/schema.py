"""The stored facts of a run: one `AttemptRecord` per line of the journal, one `RunHeader` per run.

Times are integer nanoseconds. A field ending in `_at_ns` is an instant since the run's anchor; any other `_ns` is a
duration, or an offset from the attempt's start. `None` means unknown and is never used for zero. Metrics are not
stored: readers derive them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from streambench.errors import SchemaError

SCHEMA = 1
"""The version of the stored format. 1 (2026-11): first schema."""

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
"""The letters of chunk kinds in `ChunkTimeline.kind`, and their meaning."""

GENERATED = frozenset("tcfx")
"""Kinds that carry generated output."""

ANSWER = frozenset("cf")
"""Kinds that carry the visible answer."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request of the plan. `scheduled_ns` is its offset from its phase's start; None in a closed loop, and for a
    later turn of a conversation.
    """

    seq: int
    gateway: str
    model: str
    """The model's alias: the name that every view shows."""
    prompt_id: str
    repeat: int
    block: int
    """Tickets of a block have the same prompt and repeat, one for each model: comparisons of models pair by it."""
    phase: Phase = "measure"
    scheduled_ns: int | None = None
    session_id: str | None = None
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Connection:
    """How the attempt's connection was made. The durations are None on a reused connection, or if unknown."""

    new: bool
    """True if this attempt opened it: its set-up time is inside the attempt's latencies."""
    http_version: str = "1.1"
    dns_ns: int | None = None
    connect_ns: int | None = None
    tls_ns: int | None = None
    ahead: bool = False
    """True if it was opened ahead of time and first used by this attempt: the durations are outside its latencies."""
    stale: int = 0
    """Kept-alive connections that this attempt found closed; the time lost is inside its latencies."""


@dataclass(frozen=True, slots=True)
class ChunkTimeline:
    """All chunks in order of arrival. The four columns have one entry per chunk.

    `offset_ns` is the arrival of the socket read that completed the chunk, in ns since the attempt's start. `kind` has
    one letter of KINDS per chunk. `read` is the number of the read: chunks with the same number came in one read, so
    their order is known, but the gaps between them are not.
    """

    offset_ns: tuple[int, ...] = ()
    kind: str = ""
    chars: tuple[int, ...] = ()
    """Generated characters in the chunk (Unicode code points)."""
    read: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts and cost as stated by `source`; None if it did not state them."""

    input: int | None = None
    output: int | None = None
    total: int | None = None
    reasoning: int | None = None
    cached: int | None = None
    cost_usd: float | None = None
    source: Literal["gateway", "tokenizer"] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. Texts are limited in length and secrets are masked.

    `kind`: connect_error, http_error, not_a_stream, stream_error, timeout, disconnected, too_large, cancelled,
    client_error (the client itself could not send the request).
    `detail` divides some kinds (dns, refused, tls; connect, first_chunk, idle, total; reset, cut).
    """

    kind: str
    message: str = ""
    detail: str | None = None
    status: int | None = None
    code: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call, assembled from its deltas. Its arguments are not stored, only whether they are valid."""

    name: str | None = None
    arguments_valid: bool | None = None
    """True if they are a JSON object that matches the declared schema, if any. None if that could not be checked, or no
    arguments came.
    """
    why: str | None = None
    """Why they are invalid or were not checked."""
    named_ns: int | None = None
    """Arrival of the read that completed the name; None if the stream ended while more of it could have come."""
    complete_ns: int | None = None
    """Arrival of the read with the last character of the arguments; None if they are not complete JSON."""
    choice: int = 0
    """Index of its choice. Calls of the same choice are parallel; calls of different choices are not."""


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """The answer to a request for JSON. Its text is not stored here, only whether it is valid."""

    valid: bool | None = None
    """True if it is JSON that matches the schema, if one was sent. None if that could not be checked, or a tool call or
    a refusal came instead.
    """
    why: str | None = None
    """Why it is invalid or was not checked."""
    complete_ns: int | None = None
    """Arrival of the read with the last character of the JSON; None if the answer is not complete JSON."""


@dataclass(frozen=True, slots=True)
class OutputRequest:
    """The form of answer that a request's parameters ask for, as far as findings can check it."""

    tools: int = 0
    """The number of declared functions."""
    tool_choice: Literal["auto", "none", "required", "function"] | None = None
    """`function` means one named function. None if no functions were declared, or the choice is not a known one."""
    function: str | None = None
    """The name of the function that must be called."""
    json: Literal["json_object", "json_schema"] | None = None
    effort: str | None = None
    """The reasoning effort as the request states it."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a request, from when it was due until it ended."""

    ticket: Ticket
    attempt: int
    """Counted from 1. A resumed part continues the count of the earlier parts, except for attempts that were cancelled
    or whose key was refused: their numbers are used again, in another `segment`.
    """
    trace_id: str
    span_id: str
    scheduled_at_ns: int
    """When the request was due: by the schedule, or when a lane was free for it."""
    queue_ns: int
    """Time spent waiting for a rate limit, a pause or a free slot before the start; never inside a latency."""
    start_at_ns: int
    ended_ns: int
    """When the attempt ended, whether it succeeded or failed, since its start."""
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
    """Keep-alives: comments and events without data. Those after the event that passed a size limit are not counted, so
    the number does not depend on how the network split the body.
    """
    malformed: int = 0
    """Frames that were not JSON or not a chunk."""
    malformed_why: str | None = None
    finish_reason: str | None = None
    done: bool = False
    """True if the stream marked its end: `[DONE]`, or the final event of the Responses API."""
    usage: Usage | None = None
    usage_refused: bool = False
    """True if the gateway rejected `stream_options` and the request was sent without it."""
    model_served: str | None = None
    response_id: str | None = None
    failure: Failure | None = None
    """A failure outside the stream that ended the attempt."""
    error_frame: Failure | None = None
    """An error that was sent inside the stream."""
    client_lag_ns: int | None = None
    """The largest lag of the client's event loop while this attempt ran."""
    text: str | None = None
    reasoning_text: str | None = None
    model_asked: str | None = None
    usage_asked: bool = True
    ids: int = 0
    """The number of distinct response ids in the stream."""
    roles: int = 0
    """Deltas that carried a role, in the choice that had the most of them."""
    after_finish: int = 0
    """Generated chunks that came after the finish_reason of their choice."""
    tool_calls: tuple[ToolCall, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    """Names of fields, as in `choices.delta.x`, that are in no dialect known to streambench; limited in number."""
    broken_utf8: int = 0
    """Frames with bytes that are not UTF-8, or with an incomplete character."""
    retry_wait_ns: int = 0
    """Time between the end of the previous attempt and the start of this one, without the queue time."""
    segment: int = 0
    """The part of the run that it belongs to (0 unless resumed): its `_at_ns` count from that part's anchor."""
    worker: int = 0
    """The worker that sent it, whose anchor its `_at_ns` count from. 0 is the process that writes the journal."""
    request_span_id: str = ""
    """The id of its request's span; `span_id` is that of the attempt. Both belong to `trace_id`."""
    api: str = "chat"
    """The API of the request: one of `workload.api_formats.Api`."""
    streamed: bool = True
    """True if a stream was requested. Else the answer is one body: it has one chunk per kind, all with the arrival of
    the body's last byte.
    """
    asked: OutputRequest | None = None
    """None if the request did not ask for any form of answer."""
    json_answer: JsonAnswer | None = None
    """None if the request did not ask for JSON."""
    unfinished: int = 0
    """Choices that had output but no finish_reason, although another choice had one."""
    summarised: bool = False
    """True if the API says that the streamed reasoning is a summary: more tokens may be billed than were streamed."""


@dataclass(frozen=True, slots=True)
class RunTrace:
    """The trace and span ids of a run. They are stored first, so that spans sent again later have the same ids.

    Ids are lower-case hexadecimal: a trace id has 32 digits, a span id 16.
    """

    trace_id: str
    span_id: str
    """The id of the run's span."""
    parent_span_id: str | None = None
    """The span that started the run, from the environment variable TRACEPARENT."""
    sampled: bool = True
    """False if TRACEPARENT says that its trace is not sampled."""
    shape: Literal["run", "request"] = "run"
    """`run`: one trace for the whole run. `request`: one trace for each request, linked to the run's."""
    attempts: Literal["auto", "always"] = "auto"
    """`auto`: attempts have their own spans if a request had several. `always`: every attempt has one."""


@dataclass(frozen=True, slots=True)
class WorkerAnchor:
    """The clock of one worker in one part of a run: both readings are of the same instant on the worker's machine."""

    worker: int
    """From 1 up."""
    wall_ns: int
    monotonic_ns: int
    host: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resumption:
    """The header of a resumed part, written before its first request. `wall_ns` is the anchor of its `_at_ns` times."""

    segment: int
    """The number of the part, from 1; the run's first part is 0."""
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
    """Limits, budgets and breakers that differ from the run's header, by key."""
    workers: tuple[WorkerAnchor, ...] = ()


@dataclass(frozen=True, slots=True)
class RunHeader:
    """The header of a run, written before its first request. `wall_ns` is the anchor of its first part's `_at_ns`."""

    schema: int
    run_id: str
    name: str
    wall_ns: int
    seed: int
    config: Mapping[str, Any]
    suite: Mapping[str, Any]
    requests_planned: int
    simulated: tuple[str, ...]
    """Aliases of the models that the embedded simulator serves."""
    stamps: Stamps
    versions: Mapping[str, str]
    host: Mapping[str, Any]
    monotonic_ns: int = 0
    """The anchor on the machine's monotonic clock: relates the run to other logs of the same boot."""
    config_file: str | None = None
    """The config's absolute path, so that the run can be resumed."""
    overrides: tuple[str, ...] = ()
    """`key=value` as given by `--set`; `key=***` if the value may be secret."""
    trace: RunTrace | None = None
    folder: str | None = None
    """The working folder at the run's start: relative paths in its config are also looked up there."""
    workers: tuple[WorkerAnchor, ...] = ()
    """The clocks of the workers of the run's first part, where there are any beside the process that writes this."""
    resumed: tuple[Resumption, ...] = ()
    """The run's later parts, in order. Each is stored in its own file; `run_folder.read_header` adds them."""

    def anchor_wall_ns(self, segment: int, worker: int = 0) -> int:
        """Returns the wall clock at the anchor that a part's (and worker's) instants count from, in ns since 1970.

        Raises LookupError for a part or worker that the run does not have.
        """
        part = self.resumed[segment - 1] if segment else self
        if not worker:
            return part.wall_ns
        found = next((each.wall_ns for each in part.workers if each.worker == worker), None)
        if found is None:
            raise LookupError(f"part {segment} of this run has no worker {worker}")
        return found

    def started_wall_ns(self, record: AttemptRecord) -> int:
        """Returns when the attempt started, in ns since 1970."""
        return self.anchor_wall_ns(record.segment, record.worker) + record.start_at_ns

    def start_in_part_ns(self, record: AttemptRecord) -> int:
        """Returns when the attempt started, in ns since the anchor of its part."""
        return self.started_wall_ns(record) - self.anchor_wall_ns(record.segment)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The facts known only at the end of a run or part. If it is missing, the run was killed or is still going on."""

    status: Literal[
        "complete", "interrupted", "duration_limit", "disk_error", "key_refused", "failure_share", "budget", "set_aside"
    ]
    ended_at_ns: int
    measure_started_at_ns: int | None
    measure_ended_at_ns: int | None
    client_lag_ns: Mapping[str, int | None]
    """Summary of the event loop's sampled lag: n, p50, p90, p99, max."""
    clock_steps: int
    clock_error_ns: int
    reason: str | None = None
    """What stopped the run, if the status alone does not say it."""
    measured_ns: int | None = None
    """For a resumed run: the sum of its parts' measured times. The instants are then those of its last part."""

    @property
    def window_ns(self) -> int | None:
        """The measured time in ns; None if the measured phase was not reached."""
        if self.measured_ns is not None or self.measure_started_at_ns is None or self.measure_ended_at_ns is None:
            return self.measured_ns
        return self.measure_ended_at_ns - self.measure_started_at_ns


def final_attempts(records: Iterable[AttemptRecord]) -> list[AttemptRecord]:
    """Returns the last attempt of each request, which decides its outcome, in the order of the first records."""
    last: dict[tuple[str, int], AttemptRecord] = {}
    for record in in_one_part(records):
        key = (record.ticket.phase, record.ticket.seq)
        if key not in last or record.attempt >= last[key].attempt:
            last[key] = record
    return list(last.values())


def in_one_part(records: Iterable[AttemptRecord]) -> list[AttemptRecord]:
    """Returns the records without those of earlier parts whose conversation a later part sent again.

    All turns of a conversation must come from one part.
    """
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
    """Returns the record as one line of JSON, without a newline."""
    return json.dumps(_without_empty(as_plain(record), "worker"), separators=(",", ":"))


def from_line(line: str | bytes) -> AttemptRecord:
    """Returns the record in a line. Raises ValueError, TypeError or KeyError if the line is torn or not a record."""
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
        "asked": _maybe(OutputRequest, plain.get("asked")),
        "json_answer": _maybe(JsonAnswer, plain.get("json_answer")),
        "unknown_fields": tuple(plain.get("unknown_fields", ())),
        "failure": _maybe(Failure, plain.get("failure")),
        "error_frame": _maybe(Failure, plain.get("error_frame")),
    }
    return AttemptRecord(**{**plain, **nested})


def header_from_plain(plain: Mapping[str, Any]) -> RunHeader:
    """Returns the header from the data of `run.json`.

    Raises SchemaError if the schema is newer than SCHEMA, TypeError if the data is not a header.
    """
    schema = plain.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise SchemaError(
            f"this run has schema {schema}, but this streambench reads up to {SCHEMA}: update streambench"
        )
    tuples = {name: tuple(plain.get(name, ())) for name in ("simulated", "overrides")}
    nested = {"trace": _maybe(RunTrace, plain.get("trace")), "workers": _workers(plain), "resumed": ()}
    return RunHeader(**{**plain, **tuples, **nested})


def resumption_from_plain(plain: Mapping[str, Any]) -> Resumption:
    """Returns the part from the data of `resume-<segment>.json`. Raises TypeError if the data is not a part header."""
    nested = {"overrides": tuple(plain.get("overrides", ())), "workers": _workers(plain)}
    return Resumption(**{**plain, **nested})


def header_to_plain(header: RunHeader | Resumption) -> dict[str, Any]:
    """Returns the data of the header's file."""
    return _without_empty(as_plain(header), "workers")


def _workers(plain: Mapping[str, Any]) -> tuple[WorkerAnchor, ...]:
    return tuple(WorkerAnchor(**each) for each in plain.get("workers", ()))


def _without_empty(plain: dict[str, Any], name: str) -> dict[str, Any]:
    """Leaves out a field that only runs with workers have, so that the files of other runs stay as they were."""
    if not plain[name]:
        del plain[name]
    return plain


def as_plain(value: Any) -> Any:
    """Returns dataclasses as dicts, and other values unchanged: a timeline's columns are not copied."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return [as_plain(item) for item in value]
    return value


T = TypeVar("T")


def _maybe(kind: type[T], plain: Mapping[str, Any] | None) -> T | None:
    return None if plain is None else kind(**plain)
