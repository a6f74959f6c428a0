"""Prompts and outputs in the JSON of the GenAI conventions. Used only if the user asked for content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from streambench.records.schema import AttemptRecord
from streambench.redaction import Secrets
from streambench.telemetry.span_model import Value

INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"


def content_of(messages: Iterable[Mapping[str, Any]], record: AttemptRecord, secrets: Secrets) -> dict[str, Value]:
    """Returns messages and output as two JSON texts with keys masked; only the messages if the record has no text."""
    attributes: dict[str, Value] = {INPUT: _json([_message(one) for one in messages], secrets)}
    parts = [
        {"type": kind, "content": text}
        for kind, text in (("reasoning", record.reasoning_text), ("text", record.text))
        if text
    ]
    if parts:
        answer = {"role": "assistant", "parts": parts, "finish_reason": record.finish_reason or "error"}
        attributes[OUTPUT] = _json([answer], secrets)
    return attributes


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    parts: list[dict[str, Any]] = (
        [{"type": "text", "content": content}] if isinstance(content, str) else _parts(content or ())
    )
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        parts.append(
            {
                "type": "tool_call",
                "id": call.get("id"),
                "name": function.get("name"),
                "arguments": function.get("arguments"),
            }
        )
    return {"role": message.get("role"), "parts": parts}


def _parts(content: Iterable[Any]) -> list[dict[str, Any]]:
    """Returns text parts in full, and of other parts only the type: an image may be megabytes."""
    return [
        {"type": "text", "content": part.get("text")} if part.get("type") == "text" else {"type": str(part.get("type"))}
        for part in content
        if isinstance(part, Mapping)
    ]


def _json(value: Any, secrets: Secrets) -> str:
    return json.dumps(_masked(value, secrets), ensure_ascii=False, separators=(",", ":"))


def _masked(value: Any, secrets: Secrets) -> Any:
    match value:
        case str():
            return secrets.mask(value)
        case list():
            return [_masked(one, secrets) for one in value]
        case dict():
            return {name: _masked(one, secrets) for name, one in value.items()}
    return value
