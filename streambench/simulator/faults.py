"""What can go wrong, by name: one table. A fault refuses the request, changes the answer, changes its events, or ends
the connection otherwise; each is one row, and a model of the models file has it always or by chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

import msgspec

from streambench.simulator.answer import MS, Answer
from streambench.simulator.frames import Event, sse
from streambench.simulator.other_apis import failed_event
from streambench.simulator.requests import Json, error_json

GENERATED = frozenset("tcfx")
COMMENT = b": keep-alive\n\n"
CONTENT = b'"content":"'
STALL_MS = 800
LONG = 2 * 1024 * 1024


class End(Enum):
    """What follows a stream's last write."""

    COMPLETE = "complete"
    CUT = "cut"
    """The connection is closed without the body's closing chunk."""
    RESET = "reset"
    """The connection is reset (TCP RST)."""
    SILENCE = "silence"
    """Nothing, until the client goes."""
    COMMENTS = "comments"
    """Comments, until the client goes."""


class Delivery(Enum):
    """How the answer leaves."""

    STREAM = "stream"
    LATE_HEADERS = "late_headers"
    WHOLE = "whole"
    """One JSON object, even where a stream was asked for."""
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP reply, sent at once in place of any answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """`about` is one line for lists; the rest says how. Without `stream_only` it also holds for plain completions."""

    about: str
    reply: Reply | None = None
    change: Callable[[Answer], Answer] | None = None
    events: Callable[[list[Event]], list[Event]] | None = None
    end: End = End.COMPLETE
    delivery: Delivery = Delivery.STREAM

    @property
    def stream_only(self) -> bool:
        return self.reply is None and self.change is None and self.delivery is not Delivery.NEVER


def _refusal(status: int, message: str, kind: str, code: str, *headers: tuple[str, str]) -> Reply:
    return Reply(status, msgspec.json.encode(error_json(message, kind, None, code)), headers=headers)


