"""Event data into chunk facts: what kind each chunk was, how much it carried, and what the stream said of itself.

Chunks decode into typed structs; one whose types are off is read leniently, field by field, and never raises.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any

import msgspec

from streambench.dialects import FIELDS_LIMIT, shown_name, unknown_fields
from streambench.records import GENERATED, ChunkTimeline, Failure, ToolCall, Usage
from streambench.sse import Event, SseReader
from streambench.tool_calls import LEGACY, ToolCalls

MESSAGE_LIMIT = 4_000
"""Characters of a gateway's message that are taken; masked first, then cut to what is kept."""

DONE = b"[DONE]"

IDS_LIMIT = 64
"""Distinct response ids of one stream that are counted."""

CHOICES_LIMIT = 256
"""Choices of one stream whose roles and ends are told apart."""

PER_CHUNK = 1_024
"""Choices of one chunk, and tool calls of one delta, that are looked at."""

LOOK_LIMIT = 64 * 1024
"""Bytes of a chunk in which fields unknown here are looked for: as objects, JSON can take thirty times its size."""

LARGEST_NUMBER = 2**53
"""Of tokens and dollars: up to here every reader of the journal is exact; beyond it a gateway talks nonsense."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None
    index: int | None = None
    id: str | None = None


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None
    index: int | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_typed = msgspec.json.Decoder(_Chunk).decode
_untyped = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ESCAPE = re.compile(rb"(?s)\\(?:u(?i:d[89ab][\da-f]{2})\\u(?i:d[c-f][\da-f]{2})|(u(?i:d[89a-f][\da-f]{2}))|.)")
"""An escape in a JSON string; the group holds half a surrogate pair that has no other half."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one stream may bring before it is `too_large`. docs/design/007-bounds.md tells why these."""

    line_bytes: int = 1024 * 1024
    """Of a line, and of one event's data."""
    stream_bytes: int = 64 * 1024 * 1024
    """Of the whole body, once its compression is undone."""
    chunks: int = 200_000
    """Events with data, whatever they hold."""
    text_chars: int = 1_000_000
    """Of text that is to be kept."""


