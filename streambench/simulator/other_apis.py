"""Formats an answer for the Responses API and the legacy Completions API, as a stream or whole. Pure functions.

Events are due at the same times as the chunks of a chat completion, so the APIs differ only in their format.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import msgspec

from streambench.simulator.answer import DrawnAnswer, Piece
from streambench.simulator.chat_events import FINGERPRINT, ChatEvent
from streambench.simulator.request_parser import Json

# --- legacy Completions


def completion_events(answer: DrawnAnswer, *, usage: bool) -> list[ChatEvent]:
    """Returns the stream's events: content, finish reason, usage if True, [DONE].

    Reasoning and tool calls are left out, as legacy Completions cannot carry them.
    """
    events = [
        ChatEvent("c", _data(_text_completion(answer, piece.text)), at_ns)
        for piece, at_ns in zip(answer.pieces, answer.at_ns, strict=True)
        if piece.kind == "c"
    ]
    events.append(ChatEvent("o", _data(_text_completion(answer, "", answer.finish)), answer.end_ns))
    if usage:
        last = {**_text_completion(answer, ""), "choices": [], "usage": answer.usage}
        events.append(ChatEvent("u", _data(last), answer.end_ns))
    return [*events, ChatEvent("d", b"data: [DONE]\n\n", answer.end_ns)]


def whole_completion(answer: DrawnAnswer) -> Json:
    text = "".join(piece.text for piece in answer.pieces if piece.kind == "c")
    return {**_text_completion(answer, text, answer.finish), "usage": answer.usage}


def _text_completion(answer: DrawnAnswer, text: str, finish: str | None = None) -> Json:
    return {
        "id": f"cmpl-{answer.request_id}",
        "object": "text_completion",
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": FINGERPRINT,
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}],
    }


def _data(plain: Json) -> bytes:
    return b"data: " + msgspec.json.encode(plain) + b"\n\n"


# --- Responses

_ITEMS = {"t": "reasoning", "c": "message", "f": "function_call"}
_ENDS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response_events(answer: DrawnAnswer, *, role_ns: int, usage: bool) -> list[ChatEvent]:
    """Returns the stream's events, numbered in order: created, in_progress, those of each output item, and the end."""
    events = [*_opening(answer, role_ns)]
    for place, (kind, pieces) in enumerate(_runs(answer)):
        events += _item_events(answer, place, kind, pieces)
    end = "response.incomplete" if answer.finish in _ENDS else "response.completed"
    response = whole_response(answer)
    if not usage:
        response["usage"] = None
    events.append(("u" if usage else "o", end, {"response": response}, answer.end_ns))
    return [
        ChatEvent(kind, _named(name, {"type": name, "sequence_number": at, **plain}), at_ns)
        for at, (kind, name, plain, at_ns) in enumerate(events)
    ]


def failed_event(answer_id: str, message: str, code: str) -> bytes:
    """Returns the `response.failed` event of a stream that fails before its end."""
    error = {"code": code, "message": message}
    response = {"id": answer_id, "object": "response", "status": "failed", "error": error, "output": []}
    return _named("response.failed", {"type": "response.failed", "sequence_number": 0, "response": response})


def whole_response(answer: DrawnAnswer) -> Json:
    status = "incomplete" if answer.finish in _ENDS else "completed"
    details = {"reason": _ENDS[answer.finish]} if status == "incomplete" else None
    output = [
        _item(answer, place, pieces[0][1], "".join(piece.text for _, piece in pieces), "completed")
        for place, (_, pieces) in enumerate(_runs(answer))
    ]
    return {**_response(answer, status), "incomplete_details": details, "output": output, "usage": _usage(answer)}


SpokenAs = tuple[str, str, Json, int]
"""An event: its kind (a letter of `records.schema.KINDS`), its type, its other fields, and its due time in ns."""


def _opening(answer: DrawnAnswer, role_ns: int) -> Iterator[SpokenAs]:
    for state in ("created", "in_progress"):
        yield "o", f"response.{state}", {"response": _response(answer, "in_progress")}, role_ns


def _runs(answer: DrawnAnswer) -> list[tuple[str, list[tuple[int, Piece]]]]:
    """Groups the pieces by output item. Returns (kind, [(due time in ns, piece), ...]) for each item."""
    timed = zip(answer.at_ns, answer.pieces, strict=True)
    return [(kind, list(run)) for (kind, _), run in groupby(timed, key=lambda one: (one[1].kind, one[1].call))]


def _item_events(answer: DrawnAnswer, place: int, kind: str, pieces: list[tuple[int, Piece]]) -> Iterator[SpokenAs]:
    first_ns, last_ns = pieces[0][0], pieces[-1][0]
    text = "".join(piece.text for _, piece in pieces)
    at = {"item_id": _item_id(answer, place), "output_index": place}
    added = {"output_index": place, "item": _item(answer, place, pieces[0][1], "", "in_progress")}
    yield ("r" if kind == "c" else "f" if kind == "f" else "o"), "response.output_item.added", added, first_ns
    name, part_name, part_at, done = _FORMS[kind]
    if part_name:
        yield "o", f"{part_name}.added", {**at, **part_at, "part": _part(kind, "")}, first_ns
    for at_ns, piece in pieces:
        if piece.text:
            more: Json = {"logprobs": []} if kind == "c" else {}
            yield kind, f"{name}.delta", {**at, **part_at, "delta": piece.text, **more}, at_ns
    yield "o", f"{name}.done", {**at, **part_at, done: text}, last_ns
    if part_name:
        yield "o", f"{part_name}.done", {**at, **part_at, "part": _part(kind, text)}, last_ns
    ended = {"output_index": place, "item": _item(answer, place, pieces[0][1], text, "completed")}
    yield "o", "response.output_item.done", ended, last_ns


_FORMS: dict[str, tuple[str, str, Json, str]] = {
    "c": ("response.output_text", "response.content_part", {"content_index": 0}, "text"),
    "t": ("response.reasoning_summary_text", "response.reasoning_summary_part", {"summary_index": 0}, "text"),
    "f": ("response.function_call_arguments", "", {}, "arguments"),
}
"""By kind: the event type of its pieces, that of its part ("" if it has no parts), the fields that say which part of
the item an event belongs to, and the field of the `.done` event that has the whole text."""


def _part(kind: str, text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": []} if kind == "c" else _summary(text)


def _summary(text: str) -> Json:
    return {"type": "summary_text", "text": text}


def _item(answer: DrawnAnswer, place: int, first: Piece, text: str, status: str) -> Json:
    """Returns the output item whose first piece is `first`."""
    kind = first.kind
    item: Json = {"id": _item_id(answer, place), "type": _ITEMS[kind], "status": status}
    if kind == "c":
        return {**item, "role": "assistant", "content": [_part(kind, text)] if text else []}
    if kind == "t":
        return {**item, "summary": [_summary(text)] if text else []}
    call_id = f"call_{answer.request_id.replace('-', '')[:22]}{first.call:02}"
    return {**item, "call_id": call_id, "name": answer.tool_names[first.call], "arguments": text}


def _item_id(answer: DrawnAnswer, place: int) -> str:
    return f"item_{answer.request_id.replace('-', '')[:24]}{place}"


def _response(answer: DrawnAnswer, status: str) -> Json:
    return {
        "id": f"resp_{answer.request_id}",
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": answer.model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }


def _usage(answer: DrawnAnswer) -> Json:
    usage = answer.usage
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage["completion_tokens_details"],
        "total_tokens": usage["total_tokens"],
    }


def _named(name: str, plain: Any) -> bytes:
    return f"event: {name}\n".encode() + _data(plain)
