"""The table of faults, by name.

A fault rejects the request, changes the answer, changes its events, or changes how the connection ends. In the models
file a model has a fault always or with a probability.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

import msgspec

from streambench.simulator.answer import MS, DrawnAnswer
from streambench.simulator.chat_events import ChatEvent, sse
from streambench.simulator.other_apis import failed_event
from streambench.simulator.request_parser import Json, error_json
from streambench.text import count

GENERATED = frozenset("tcfx")
COMMENT = b": keep-alive\n\n"
CONTENT = b'"content":"'
STALL_MS = 800
LONG = 2 * 1024 * 1024


class End(Enum):
    """What happens after a stream's last write."""

    COMPLETE = "complete"
    CUT = "cut"
    """The connection is closed without the body's closing chunk."""
    RESET = "reset"
    """The connection is reset (TCP RST)."""
    SILENCE = "silence"
    """Nothing is sent until the client disconnects."""
    COMMENTS = "comments"
    """SSE comments are sent until the client disconnects."""


class FaultDelivery(Enum):
    """How the answer is sent."""

    STREAM = "stream"
    LATE_HEADERS = "late_headers"
    WHOLE = "whole"
    """One JSON object, even if the request asked for a stream."""
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP response, sent at once instead of an answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `about` describes it in one line; the other fields say what it changes.

    If `about` says "for a model with `tools`", the fault's model in configs/simulated/faulty.yaml has them.

    reply: is sent instead of an answer. change: changes the answer. events: changes the stream's events. end: what
    follows the last write. delivery: how the answer is sent.
    """

    about: str
    reply: Reply | None = None
    change: Callable[[DrawnAnswer], DrawnAnswer] | None = None
    events: Callable[[list[ChatEvent]], list[ChatEvent]] | None = None
    end: End = End.COMPLETE
    delivery: FaultDelivery = FaultDelivery.STREAM

    @property
    def stream_only(self) -> bool:
        """True if the fault has no effect on a response that is not a stream."""
        return self.reply is None and self.change is None and self.delivery is not FaultDelivery.NEVER


def _refusal(status: int, message: str, kind: str, code: str, *headers: tuple[str, str]) -> Reply:
    return Reply(status, msgspec.json.encode(error_json(message, kind, None, code)), headers=headers)


def _first_half(events: list[ChatEvent]) -> list[ChatEvent]:
    """Returns the events up to the middle of the generated ones, with at least one generated event if there is any."""
    places = [at for at, event in enumerate(events) if event.kind in GENERATED]
    return events[: places[(len(places) - 1) // 2] + 1] if places else events[:1]


def _next_due(events: list[ChatEvent]) -> int:
    """Returns the due time of the event after the first half."""
    return events[min(len(_first_half(events)), len(events) - 1)].at_ns


def _first_due(events: list[ChatEvent]) -> int:
    """Returns the due time of the first generated chunk, or of the last event if there is no such chunk."""
    return next((event.at_ns for event in events if event.kind in GENERATED), events[-1].at_ns)


def _half_then(data: bytes) -> Callable[[list[ChatEvent]], list[ChatEvent]]:
    return lambda events: [*_first_half(events), ChatEvent("", data, _next_due(events))]


def _with_broken_middle(events: list[ChatEvent]) -> list[ChatEvent]:
    """Cuts the JSON of one event in the middle; the other events stay as they are."""
    half = _first_half(events)
    broken = events[len(half) - 1]
    torn = broken.data.rstrip()[: len(broken.data) // 2] + b"\n\n"
    return [*half[:-1], ChatEvent("", torn, broken.at_ns), *events[len(half) :]]


def _without(kind: str) -> Callable[[list[ChatEvent]], list[ChatEvent]]:
    return lambda events: [event for event in events if event.kind != kind]


def _end_with_crlf(events: list[ChatEvent]) -> list[ChatEvent]:
    return [event._replace(data=event.data.replace(b"\n", b"\r\n")) for event in events]


def _all_at_the_end(events: list[ChatEvent]) -> list[ChatEvent]:
    return [event._replace(at_ns=events[-1].at_ns) for event in events]


def _spoilt(events: list[ChatEvent], old: bytes, new: bytes, kinds: str = "rtcfxou") -> list[ChatEvent]:
    """Replaces the first `old` by `new` in each event of these kinds."""
    return [
        event._replace(data=event.data.replace(old, new, 1)) if event.kind and event.kind in kinds else event
        for event in events
    ]


def _replaced(old: bytes, new: bytes, kinds: str = "rtcfxou") -> Callable[[list[ChatEvent]], list[ChatEvent]]:
    return lambda events: _spoilt(events, old, new, kinds)


def _with_second_id(events: list[ChatEvent]) -> list[ChatEvent]:
    half = len(_first_half(events))
    return [*events[:half], *_spoilt(events[half:], b'"id":"chatcmpl-', b'"id":"chatcmpl-retry-')]


def _finish_half_way(events: list[ChatEvent]) -> list[ChatEvent]:
    """Moves the chunk with the finish_reason to the middle of the content."""
    half = len(_first_half(events))
    early = [event._replace(at_ns=events[half - 1].at_ns) for event in events if event.kind == "o"]
    return [*events[:half], *early, *_without("o")(events[half:])]


def _as_refusal(events: list[ChatEvent]) -> list[ChatEvent]:
    refused = _spoilt(events, b'"delta":{"content":', b'"delta":{"refusal":', "c")
    return [event._replace(kind="x") if event.kind == "c" else event for event in refused]


def _as_text(answer: DrawnAnswer) -> DrawnAnswer:
    """Turns the tool calls into content: each call's first piece becomes the function's name."""
    if not answer.tool_names:
        return answer
    pieces = tuple(
        piece._replace(kind="c", text=piece.text or answer.tool_names[piece.call]) if piece.kind == "f" else piece
        for piece in answer.pieces
    )
    return replace(answer, pieces=pieces, tool_names=(), finish="stop", json=True)


def _in_bursts(events: list[ChatEvent]) -> list[ChatEvent]:
    """Sends each group of four generated chunks when the last of them is due; other events keep their due times."""
    due = [event.at_ns for event in events if event.kind in GENERATED]
    late = iter(due[min(at | 3, len(due) - 1)] for at in range(len(due)))
    return [event._replace(at_ns=next(late)) if event.kind in GENERATED else event for event in events]


def _with_pause(events: list[ChatEvent]) -> list[ChatEvent]:
    half = len(_first_half(events))
    return [*events[:half], *(event._replace(at_ns=event.at_ns + STALL_MS * MS) for event in events[half:])]


def _with_long_line(events: list[ChatEvent]) -> list[ChatEvent]:
    half = len(_first_half(events))
    return [*events[:half], *_spoilt(events[half : half + 1], CONTENT, CONTENT + b"x" * LONG), *events[half + 1 :]]


def _with_comments(events: list[ChatEvent]) -> list[ChatEvent]:
    return [part for event in events for part in (ChatEvent("", COMMENT, event.at_ns), event)]


def _emoji_in_two(first: bytes, second: bytes) -> Callable[[list[ChatEvent]], list[ChatEvent]]:
    """Returns a change that puts `first` at the end of one content chunk and `second` at the start of the next."""

    def cut(events: list[ChatEvent]) -> list[ChatEvent]:
        half = len(_first_half(events))
        before = _spoilt(events[half - 1 : half], b'"},"finish', first + b'"},"finish')
        after = _spoilt(events[half : half + 1], CONTENT, CONTENT + second)
        return [*events[: half - 1], *before, *after, *events[half + 1 :]]

    return cut


def _recounted(count: Callable[[Json], Json]) -> Callable[[list[ChatEvent]], list[ChatEvent]]:
    """Returns a change that updates the usage with the fields that `count` computes from it."""

    def recount(events: list[ChatEvent]) -> list[ChatEvent]:
        return [event._replace(data=_usage_as(event.data, count)) if event.kind == "u" else event for event in events]

    return recount


def _usage_as(data: bytes, count: Callable[[Json], Json]) -> bytes:
    chunk = msgspec.json.decode(data.removeprefix(b"data: "))
    return sse(msgspec.json.encode({**chunk, "usage": {**chunk["usage"], **count(chunk["usage"])}}).decode())


def _times(factor: int) -> Callable[[Json], Json]:
    def count(usage: Json) -> Json:
        output = factor * usage["completion_tokens"]
        return {"completion_tokens": output, "total_tokens": usage["prompt_tokens"] + output}

    return count


def _failing(events: list[ChatEvent]) -> list[ChatEvent]:
    """Ends the stream half-way with an error: `response.failed` for Responses, an error object for the other APIs."""
    by_type = events[0].data.startswith(b"event: response.")
    return _half_then(failed_event("resp_failed", *_DIED) if by_type else sse(ERROR_FRAME.decode()))(events)


_DIED = ("The engine died while answering", "engine_dead")
ERROR_FRAME = msgspec.json.encode(error_json(_DIED[0], "server_error", None, _DIED[1]))
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in to continue</h1></body></html>"

FAULTS: Mapping[str, Fault] = {
    "http_401": Fault(
        "401 with an error object",
        reply=_refusal(401, "Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
    ),
    "http_429": Fault(
        "429 with an error object and retry-after: 1",
        reply=_refusal(429, "Rate limit reached", "requests", "rate_limit_exceeded", ("retry-after", "1")),
    ),
    "http_500": Fault(
        "500 with an error object",
        reply=_refusal(500, "The server had an error while processing your request", "server_error", "internal_error"),
    ),
    "http_503": Fault(
        "503 with an error object",
        reply=_refusal(503, "The engine is currently overloaded", "server_error", "overloaded"),
    ),
    "html_200": Fault("200 with an HTML page, like a login wall", reply=Reply(200, HTML, "text/html")),
    "json_200": Fault("a complete JSON response instead of a stream", delivery=FaultDelivery.WHOLE),
    "hang": Fault("the request is accepted, but no response comes", delivery=FaultDelivery.NEVER),
    "slow_headers": Fault(
        "the response's headers come only with the first generated chunk", delivery=FaultDelivery.LATE_HEADERS
    ),
    "cut": Fault("the connection closes mid-stream, without the closing chunk", events=_first_half, end=End.CUT),
    "reset": Fault("the connection is reset mid-stream (TCP RST)", events=_first_half, end=End.RESET),
    "clean_eof": Fault("the body ends cleanly mid-stream, without finish_reason or [DONE]", events=_first_half),
    "stall_forever": Fault(
        "nothing more is sent from mid-stream on; the connection stays open", events=_first_half, end=End.SILENCE
    ),
    "keepalive_forever": Fault(
        "endless comments, no chunk after the role",
        events=lambda events: [event for event in events if event.kind == "r"],
        end=End.COMMENTS,
    ),
    "no_done": Fault("no [DONE] at the end", events=_without("d")),
    "no_finish": Fault("no finish_reason, but [DONE]", events=_without("o")),
    "error_frame": Fault(
        "an error object mid-stream (in Responses: `response.failed`), then the end of the stream", events=_failing
    ),
    "error_first": Fault(
        "an error object as the only event, on status 200",
        events=lambda events: [ChatEvent("", sse(ERROR_FRAME.decode()), _first_due(events))],
    ),
    "error_event": Fault(
        "an `event: error` mid-stream, then the end of the stream",
        events=_half_then(b"event: error\n" + sse(ERROR_FRAME.decode())),
    ),
    "bad_json": Fault("one event mid-stream is incomplete JSON; the rest follows", events=_with_broken_middle),
    "empty": Fault("no generated chunk: role, then finish_reason stop", change=lambda answer: answer.first(0, "stop")),
    "crlf": Fault("lines end in CR LF, which SSE allows", events=_end_with_crlf),
    "buffered": Fault("the whole stream in one write at its end, like a buffering proxy", events=_all_at_the_end),
    "content_filter": Fault(
        "stops half-way with finish_reason content_filter", change=lambda answer: answer.half("content_filter")
    ),
    "length": Fault("stops half-way with finish_reason length", change=lambda answer: answer.half("length")),
    "wrong_model": Fault(
        "the response names another model than the request",
        change=lambda answer: replace(answer, model=f"{answer.model}-fallback"),
    ),
    "no_usage": Fault("no usage, although it was requested", events=_without("u")),
    "usage_wrong": Fault(
        "a usage whose total is 7 more than the sum",
        events=_recounted(lambda usage: {"total_tokens": usage["total_tokens"] + 7}),
    ),
    "usage_huge": Fault("a usage with 1,000 times the output tokens", events=_recounted(_times(1000))),
    "usage_invented": Fault(
        "ends half-way as if finished, with an invented usage, like a gateway that hides the early end of its upstream",
        change=lambda answer: answer.half("stop"),
        events=_recounted(_times(3)),
    ),
    "refusal": Fault("a refusal instead of content", events=_as_refusal),
    "long_line": Fault(f"one chunk of {count(LONG)} characters mid-stream", events=_with_long_line),
    "coalesced": Fault("four chunks in each write", events=_in_bursts),
    "stall": Fault(f"a pause of {STALL_MS} ms mid-stream", events=_with_pause),
    "id_changed": Fault("the response id changes half-way", events=_with_second_id),
    "after_finish": Fault(
        "the finish_reason comes half-way, and the rest of the content follows", events=_finish_half_way
    ),
    "duplicate_role": Fault(
        "the role in every chunk", events=_replaced(b'"delta":{"content":', b'"delta":{"role":"assistant","content":')
    ),
    "bad_tool_arguments": Fault(
        "a tool call with incomplete arguments (for a model with `tools`)",
        change=lambda answer: (
            answer.first(max(1, len(answer.pieces) - 1), answer.finish) if answer.tool_name else answer
        ),
    ),
    "tool_not_called": Fault(
        "a tool call written as text instead of a call (for a model with `tools`)", change=_as_text
    ),
    "bad_json_answer": Fault(
        "an incomplete JSON answer (for a request with `response_format`)",
        change=lambda answer: answer.first(max(1, len(answer.pieces) - 1), answer.finish) if answer.json else answer,
    ),
    "unknown_fields": Fault(
        "fields that are not in the API", events=_replaced(b'"choices":[', b'"x_farm":{"rack":7},"choices":[')
    ),
    "keepalives": Fault("a comment before every event", events=_with_comments),
    "split_utf8": Fault(
        "an emoji's two UTF-16 halves in two chunks, as JSON escapes", events=_emoji_in_two(rb"\ud83d", rb"\ude42")
    ),
    "broken_utf8": Fault(
        "an emoji's four bytes in two chunks, neither of which is valid UTF-8",
        events=_emoji_in_two(b"\xf0\x9f", b"\x99\x82"),
    ),
}