class StreamDecoder:
    """Reads one response body as a stream of chat chunks, as fast as it is fed or all at its end.

    `feed` takes the body's pieces with the arrival of each (nanoseconds since the attempt's start) and the number of
    the socket read that brought it; the facts gather in the attributes. `schemas` are those of the request's functions.
    Where the stream passes a limit, `too_large` tells which, and nothing more is read.
    """

    def __init__(
        self,
        *,
        keep_text: bool = False,
        schemas: Mapping[str, Any] | None = None,
        limits: StreamLimits | None = None,
    ) -> None:
        self._limits = limits or StreamLimits()
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
        self._id: str | None = None
        self._ids: set[str] = set()
        self._roles: dict[int, int] = {}
        self._finished: set[int] = set()
        self._unknown: dict[str, None] = {}
        self._next_look = 1

    @property
    def ids(self) -> int:
        """Distinct response ids, up to `IDS_LIMIT`."""
        return len(self._ids)

    @property
    def roles(self) -> int:
        """Deltas that carried a role, in the choice that had the most of them."""
        return max(self._roles.values(), default=0)

    @property
    def unknown_fields(self) -> tuple[str, ...]:
        """Fields that no known dialect has, of the frames that were looked at: see `_look`."""
        return tuple(self._unknown)

    @property
    def comments(self) -> int:
        """Keep-alives, up to the event that passed a limit where one did."""
        return self._reader.comments if self._comments is None else self._comments

    @property
    def chunks(self) -> int:
        """How many are in the timeline so far."""
        return len(self._kind)

    @property
    def events(self) -> int:
        """How many came, keep-alives included: what has none was no stream."""
        return self._frames + self.comments

    @property
    def room(self) -> int:
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
                self.stop("chunks", f"the stream brought more than {self._limits.chunks} chunks")
            else:
                self._take(event, offset_ns, read)
            if self.too_large is not None:  # how much more came in this piece is the network's doing
                self._comments = event.comments
                return
        if self._reader.too_large is not None:
            what = {"line": "a line", "event": "an event"}[self._reader.too_large]
            self.stop(self._reader.too_large, f"{what} of the stream passed {self._limits.line_bytes} bytes")

    def stop(self, which: str, why: str) -> None:
        """A limit was passed: nothing more is read. The first one counts."""
        if self.too_large is None:
            self.too_large = Failure("too_large", why, detail=which)

    def close(self, offset_ns: int, read: int) -> None:
        """The body is over: takes an event that lacks only its blank line. Give the last read's arrival and number.

        Half an event is no malformed frame: that the body stopped inside it is told by its missing finish.
        """
        if self.too_large is not None:
            return
        before = (self.malformed, self.malformed_why, self.broken_utf8)
        self._take_all(self._reader.close(), offset_ns, read)
        self.malformed, self.malformed_why, self.broken_utf8 = before

    def timeline(self) -> ChunkTimeline:
        return ChunkTimeline(tuple(self._offset_ns), "".join(self._kind), tuple(self._chars), tuple(self._read))

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls that came so far, judged as they stand."""
        return self._tools.judged()

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
        elif chunk.error:
            self._take_error(failure_from_plain("stream_error", {"error": chunk.error}))
        else:
            self._take_chunk(chunk, event.data, offset_ns, read)

    def _take_chunk(self, chunk: _Chunk, data: bytes, offset_ns: int, read: int) -> None:
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

    def _decode(self, data: bytes) -> _Chunk | None:
        try:
            return _typed(data)
        except msgspec.ValidationError:
            return self._decode_leniently(data)
        except _UNREADABLE as error:
            whole = _without_half_pairs(data)
            if whole != data:
                self.broken_utf8 += 1
                return self._decode(whole)
            self._unreadable(data, str(error))
            return None

    def _decode_leniently(self, data: bytes) -> _Chunk | None:
        try:
            plain = _untyped(data)
        except _UNREADABLE as error:
            self._unreadable(data, str(error))
            return None
        if not isinstance(plain, dict):
            self._malformed(f"the frame is {type(plain).__name__}, not an object")
            return None
        return _lenient_chunk(plain)

    def _unreadable(self, data: bytes, why: str) -> None:
        self.broken_utf8 += not _is_utf8(data)
        self._malformed(why)

    def _malformed(self, why: str) -> None:
        self.malformed += 1
        if self.malformed_why is None:
            self.malformed_why = why[:MESSAGE_LIMIT]

    def _take_error(self, failure: Failure) -> None:
        if self.error_frame is None:
            self.error_frame = failure

    def _note(self, chunk: _Chunk) -> None:
        """What the stream says of itself: the first id and model, the last usage."""
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
        """The first reason is the stream's; each choice ends with its own."""
        self.finish_reason = self.finish_reason or _bounded(reason)
        if len(self._finished) < CHOICES_LIMIT:
            self._finished.add(index)

    def _look(self, data: bytes) -> None:
        """Whether the frame has fields unknown here. A look costs as much as reading several frames, so few get one:
        the 1st, 4th, 16th and so on, and those with a finish reason or the first usage, where gateways put extras.
        """
        if len(self._kind) + 1 == self._next_look:
            self._next_look *= 4
        if len(data) > LOOK_LIMIT:
            return
        try:
            for path in unknown_fields(_untyped(data)):
                if len(self._unknown) < FIELDS_LIMIT:
                    self._unknown[path] = None
        except _UNREADABLE:
            return

    def _generated(self, chunk: _Chunk) -> tuple[str, int]:
        """The chunk's kind and its generated characters, over all its choices; the most visible kind names it."""
        kind, chars = "", 0
        for choice in (chunk.choices or ())[:PER_CHUNK]:
            index = choice.index or 0
            if choice.delta is not None:
                one, count = self._delta(choice.delta, index)
                kind = min(kind, one, key=_rank) if kind else one
                chars += count
                if count and index in self._finished:
                    self.after_finish += 1
            if choice.finish_reason:
                self._finish(index, choice.finish_reason)
        if kind and kind != "o":
            return kind, chars
        return ("u" if chunk.usage else "o"), chars

    def _delta(self, delta: _Delta, index: int) -> tuple[str, int]:
        reasoning = delta.reasoning_content or delta.reasoning or ""
        content = delta.content or ""
        refusal = delta.refusal or ""
        tools = self._called(delta, index) if delta.tool_calls or delta.function_call else 0
        if delta.role and (index in self._roles or len(self._roles) < CHOICES_LIMIT):
            self._roles[index] = self._roles.get(index, 0) + 1
        if self._keep_text:
            self._keep(content or refusal, reasoning)
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

    def _keep(self, text: str, reasoning: str) -> None:
        self._kept_chars += len(text) + len(reasoning)
        if self._kept_chars > self._limits.text_chars:
            self.stop("text", f"the text to keep passed {self._limits.text_chars} characters")
            return
        self._text.write(text)
        self._reasoning.write(reasoning)

    def _called(self, delta: _Delta, choice: int) -> int:
        """Characters of names and arguments in this delta, which are added to their calls."""
        chars = 0
        for call in (delta.tool_calls or ())[:PER_CHUNK]:
            function = call.function or _Function()
            self._tools.add(choice, call.index, call.id, function.name, function.arguments)
            chars += len(function.name or "") + len(function.arguments or "")
        legacy = delta.function_call
        if legacy is not None:
            self._tools.add(choice, LEGACY, None, legacy.name, legacy.arguments)
            chars += len(legacy.name or "") + len(legacy.arguments or "")
        return chars


def _rank(kind: str) -> int:
    return "cfxtro".index(kind)


