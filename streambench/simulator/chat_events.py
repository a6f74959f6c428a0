"""Formats an answer as OpenAI chat completions do: the events of a stream, or one completion object. Pure functions."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from streambench.simulator.answer import DrawnAnswer, Piece
from streambench.simulator.request_parser import Json

FINGERPRINT = "fp_streambench"


class ChatEvent(NamedTuple):
    """One server-sent event. Events with the same `at_ns` are sent in one write.

    `kind` is a letter of `records.schema.KINDS`, `d` for [DONE], or "" for what does not count as a chunk, such as a
    comment.
    """

    kind: str
    data: bytes
    at_ns: int


def stream_events(answer: DrawnAnswer, *, role: str, role_ns: int, usage: bool) -> list[ChatEvent]:
    """Returns the stream's events: role (unless `role` is "none"), pieces, finish reason, usage if True, [DONE]."""
    head, tail = _envelope(answer, usage=usage)
    joined_ns = answer.at_ns[0] if answer.at_ns else answer.end_ns
    events = []
    if role != "none":
        delta = '{"role":"assistant","content":""}'
        events.append(ChatEvent("r", sse(head + delta + tail), joined_ns if role == "joined" else role_ns))
    deltas = [_delta(answer, piece, index) for index, piece in enumerate(answer.pieces)]
    events += [
        ChatEvent(piece.kind, sse(head + delta + tail), at_ns)
        for piece, delta, at_ns in zip(answer.pieces, deltas, answer.at_ns, strict=True)
    ]
    events.append(ChatEvent("o", sse(f"{head}{{}}{tail.replace('null', _quoted(answer.finish), 1)}"), answer.end_ns))
    if usage:
        events.append(ChatEvent("u", _usage_event(answer), answer.end_ns))
    events.append(ChatEvent("d", b"data: [DONE]\n\n", answer.end_ns))
    return events


def completion(answer: DrawnAnswer) -> Json:
    """Returns the whole answer as one `chat.completion` object."""
    texts = {kind: "".join(p.text for p in answer.pieces if p.kind == kind) for kind in "tcf"}
    message: Json = {"role": "assistant", "content": None if answer.tool_names else texts["c"]}
    if texts["t"]:
        message[answer.reasoning_field] = texts["t"]
    if answer.tool_names:
        message |= _calls(answer)
    return {
        "id": f"chatcmpl-{answer.request_id}",
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": FINGERPRINT,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}],
        "usage": answer.usage,
    }


def _calls(answer: DrawnAnswer) -> Json:
    functions = [
        {"name": name, "arguments": "".join(p.text for p in answer.pieces if p.kind == "f" and p.call == call)}
        for call, name in enumerate(answer.tool_names)
    ]
    if answer.legacy_call:
        return {"function_call": functions[0]}
    rows = [{"id": _call_id(answer, call), "type": "function", "function": each} for call, each in enumerate(functions)]
    return {"tool_calls": rows}


def sse(payload: str) -> bytes:
    return f"data: {payload}\n\n".encode()


def _envelope(answer: DrawnAnswer, *, usage: bool) -> tuple[str, str]:
    """Returns the JSON before and after the delta of every chunk. The first `null` after it is the finish reason."""
    head = (
        f'{{"id":"chatcmpl-{answer.request_id}","object":"chat.completion.chunk","created":{answer.created},'
        f'"model":{_quoted(answer.model)},"system_fingerprint":"{FINGERPRINT}","choices":[{{"index":0,"delta":'
    )
    tail = ',"finish_reason":null,"logprobs":null}]' + (',"usage":null}' if usage else "}")
    return head, tail


def _delta(answer: DrawnAnswer, piece: Piece, index: int) -> str:
    if piece.kind == "c":
        return f'{{"content":{_quoted(piece.text)}}}' if answer.json else f'{{"content":"{piece.text}"}}'
    if piece.kind == "t":
        return f'{{"{answer.reasoning_field}":"{piece.text}"}}'
    before = answer.pieces[index - 1] if index else None
    name = (
        None
        if before is not None and (before.kind, before.call) == (piece.kind, piece.call)
        else answer.tool_names[piece.call]
    )
    named = "" if name is None else f'"name":{_quoted(name)},'
    function = f'{{{named}"arguments":{_quoted(piece.text)}}}'
    if answer.legacy_call:
        return f'{{"function_call":{function}}}'
    opened = "" if name is None else f'"id":"{_call_id(answer, piece.call)}","type":"function",'
    return f'{{"tool_calls":[{{"index":{piece.call},{opened}"function":{function}}}]}}'


def _usage_event(answer: DrawnAnswer) -> bytes:
    chunk = {
        "id": f"chatcmpl-{answer.request_id}",
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": FINGERPRINT,
        "choices": [],
        "usage": answer.usage,
    }
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _call_id(answer: DrawnAnswer, call: int) -> str:
    return f"call_{answer.request_id.replace('-', '')[:22]}{call:02}"


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