def _first_half(events: list[Event]) -> list[Event]:
    """The events before the middle of the generated ones; one of those at least."""
    places = [at for at, event in enumerate(events) if event.kind in GENERATED]
    return events[: places[(len(places) - 1) // 2] + 1] if places else events[:1]


def _next_due(events: list[Event]) -> int:
    """When the event after the first half would have been written."""
    return events[min(len(_first_half(events)), len(events) - 1)].at_ns


def _first_due(events: list[Event]) -> int:
    """When the first generated chunk would have been written."""
    return next((event.at_ns for event in events if event.kind in GENERATED), events[-1].at_ns)


def _half_then(data: bytes) -> Callable[[list[Event]], list[Event]]:
    return lambda events: [*_first_half(events), Event("", data, _next_due(events))]


def _with_broken_middle(events: list[Event]) -> list[Event]:
    """One event's JSON stops in the middle; the stream goes on."""
    half = _first_half(events)
    broken = events[len(half) - 1]
    torn = broken.data.rstrip()[: len(broken.data) // 2] + b"\n\n"
    return [*half[:-1], Event("", torn, broken.at_ns), *events[len(half) :]]


def _without(kind: str) -> Callable[[list[Event]], list[Event]]:
    return lambda events: [event for event in events if event.kind != kind]


def _end_with_crlf(events: list[Event]) -> list[Event]:
    return [event._replace(data=event.data.replace(b"\n", b"\r\n")) for event in events]


def _all_at_the_end(events: list[Event]) -> list[Event]:
    return [event._replace(at_ns=events[-1].at_ns) for event in events]


def _spoilt(events: list[Event], old: bytes, new: bytes, kinds: str = "rtcfxou") -> list[Event]:
    """The same with the first `old` of each event of these kinds replaced."""
    return [
        event._replace(data=event.data.replace(old, new, 1)) if event.kind and event.kind in kinds else event
        for event in events
    ]


def _replaced(old: bytes, new: bytes, kinds: str = "rtcfxou") -> Callable[[list[Event]], list[Event]]:
    return lambda events: _spoilt(events, old, new, kinds)


def _with_second_id(events: list[Event]) -> list[Event]:
    half = len(_first_half(events))
    return [*events[:half], *_spoilt(events[half:], b'"id":"chatcmpl-', b'"id":"chatcmpl-retry-')]


def _finish_half_way(events: list[Event]) -> list[Event]:
    """The chunk with the finish_reason comes in the middle of the content."""
    half = len(_first_half(events))
    early = [event._replace(at_ns=events[half - 1].at_ns) for event in events if event.kind == "o"]
    return [*events[:half], *early, *_without("o")(events[half:])]


def _as_refusal(events: list[Event]) -> list[Event]:
    refused = _spoilt(events, b'"delta":{"content":', b'"delta":{"refusal":', "c")
    return [event._replace(kind="x") if event.kind == "c" else event for event in refused]


def _as_text(answer: Answer) -> Answer:
    """The same pieces as content, each call's opening by its name."""
    if not answer.tool_names:
        return answer
    pieces = tuple(
        piece._replace(kind="c", text=piece.text or answer.tool_names[piece.call]) if piece.kind == "f" else piece
        for piece in answer.pieces
    )
    return replace(answer, pieces=pieces, tool_names=(), finish="stop", json=True)


def _in_bursts(events: list[Event]) -> list[Event]:
    """Of each four output chunks all leave when the last is due; the end leaves as it would."""
    due = [event.at_ns for event in events if event.kind in GENERATED]
    late = iter(due[min(at | 3, len(due) - 1)] for at in range(len(due)))
    return [event._replace(at_ns=next(late)) if event.kind in GENERATED else event for event in events]


def _with_pause(events: list[Event]) -> list[Event]:
    half = len(_first_half(events))
    return [*events[:half], *(event._replace(at_ns=event.at_ns + STALL_MS * MS) for event in events[half:])]


def _with_long_line(events: list[Event]) -> list[Event]:
    half = len(_first_half(events))
    return [*events[:half], *_spoilt(events[half : half + 1], CONTENT, CONTENT + b"x" * LONG), *events[half + 1 :]]


def _with_comments(events: list[Event]) -> list[Event]:
    return [part for event in events for part in (Event("", COMMENT, event.at_ns), event)]


def _emoji_in_two(first: bytes, second: bytes) -> Callable[[list[Event]], list[Event]]:
    """The first half of one character ends an output chunk, the second half begins the next."""

    def cut(events: list[Event]) -> list[Event]:
        half = len(_first_half(events))
        before = _spoilt(events[half - 1 : half], b'"},"finish', first + b'"},"finish')
        after = _spoilt(events[half : half + 1], CONTENT, CONTENT + second)
        return [*events[: half - 1], *before, *after, *events[half + 1 :]]

    return cut


def _recounted(count: Callable[[Json], Json]) -> Callable[[list[Event]], list[Event]]:
    """The usage, as it is counted anew."""

    def recount(events: list[Event]) -> list[Event]:
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


def _failing(events: list[Event]) -> list[Event]:
    """Responses say it by an event of their own, the others by an error object."""
    by_type = events[0].data.startswith(b"event: response.")
    return _half_then(failed_event("resp_failed", *_DIED) if by_type else sse(ERROR_FRAME.decode()))(events)


_DIED = ("The engine died while answering", "engine_dead")
ERROR_FRAME = msgspec.json.encode(error_json(_DIED[0], "server_error", None, _DIED[1]))
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in to continue</h1></body></html>"

FAULTS: Mapping[str, Fault] = {
    "http_401": Fault(
        "401 before any answer",
        reply=_refusal(401, "Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
    ),
    "http_429": Fault(
        "429 with retry-after: 1",
        reply=_refusal(429, "Rate limit reached", "requests", "rate_limit_exceeded", ("retry-after", "1")),
    ),
    "http_500": Fault(
        "500 before any answer",
        reply=_refusal(500, "The server had an error while processing your request", "server_error", "internal_error"),
    ),
    "http_503": Fault(
        "503 before any answer",
        reply=_refusal(503, "The engine is currently overloaded", "server_error", "overloaded"),
    ),
    "html_200": Fault("200 with an HTML page, as a login wall answers", reply=Reply(200, HTML, "text/html")),
    "json_200": Fault("a whole completion where a stream was asked for", delivery=Delivery.WHOLE),
    "hang": Fault("the request is taken and never answered", delivery=Delivery.NEVER),
    "slow_headers": Fault(
        "the response's headers come only with the first generated chunk", delivery=Delivery.LATE_HEADERS
    ),
    "cut": Fault("the connection closes mid-stream, without the closing chunk", events=_first_half, end=End.CUT),
    "reset": Fault("the connection is reset mid-stream (TCP RST)", events=_first_half, end=End.RESET),
    "clean_eof": Fault("the body ends cleanly mid-stream, without finish_reason or [DONE]", events=_first_half),
    "stall_forever": Fault("silence mid-stream, the connection open", events=_first_half, end=End.SILENCE),
    "keepalive_forever": Fault(
        "comments for ever, no chunk after the role",
        events=lambda events: [event for event in events if event.kind == "r"],
        end=End.COMMENTS,
    ),
    "no_done": Fault("no [DONE] at the end", events=_without("d")),
    "no_finish": Fault("no finish_reason, but [DONE]", events=_without("o")),
    "error_frame": Fault(
        "an error object (by Responses `response.failed`) as an event mid-stream, then the end", events=_failing
    ),
    "error_first": Fault(
        "an error object as the only event, on status 200",
        events=lambda events: [Event("", sse(ERROR_FRAME.decode()), _first_due(events))],
    ),
    "error_event": Fault(
        "an `event: error` mid-stream, then the end", events=_half_then(b"event: error\n" + sse(ERROR_FRAME.decode()))
    ),
    "bad_json": Fault("one event mid-stream is torn JSON; the rest follows", events=_with_broken_middle),
    "empty": Fault("no generated chunk: role, then finish_reason stop", change=lambda answer: answer.first(0, "stop")),
    "crlf": Fault("lines end in CR LF, which SSE allows", events=_end_with_crlf),
    "buffered": Fault("the whole stream in one write at its end, as a buffering proxy sends", events=_all_at_the_end),
    "content_filter": Fault(
        "stops half-way with finish_reason content_filter", change=lambda answer: answer.half("content_filter")
    ),
    "length": Fault("stops half-way with finish_reason length", change=lambda answer: answer.half("length")),
    "wrong_model": Fault(
        "another model answers than the one asked for",
        change=lambda answer: replace(answer, model=f"{answer.model}-fallback"),
    ),
    "no_usage": Fault("no usage, though it was asked for", events=_without("u")),
    "usage_wrong": Fault(
        "a total that is 7 more than the sum",
        events=_recounted(lambda usage: {"total_tokens": usage["total_tokens"] + 7}),
    ),
    "usage_huge": Fault("a thousand times the output tokens", events=_recounted(_times(1000))),
    "usage_invented": Fault(
        "ends half-way as if finished, with a usage made up for the rest, as a gateway hides an upstream's early end",
        change=lambda answer: answer.half("stop"),
        events=_recounted(_times(3)),
    ),
    "refusal": Fault("declines: refusal in place of content", events=_as_refusal),
    "long_line": Fault(f"one chunk of {LONG:,} characters mid-stream", events=_with_long_line),
    "coalesced": Fault("four chunks in each write", events=_in_bursts),
    "stall": Fault(f"a pause of {STALL_MS} ms mid-stream", events=_with_pause),
    "id_changed": Fault("another response id from the middle on", events=_with_second_id),
    "after_finish": Fault(
        "the finish_reason comes half-way, the rest of the content after it", events=_finish_half_way
    ),
    "duplicate_role": Fault(
        "the role in every chunk", events=_replaced(b'"delta":{"content":', b'"delta":{"role":"assistant","content":')
    ),
    "bad_tool_arguments": Fault(
        "a tool call whose arguments lack their end (for a model with `tools`)",
        change=lambda answer: (
            answer.first(max(1, len(answer.pieces) - 1), answer.finish) if answer.tool_name else answer
        ),
    ),
    "tool_not_called": Fault(
        "a tool call written out as text, and no call (for a model with `tools`)", change=_as_text
    ),
    "bad_json_answer": Fault(
        "a JSON answer that lacks its end (for a request with `response_format`)",
        change=lambda answer: answer.first(max(1, len(answer.pieces) - 1), answer.finish) if answer.json else answer,
    ),
    "unknown_fields": Fault(
        "fields that no other gateway has", events=_replaced(b'"choices":[', b'"x_farm":{"rack":7},"choices":[')
    ),
    "keepalives": Fault("a comment before every event", events=_with_comments),
    "split_utf8": Fault(
        "an emoji's two UTF-16 halves in two chunks, as JSON escapes", events=_emoji_in_two(rb"\ud83d", rb"\ude42")
    ),
    "broken_utf8": Fault(
        "an emoji's four bytes in two chunks, neither of which is UTF-8",
        events=_emoji_in_two(b"\xf0\x9f", b"\x99\x82"),
    ),
}