def read_usage(plain: dict[str, Any]) -> Usage | None:
    """Token counts from a `usage` object in any of the spellings in use; None when it states no count at all."""
    prompt_details = _dict(plain.get("prompt_tokens_details") or plain.get("input_tokens_details"))
    output_details = _dict(plain.get("completion_tokens_details") or plain.get("output_tokens_details"))
    usage = Usage(
        input=_count(plain, "prompt_tokens", "input_tokens"),
        output=_count(plain, "completion_tokens", "output_tokens"),
        total=_count(plain, "total_tokens"),
        reasoning=_count(output_details, "reasoning_tokens"),
        cached=_first(_count(prompt_details, "cached_tokens"), _count(plain, "prompt_cache_hit_tokens")),
        cost_usd=_number(plain.get("cost")),
        source="gateway",
    )
    return None if usage.input is None and usage.output is None and usage.total is None else usage


def failure_from_body(kind: str, body: bytes, *, status: int | None = None) -> Failure:
    """What an error body says, be it JSON with or without `error`, plain text or HTML."""
    try:
        plain = _untyped(body)
    except _UNREADABLE:
        plain = _title(body.decode("utf-8", "replace"))
    return failure_from_plain(kind, plain, status=status)


def failure_from_plain(kind: str, plain: Any, *, status: int | None = None) -> Failure:
    error = _first(plain.get("error"), plain) if isinstance(plain, dict) else plain
    if not isinstance(error, dict):
        return Failure(kind=kind, message=_text(error), status=status)
    message = _first(*(error.get(key) for key in ("message", "detail", "html-message", "msg", "error", "type")))
    code = _first(error.get("code"), error.get("type"))
    return Failure(
        kind=kind,
        message=_keys(error) if message is None else _text(message),
        status=status if status is not None else _status(error.get("code")),
        code=None if code is None else _text(code),
    )


def _keys(error: dict[str, Any]) -> str:
    """An object that names no error may well be an answer: its keys are told, not what it says."""
    names = ", ".join(map(shown_name, list(error)[:12]))
    return f"an object with the keys {names}" if names else "an empty object"


def _title(text: str) -> str:
    """An HTML page's title, which says as much as the page; other text as it is."""
    start = text.lower().find("<title>")
    if start < 0:
        return text.strip()
    return text[start + 7 :].split("<", 1)[0].strip()


def _text(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else _json(value)
    return text[:MESSAGE_LIMIT]


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:  # writing reaches a little less deep than reading
        return "(too deeply nested)"


def _status(code: object) -> int | None:
    """A code that is an HTTP status, given as a number or as its digits."""
    digits = str(code)
    return int(digits) if digits.isdigit() and len(digits) == 3 and digits.isascii() else None


def _count(plain: dict[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = plain.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER:
            return value
    return None


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER:
        return float(value)
    return None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _bounded(value: str | None) -> str | None:
    return value[:MESSAGE_LIMIT] if value else None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without_half_pairs(data: bytes) -> bytes:
    """Halves of surrogate pairs become U+FFFD: gateways that count in UTF-16 cut an emoji between two chunks."""
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], data)


def _lenient_chunk(plain: dict[str, Any]) -> _Chunk:
    choices = plain.get("choices")
    return _Chunk(
        id=_string(plain.get("id")),
        model=_string(plain.get("model")),
        choices=[_lenient_choice(one) for one in choices[:PER_CHUNK] if isinstance(one, dict)]
        if isinstance(choices, list)
        else [],
        usage=_dict(plain.get("usage")) or None,
        error=plain.get("error"),
    )


def _lenient_choice(plain: dict[str, Any]) -> _Choice:
    delta = _dict(plain.get("delta"))
    calls = delta.get("tool_calls")
    return _Choice(
        delta=_Delta(
            role=_string(delta.get("role")),
            content=_content(delta.get("content")),
            reasoning_content=_content(delta.get("reasoning_content")),
            reasoning=_content(delta.get("reasoning")),
            refusal=_content(delta.get("refusal")),
            tool_calls=[_lenient_call(one) for one in calls[:PER_CHUNK] if isinstance(one, dict)]
            if isinstance(calls, list)
            else [],
            function_call=_lenient_function(delta.get("function_call")),
        ),
        finish_reason=_string(plain.get("finish_reason")),
        index=_index(plain.get("index")),
    )


def _lenient_call(plain: dict[str, Any]) -> _ToolCall:
    return _ToolCall(
        function=_lenient_function(plain.get("function")),
        index=_index(plain.get("index")),
        id=_string(plain.get("id")),
    )


def _lenient_function(plain: object) -> _Function | None:
    if not isinstance(plain, dict):
        return None
    return _Function(name=_string(plain.get("name")), arguments=_content(plain.get("arguments")))


def _index(value: object) -> int | None:
    """A place in a list, given as a number or as its digits."""
    digits = str(value)
    return int(digits) if digits.isdigit() and digits.isascii() and len(digits) < 10 else None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _content(value: object) -> str | None:
    """Text, or the text of content parts; anything else that stands for content counts by its JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return "".join(part for part in parts if isinstance(part, str))
    return _json(value)
