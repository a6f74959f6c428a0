"""Event data into chunk facts: what kind each chunk was, how much it carried, and what the stream said of itself.

Chunks decode into typed structs; one whose types are off is read leniently, field by field, and never raises.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from streambench.records import GENERATED, ChunkTimeline, Failure, Usage
from streambench.sse import Event, SseReader

MESSAGE_LIMIT = 4_000
"""Characters of a gateway's message that are taken; masked first, then cut to what is kept."""

DONE = b"[DONE]"

LARGEST_NUMBER = 2**53
"""Of tokens and dollars: up to here every reader of the journal is exact; beyond it a gateway talks nonsense."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None


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


class StreamDecoder:
    """Reads one response body as a stream of chat chunks, as fast as it is fed or all at its end.

    `feed` takes the body's pieces with the arrival of each (nanoseconds since the attempt's start) and the number of
    the socket read that brought it; the facts gather in the attributes.
    """

    def __init__(self, *, keep_text: bool = False) -> None:
        self._reader = SseReader()
        self._keep_text = keep_text
        self._offset_ns: list[int] = []
        self._kind: list[str] = []
        self._chars: list[int] = []
        self._read: list[int] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
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

    @property
    def comments(self) -> int:
        return self._reader.comments

    def feed(self, piece: bytes, offset_ns: int, read: int) -> None:
        for event in self._reader.feed(piece):
            self._take(event, offset_ns, read)

    def close(self, offset_ns: int, read: int) -> None:
        """The body is over: takes an event that lacks only its blank line. Give the last read's arrival and number.

        Half an event is no malformed frame: that the body stopped inside it is told by its missing finish.
        """
        before = (self.malformed, self.malformed_why)
        for event in self._reader.close():
            self._take(event, offset_ns, read)
        self.malformed, self.malformed_why = before

    def timeline(self) -> ChunkTimeline:
        return ChunkTimeline(tuple(self._offset_ns), "".join(self._kind), tuple(self._chars), tuple(self._read))

    def text(self) -> str | None:
        return "".join(self._text) if self._keep_text else None

    def reasoning_text(self) -> str | None:
        return "".join(self._reasoning) if self._keep_text else None

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
            self._take_chunk(chunk, offset_ns, read)

    def _take_chunk(self, chunk: _Chunk, offset_ns: int, read: int) -> None:
        kind, chars = self._generated(chunk)
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
                return self._decode(whole)
            self._malformed(str(error))
            return None

    def _decode_leniently(self, data: bytes) -> _Chunk | None:
        try:
            plain = _untyped(data)
        except _UNREADABLE as error:
            self._malformed(str(error))
            return None
        if not isinstance(plain, dict):
            self._malformed(f"the frame is {type(plain).__name__}, not an object")
            return None
        return _lenient_chunk(plain)

    def _malformed(self, why: str) -> None:
        self.malformed += 1
        if self.malformed_why is None:
            self.malformed_why = why[:MESSAGE_LIMIT]

    def _take_error(self, failure: Failure) -> None:
        if self.error_frame is None:
            self.error_frame = failure

    def _note(self, chunk: _Chunk) -> None:
        """What the stream says of itself: the first id and model, the first finish reason, the last usage."""
        if self.response_id is None:
            self.response_id = _bounded(chunk.id)
        if self.model is None:
            self.model = _bounded(chunk.model)
        if chunk.usage:
            self.usage = read_usage(chunk.usage) or self.usage
        if self.finish_reason is None:
            for choice in chunk.choices or ():
                self.finish_reason = self.finish_reason or _bounded(choice.finish_reason)

    def _generated(self, chunk: _Chunk) -> tuple[str, int]:
        """The chunk's kind and its generated characters, over all its choices; the most visible kind names it."""
        kind, chars = "", 0
        for choice in chunk.choices or ():
            if choice.delta is not None:
                one, count = self._delta(choice.delta)
                kind = min(kind, one, key=_rank) if kind else one
                chars += count
        if kind and kind != "o":
            return kind, chars
        return ("u" if chunk.usage else "o"), chars

    def _delta(self, delta: _Delta) -> tuple[str, int]:
        reasoning = delta.reasoning_content or delta.reasoning or ""
        content = delta.content or ""
        refusal = delta.refusal or ""
        tools, called = _tool_text(delta)
        if self._keep_text:
            self._text.append(content or refusal)
            self._reasoning.append(reasoning)
        chars = len(reasoning) + len(content) + len(refusal) + tools
        if content:
            return "c", chars
        if called:
            return "f", chars
        if refusal:
            return "x", chars
        if reasoning:
            return "t", chars
        return ("r" if delta.role else "o"), 0


def _rank(kind: str) -> int:
    return "cfxtro".index(kind)


def _tool_text(delta: _Delta) -> tuple[int, bool]:
    """Characters of names and arguments, and whether any call was under way in this delta."""
    functions = [call.function for call in delta.tool_calls or ()] + [delta.function_call]
    known = [function for function in functions if function is not None]
    chars = sum(len(function.name or "") + len(function.arguments or "") for function in known)
    return chars, chars > 0


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
    return _text(f"an object with the keys {', '.join(list(error)[:12])}" if error else "an empty object")


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


def _without_half_pairs(data: bytes) -> bytes:
    """Halves of surrogate pairs become U+FFFD: gateways that count in UTF-16 cut an emoji between two chunks."""
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], data)


def _lenient_chunk(plain: dict[str, Any]) -> _Chunk:
    choices = plain.get("choices")
    return _Chunk(
        id=_string(plain.get("id")),
        model=_string(plain.get("model")),
        choices=[_lenient_choice(one) for one in choices if isinstance(one, dict)] if isinstance(choices, list) else [],
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
            tool_calls=[_lenient_call(one) for one in calls if isinstance(one, dict)]
            if isinstance(calls, list)
            else [],
            function_call=_lenient_function(delta.get("function_call")),
        ),
        finish_reason=_string(plain.get("finish_reason")),
    )


def _lenient_call(plain: dict[str, Any]) -> _ToolCall:
    return _ToolCall(function=_lenient_function(plain.get("function")))


def _lenient_function(plain: object) -> _Function | None:
    if not isinstance(plain, dict):
        return None
    return _Function(name=_string(plain.get("name")), arguments=_content(plain.get("arguments")))


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
