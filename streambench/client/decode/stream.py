"""Turns event data into chunk facts: each chunk's kind and size, and what the stream states about itself.

Data that cannot be read is counted and never raises. `SseReader` parses the events; `TapeReader` holds the decoder.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from io import StringIO
from typing import Any

from streambench.client.decode.api_adapters import CHAT, Events
from streambench.client.decode.chunk_json import (
    PER_CHUNK,
    Chunk,
    Delta,
    Function,
    UnreadableError,
    is_utf8,
    read_json,
    read_object,
    read_usage,
    reasoning_of,
    without_half_pairs,
)
from streambench.client.decode.error_body import MESSAGE_LIMIT, error_in, failure_from_body, failure_from_plain
from streambench.client.decode.json_answer import AnswerText
from streambench.client.decode.known_fields import FIELDS_LIMIT
from streambench.client.decode.sse import Event, SseReader
from streambench.client.decode.tool_calls import LEGACY, ToolCalls
from streambench.config.sections import Bounds
from streambench.records.schema import GENERATED, ChunkTimeline, Failure, JsonAnswer, ToolCall, Usage
from streambench.workload.conversation import ReceivedCall
from streambench.workload.request_params import JsonForm

DONE = b"[DONE]"

IDS_LIMIT = 64
"""Distinct response ids that are counted per stream."""

CHOICES_LIMIT = 256
"""Choices of one stream whose roles and ends are tracked."""

LOOK_LIMIT = 64 * 1024
"""Bytes. A longer chunk is not searched for unknown fields: as Python objects, JSON can take thirty times its size."""


class StreamDecoder:
    """Decodes one response body as a stream of chat chunks, while it arrives or all at its end.

    `feed` takes the body's pieces in order, each with its arrival (nanoseconds since the attempt's start) and the
    number of the socket read that brought it; the facts are in the attributes. `schemas` maps the names of the
    request's functions to the JSON schemas of their parameters. `json_form` is the JSON output that the request asked
    for. `events` reads the frames, which may be those of another API than Chat Completions. If the stream passes a
    limit, `too_large` says which one, and nothing more is read.
    """

    def __init__(
        self,
        *,
        keep_text: bool = False,
        schemas: Mapping[str, Any] | None = None,
        limits: Bounds | None = None,
        events: Events = CHAT,
        json_form: JsonForm | None = None,
    ) -> None:
        self._limits = limits or Bounds()
        self._events = events
        self._read_event = events.read
        self._reader = SseReader(self._limits.line_bytes)
        self._keep_text = keep_text
        self._frames = 0
        self._kept_chars = 0
        self._comments: int | None = None
        self.too_large: Failure | None = None
        self._offset_ns = array("q")
        self._kind: list[str] = []
        self._chars = array("q")
        self._read = array("q")
        self._text = StringIO()
        self._reasoning = StringIO()
        self.last_event_ns: int | None = None
        self.last_generated_ns: int | None = None
        self.malformed = 0
        self.malformed_why: str | None = None
        self.finish_reason: str | None = None
        self.done = False
        self.usage: Usage | None = None
        self.model: str | None = None
        self.response_id: str | None = None
        self.error_frame: Failure | None = None
        self.after_finish = 0
        self.broken_utf8 = 0
        self._tools = ToolCalls(schemas or {})
        self._answer = AnswerText(json_form) if json_form is not None else None
        self._holds_text = keep_text or json_form is not None
        self._id: str | None = None
        self._ids: set[str] = set()
        self._roles: dict[int, int] = {}
        self._began: set[int] = set()
        self._under_way = -1
        self._finished: set[int] = set()
        self._unknown: dict[str, None] = {}
        self._next_look = 1

    @property
    def ids(self) -> int:
        """Number of distinct response ids, at most `IDS_LIMIT`."""
        return len(self._ids)

    @property
    def roles(self) -> int:
        """Number of deltas with a role, in the choice that has the most of them."""
        return max(self._roles.values(), default=0)

    @property
    def unfinished(self) -> int:
        """Number of choices with output but without a finish reason, if another choice has one.

        0 if `CHOICES_LIMIT` choices have finished, because further ends are not tracked.
        """
        return len(self._began - self._finished) if 0 < len(self._finished) < CHOICES_LIMIT else 0

    @property
    def unknown_fields(self) -> tuple[str, ...]:
        """Paths of fields that no known gateway sends, in the frames that `_look` checked."""
        return tuple(self._unknown)

    @property
    def comments(self) -> int:
        """Number of keep-alives; if a limit was passed, up to the event that passed it."""
        return self._reader.comments if self._comments is None else self._comments

    @property
    def chunks(self) -> int:
        """Number of chunks in the timeline so far."""
        return len(self._kind)

    @property
    def events(self) -> int:
        """Number of events so far, keep-alives included. A body with 0 events is not a stream."""
        return self._frames + self.comments

    @property
    def bytes_left(self) -> int:
        """Bytes that may still come before a line or an event could pass its limit."""
        return max(0, self._limits.line_bytes - self._reader.under_way)

    def feed(self, piece: bytes, offset_ns: int, read: int) -> None:
        if self.too_large is not None:
            return
        self._take_all(self._reader.feed(piece), offset_ns, read)

    def _take_all(self, events: list[Event], offset_ns: int, read: int) -> None:
        for event in events:
            self._frames += 1
            if self._frames > self._limits.chunks:
                self.stop("chunks", f"the stream has more than {self._limits.chunks} chunks")
            else:
                self._take(event, offset_ns, read)
            if self.too_large is not None:  # the rest of the piece depends on the network, so it is not counted
                self._comments = event.comments
                return
        if self._reader.too_large is not None:
            what = {"line": "a line", "event": "an event"}[self._reader.too_large]
            self.stop(self._reader.too_large, f"{what} of the stream exceeded {self._limits.line_bytes} bytes")

    def stop(self, which: str, why: str) -> None:
        """Records that a limit was passed; nothing more is read. Only the first call has an effect."""
        if self.too_large is None:
            self.too_large = Failure("too_large", why, detail=which)

    def close(self, offset_ns: int, read: int) -> None:
        """Ends the body: takes a last event that lacks only its blank line.

        `offset_ns` and `read` are the arrival and number of the last read. An incomplete event does not count as
        malformed: the missing finish reason already shows that the body stopped inside it.
        """
        if self.too_large is not None:
            return
        before = (self.malformed, self.malformed_why, self.broken_utf8)
        self._take_all(self._reader.close(), offset_ns, read)
        self.malformed, self.malformed_why, self.broken_utf8 = before

    def timeline(self) -> ChunkTimeline:
        return ChunkTimeline(tuple(self._offset_ns), "".join(self._kind), tuple(self._chars), tuple(self._read))

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """Returns the tool calls so far, each judged as it stands."""
        return self._tools.judged(finished=self.finish_reason is not None)

    def received_calls(self) -> tuple[ReceivedCall, ...] | None:
        """Returns the first choice's calls with their arguments; None if one was too long to keep."""
        return self._tools.received()

    def json_answer(self) -> JsonAnswer | None:
        """Returns the validity of the requested JSON as it stands; None if no JSON was requested."""
        if self._answer is None:
            return None
        instead = (
            "the model called a tool instead"
            if "f" in self._kind
            else "the model refused"
            if "x" in self._kind
            else None
        )
        return self._answer.judged(finished=self.finish_reason is not None, instead=instead)

    def text(self) -> str | None:
        return self._text.getvalue() if self._keep_text else None

    def reasoning_text(self) -> str | None:
        return self._reasoning.getvalue() if self._keep_text else None

    def _take(self, event: Event, offset_ns: int, read: int) -> None:
        self.last_event_ns = offset_ns
        if event.data.strip() == DONE:
            self.done = True
        elif event.name == b"error":
            self._take_error(failure_from_body("stream_error", event.data))
        elif (chunk := self._decode(event.data)) is None:
            return
        elif error := chunk.error or self._error_of(chunk, event.data):
            self._take_error(failure_from_plain("stream_error", {"error": error}))
        else:
            self._take_chunk(chunk, event.data, offset_ns, read)

    def _error_of(self, chunk: Chunk, data: bytes) -> Any:
        """Returns the error that a chat frame without choices and usage states in another form than `error`."""
        if chunk.choices or chunk.usage or self._events is not CHAT or len(data) > LOOK_LIMIT:
            return None
        try:
            return error_in(read_object(without_half_pairs(data)))
        except UnreadableError:  # the typed reader skips what this one must read: numbers out of range, deep nesting
            return None

    def _take_chunk(self, chunk: Chunk, data: bytes, offset_ns: int, read: int) -> None:
        ended = len(self._finished)
        kind, chars = self._generated(chunk)
        adds = len(self._finished) > ended or (chunk.usage and self.usage is None)
        if adds or len(self._kind) + 1 == self._next_look:
            self._look(data)
        self._note(chunk)
        self._offset_ns.append(offset_ns)
        self._kind.append(kind)
        self._chars.append(chars)
        self._read.append(read)
        if kind in GENERATED:
            self.last_generated_ns = offset_ns

    def _decode(self, data: bytes) -> Chunk | None:
        try:
            return self._read_event(data)
        except UnreadableError as error:
            whole = without_half_pairs(data)
            if whole != data:
                self.broken_utf8 += 1
                return self._decode(whole)
            self.broken_utf8 += not is_utf8(data)
            self._malformed(str(error))
            return None

    def _malformed(self, why: str) -> None:
        self.malformed += 1
        if self.malformed_why is None:
            self.malformed_why = why[:MESSAGE_LIMIT]

    def _take_error(self, failure: Failure) -> None:
        if self.error_frame is None:
            self.error_frame = failure

    def _note(self, chunk: Chunk) -> None:
        """Keeps what the stream states about itself: the first id and model, the last usage."""
        if chunk.id and chunk.id != self._id:
            self._note_id(chunk.id)
        if self.model is None:
            self.model = _bounded(chunk.model)
        if chunk.usage:
            self.usage = read_usage(chunk.usage) or self.usage

    def _note_id(self, chunk_id: str) -> None:
        self._id = chunk_id
        self.response_id = self.response_id or _bounded(chunk_id)
        if len(self._ids) < IDS_LIMIT:
            self._ids.add(chunk_id[:MESSAGE_LIMIT])

    def _finish(self, index: int, reason: str) -> None:
        """Marks a choice as finished. The first reason in the stream is kept as the stream's `finish_reason`."""
        self.finish_reason = self.finish_reason or _bounded(reason)
        self.done = self.done or self._events.finish_ends
        self._under_way = -1
        if len(self._finished) < CHOICES_LIMIT:
            self._finished.add(index)

    def _begin(self, index: int) -> None:
        """Notes output of another choice than the last one's, or of a choice that has finished."""
        if index in self._finished:
            self.after_finish += 1
            return
        self._under_way = index
        if len(self._began) < CHOICES_LIMIT:
            self._began.add(index)

    def _look(self, data: bytes) -> None:
        """Adds the frame's unknown fields to `_unknown`.

        One check costs as much as decoding several frames, so only a few frames get one: the 1st, 4th, 16th and so on,
        and those with a finish reason or the first usage, where gateways put additional fields.
        """
        if len(self._kind) + 1 == self._next_look:
            self._next_look *= 4
        if len(data) > LOOK_LIMIT:
            return
        try:
            for path in self._events.look(read_json(data)):
                if len(self._unknown) < FIELDS_LIMIT:
                    self._unknown[path] = None
        except UnreadableError:
            return

    def _generated(self, chunk: Chunk) -> tuple[str, int]:
        """Returns the chunk's kind and its number of generated characters, over all its choices.

        If the choices differ in kind, the kind most visible to a user is returned (the order is in `_rank`).
        """
        kind, chars = "", 0
        for choice in (chunk.choices or ())[:PER_CHUNK]:
            index = choice.index or 0
            if choice.delta is not None:
                one, count = self._delta(choice.delta, index)
                kind = min(kind, one, key=_rank) if kind else one
                chars += count
                if count and index != self._under_way:
                    self._begin(index)
            if choice.error:
                self._take_error(failure_from_plain("stream_error", {"error": choice.error}))
            if choice.finish_reason:
                self._finish(index, choice.finish_reason)
        if kind and kind != "o":
            return kind, chars
        return ("u" if chunk.usage else "o"), chars

    def _delta(self, delta: Delta, index: int) -> tuple[str, int]:
        reasoning = reasoning_of(delta)
        content = delta.content or ""
        refusal = delta.refusal or ""
        tools = self._called(delta, index) if delta.tool_calls or delta.function_call else 0
        if delta.role and (index in self._roles or len(self._roles) < CHOICES_LIMIT):
            self._roles[index] = self._roles.get(index, 0) + 1
        if self._holds_text:
            self._hold(content, refusal, reasoning, index)
        chars = len(reasoning) + len(content) + len(refusal) + tools
        if content:
            return "c", chars
        if tools:
            return "f", chars
        if refusal:
            return "x", chars
        if reasoning:
            return "t", chars
        return ("r" if delta.role else "o"), 0

    def _hold(self, content: str, refusal: str, reasoning: str, index: int) -> None:
        if self._answer is not None and content:
            self._answer.add(index, content, self.last_event_ns or 0)
        if self._keep_text:
            self._keep(content or refusal, reasoning)

    def _keep(self, text: str, reasoning: str) -> None:
        self._kept_chars += len(text) + len(reasoning)
        if self._kept_chars > self._limits.text_chars:
            self.stop("text", f"the text to record exceeded {self._limits.text_chars} characters")
            return
        self._text.write(text)
        self._reasoning.write(reasoning)

    def _called(self, delta: Delta, choice: int) -> int:
        """Adds the delta's names and arguments to their calls; returns their number of characters."""
        chars = 0
        for call in (delta.tool_calls or ())[:PER_CHUNK]:
            function = call.function or Function()
            self._tools.add(choice, call.index, call.id, function.name, function.arguments, self.last_event_ns)
            chars += len(function.name or "") + len(function.arguments or "")
        legacy = delta.function_call
        if legacy is not None:
            self._tools.add(choice, LEGACY, None, legacy.name, legacy.arguments, self.last_event_ns)
            chars += len(legacy.name or "") + len(legacy.arguments or "")
        return chars


def _rank(kind: str) -> int:
    return "cfxtro".index(kind)


def _bounded(value: str | None) -> str | None:
    return value[:MESSAGE_LIMIT] if value else None
